import sys
import types

import IPython
import pytest

from helpers import console


def test_only_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert not console.in_notebook()
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace())
    assert not console.in_notebook()  # IPython in a terminal
    assert console.stream() is sys.stderr
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    assert console.in_notebook()
    assert console.stream() is sys.stdout  # notebooks show the error stream as an error
    monkeypatch.delitem(sys.modules, "IPython")
    assert not console.in_notebook()
