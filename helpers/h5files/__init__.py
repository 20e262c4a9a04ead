"""Look into a weight file of any layout that Keras has written, and load it.

`tree` shows a file, `read` gives its arrays, `load_weights` puts them into a model.
"""

from helpers.h5files.layouts import Tree, read, tree
from helpers.h5files.loading import Report, load_weights

__all__ = ["Report", "Tree", "load_weights", "read", "tree"]
