"""What is inside a weight file of any layout that Keras has written, and loading it.

`tree` shows a file, `read` gives its arrays, `load_weights` puts them into a model.
"""

from helpers.h5files.layouts import read
from helpers.h5files.listing import Tree, tree
from helpers.h5files.loading import load_weights
from helpers.h5files.report import Report

__all__ = ["Report", "Tree", "load_weights", "read", "tree"]
