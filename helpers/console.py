"""Where what is said to people goes: into a notebook, or to a terminal."""

import sys
from typing import TextIO


def in_notebook() -> bool:
    """Whether a notebook shows what this process says; that ipykernel is imported is not enough.

    nbval's plugin imports it into every run of pytest, for example.
    """
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def stream() -> TextIO:
    """For progress and notes: the error stream, where results do not go; in a notebook the other.

    Notebooks keep what stands on the error stream as if something had gone wrong.
    """
    return sys.stdout if in_notebook() else sys.stderr
