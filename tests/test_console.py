import sys
import types

import IPython
import pytest

from helpers import console
from helpers.console import in_notebook


def test_only_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert not in_notebook()
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace())
    assert not in_notebook()  # IPython in a terminal
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    assert in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_notebooks_keep_what_stands_on_the_error_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.stream() is sys.stderr
    monkeypatch.setattr(console, "in_notebook", lambda: True)
    assert console.stream() is sys.stdout
