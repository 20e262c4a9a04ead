"""Where progress and notes go: a notebook or a terminal."""

import sys
from typing import TextIO


def in_notebook() -> bool:
    """Tell whether this process runs in a notebook's kernel.

    That ipykernel is imported is not enough: nbval's plugin imports it into every run of pytest.
    """
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def stream() -> TextIO:
    """Give the stream for progress and notes: the error stream, which keeps them out of results.

    In a notebook it is the output stream, because notebooks show the other one as an error.
    """
    return sys.stdout if in_notebook() else sys.stderr
