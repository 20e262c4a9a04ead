"""Audits the stored notebooks: what nbval would pass unseen, and what the lessons promise."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import swap

FOLDER = Path(__file__).parents[1] / "notebooks"
# JupyterLab keeps a copy of whatever is opened.
NOTEBOOKS = sorted(set(FOLDER.rglob("*.ipynb")) - set(FOLDER.rglob(".ipynb_checkpoints/*")))
LESSONS = [path for path in NOTEBOOKS if path.parent == FOLDER]
MOST_CELLS = 48  # that a learner sees: about 45
PATHS = re.compile(r"/(home|root|Users|tmp|work|mnt|opt)/|[A-Z]:\\\\|site-packages|127\.0\.0\.1:")
Cell = nbformat.NotebookNode

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Cell]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def is_check(cell: Cell) -> bool:
    return "check" in cell.metadata.get("tags", [])


def must_show(last: ast.stmt) -> bool:
    """Whether a cell that ends so must have an output: a print, or a bare name or element."""
    value = getattr(last, "value", None) if isinstance(last, ast.Expr) else None
    if isinstance(value, ast.Call):
        return getattr(value.func, "id", "") in ("print", "display")
    return isinstance(value, ast.Name | ast.Subscript | ast.Tuple)


def faults(cell: Cell, lesson: bool) -> list[str]:
    """What is wrong with a stored code cell, in words."""
    try:
        tree = ast.parse(cell.source)
        last = tree.body[-1]
    except (SyntaxError, IndexError):
        return ["is no plain Python (a magic, or empty)"]
    tags, check = cell.metadata.get("tags", []), is_check(cell)
    hidden = "remove-cell" in tags and cell.metadata.get("jupyter", {}).get("source_hidden")
    text = re.sub(r'"image/\w+": "[^"]*"', "", json.dumps(cell.outputs))
    pictures = [(o, k) for o in cell.outputs for k in o.get("data", {}) if k.startswith("image/")]
    found = {
        "was never run": cell.execution_count is None,
        "shows something, and has no output": must_show(last) and not cell.outputs,
        "is skipped": any("skip" in tag or "raises" in tag for tag in tags),
        "is marked in its source": "NBVAL" in cell.source,
        "is ignored without a reason": any("ignore" in tag for tag in tags)
        and not cell.metadata.get("reason"),
        "ended in an error": any(o.output_type == "error" for o in cell.outputs),
        "wrote to the error stream": any(o.get("name") == "stderr" for o in cell.outputs),
        "has a large output": any(len(json.dumps(output)) > 200_000 for output in cell.outputs),
        "shows a path of the machine": PATHS.search(text),
        "asserts in a learner's cell": lesson
        and not check
        and any(isinstance(node, ast.Assert) for node in ast.walk(tree)),
        "is a check in sight": check and not hidden,
        "is a check that prints": check and cell.outputs,
        "has a picture without alt text": lesson
        and not all(output.metadata.get(kind, {}).get("alt") for output, kind in pictures),
        "has no commented import": lesson and not can_be_swapped(cell.source),
    }
    return [fault for fault, seen in found.items() if seen]


def can_be_swapped(source: str) -> bool:
    try:
        swap.swap_import(source)
    except ValueError:
        return False
    return True


@each_notebook
def test_every_cell_is_a_test(path: Path) -> None:
    lesson = path in LESSONS
    assert not {c.source: found for c in code_cells(path) if (found := faults(c, lesson))}


@each_lesson
def test_a_lesson_is_short_enough(path: Path) -> None:
    assert sum(not is_check(cell) for cell in code_cells(path)) <= MOST_CELLS


@each_lesson
def test_every_exercise_is_verified_by_the_variables_it_checks(path: Path) -> None:
    cells = code_cells(path)
    for place, cell in enumerate(cells):
        for name, arguments in re.findall(r"^exercises\.(\w+)\.check\((.*?)\)", cell.source, re.M):
            exercises = importlib.import_module(f"exercises.lesson_{path.stem[:2]}")
            judge = getattr(exercises, name).judge
            assert arguments.split(", ") == list(inspect.signature(judge).parameters)
            assert f"exercises.{name}.verify(globals())" in cells[place + 1].source


@each_notebook
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"outputs": [nbformat.v4.new_output("stream", name=name, text=text)]}


CHECK = {"tags": ["check", "remove-cell"], "jupyter": {"source_hidden": True}}
FAULTY: list[tuple[str, str, dict[str, Any]]] = [
    ("never run", "x = 1", {"execution_count": None}),
    ("no output", "print(1)", {}),
    ("no plain Python", "%nosuchmagic", {}),
    ("marked", "# NBVAL_SKIP\nx = 1", {}),
    ("skipped", "x = 1", {"metadata": {"tags": ["nbval-skip"]}}),
    ("reason", "x = 1", {"metadata": {"tags": ["nbval-ignore-output"]}}),
    ("an error", "x = 1", {"outputs": [nbformat.v4.new_output("error")]}),
    ("error stream", "x = 1", stream("careful", "stderr")),
    ("large", "x = 1", stream("x" * 200_000)),
    ("path", "x = 1", stream("/home/me/x.h5")),
    ("learner's cell", "for x in y:\n    assert x", {}),
    ("in sight", "assert x", {"metadata": CHECK | {"tags": ["check"]}}),
    ("in sight", "assert x", {"metadata": CHECK | {"jupyter": {}}}),
    ("prints", "assert x", {"metadata": CHECK} | stream("1")),
    ("alt", "x = 1", {"outputs": [nbformat.v4.new_output("display_data", {"image/png": ""})]}),
    ("commented", "from helpers.applications.resnext import X as Network", {}),
]


@pytest.mark.parametrize(("fault", "source", "fields"), FAULTY)
def test_the_audit_sees_each_fault(fault: str, source: str, fields: dict[str, Any]) -> None:
    cell = nbformat.v4.new_code_cell(source, **{"execution_count": 1} | fields)
    (found,) = faults(cell, lesson=True)
    assert fault in found


def test_the_audit_lets_a_sound_cell_pass() -> None:
    for metadata in ({}, CHECK):
        cell = nbformat.v4.new_code_cell("x = 1", execution_count=1, metadata=metadata)
        assert not faults(cell, lesson=True)


def test_the_tables_of_lessons_agree_with_each_other_and_with_the_lessons() -> None:
    readme = (FOLDER.parent / "README.md").read_text("utf-8").replace("](notebooks/", "](")
    rows = re.findall(r"^\| \d\d \|.*$", readme, re.MULTILINE)
    start = nbformat.read(FOLDER / "00_start_here.ipynb", as_version=4)
    assert rows == re.findall(r"^\| \d\d \|.*$", "\n".join(c.source for c in start.cells), re.M)
    for row in rows:
        name, minutes = re.findall(r"\((\w+)\.ipynb\) \| (\d+) \|", row)[0]
        opening = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells[0].source
        assert f"About {minutes} minutes" in opening
