"""The examples in the docstrings run, from the course's folder."""

import doctest
import importlib
import os
from pathlib import Path

import pytest
from conftest import ROOT

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "helpers").rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]
MODULES += ["diagrams"]  # next to the notebooks
SHIPPED = Path("data") / "five_classes"


def test_there_are_examples() -> None:
    assert "helpers.zoo" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    source = Path(str(module.__file__)).read_text("utf-8")
    if f'"{SHIPPED.as_posix()}' in source and not (ROOT / SHIPPED / "test" / "horse").is_dir():
        pytest.skip(f"{SHIPPED} has not been drawn")
    monkeypatch.chdir(os.fspath(ROOT))
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
