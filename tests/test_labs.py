"""The labs, marked by nbgrader's rule: right answers, none, wrong ones, and a real submission."""

import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
import tomllib
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import determine_grade, is_grade, is_locked, is_solution

FOLDER = Path(__file__).parents[1] / "notebooks" / "labs"
sys.path.insert(0, str(FOLDER))

import release  # noqa: E402

Cell = nbformat.NotebookNode

REGION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.MULTILINE | re.DOTALL)
each_lab = pytest.mark.parametrize("lab", release.NAMES)


def cells(lab: str, path: Path | None = None) -> list[Cell]:
    path = path or release.SOURCE / lab / f"{lab}.ipynb"
    return list(nbformat.read(path, as_version=4).cells)


def code_cells(lab: str, path: Path | None = None) -> list[Cell]:
    return [cell for cell in cells(lab, path) if cell.cell_type == "code"]


def grade_id(cell: Cell) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


@cache
def answers(lab: str, kind: str) -> dict[str, list[dict[str, Any]]]:
    """The id of a solution cell → answers that its test must refuse, or must accept."""
    return tomllib.loads((FOLDER / kind / f"{lab}.toml").read_text("utf-8"))


def wrong_answers(lab: str) -> dict[str, list[dict[str, Any]]]:
    return answers(lab, "wrong")


def answered(source: str, answer: str, region: int = 0) -> str:
    """A solution cell with an answer in the place of one of its solutions."""
    found = list(REGION.finditer(source))[region]
    return (
        source[: found.start()] + textwrap.indent(answer.strip(), found[1]) + source[found.end() :]
    )


def run(source: str, namespace: dict[str, Any]) -> Exception | None:
    """Runs a cell as a notebook would, and gives what it has raised."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            exec(compile(source, "<cell>", "exec"), namespace)
        except Exception as error:
            return error
    return None


def marks(found: list[tuple[Cell, Exception | None]]) -> dict[str, float]:
    """The points of each test cell, as nbgrader takes them from its outputs."""
    points = {}
    for cell, raised in found:
        cell.outputs = []
        if raised is not None:
            cell.outputs = [nbformat.v4.new_output("error", ename=type(raised).__name__)]
        if is_grade(cell):
            points[grade_id(cell)] = determine_grade(cell)[0]
    return points


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """What a kernel would hold; as a kernel that stops, it deletes a lab's temporary folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    yield names
    if "temporary" in names:
        names["temporary"].cleanup()


@pytest.fixture(scope="module")
def cached_network() -> Callable[..., Any]:
    from helpers.applications.efficientnet_lite import EfficientNetLite0

    return cache(EfficientNetLite0)


@pytest.fixture
def networks_made_once(cached_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a network, and Keras's tracing of it, take longer than most cells."""
    from helpers.applications import efficientnet_lite

    monkeypatch.setattr(efficientnet_lite, "EfficientNetLite0", cached_network)


@each_lab
def test_the_form_that_nbgrader_and_students_need(lab: str) -> None:
    notebook = nbformat.read(release.SOURCE / lab / f"{lab}.ipynb", as_version=4)
    MetadataValidator().validate_nb(notebook)
    code = code_cells(lab)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.match(rf"# Lab {lab[3]} · .+\n\n\*\*[3-6]\d minutes\*\*", prose)
    for heading in ("### What you need", "### What you hand in", "## How it's marked"):
        assert heading in prose
    tests = [cell for cell in code if is_grade(cell)]
    tasks = re.findall(r"^## Task (\d) · (.+) \((\d) points\)$", prose, re.MULTILINE)
    assert 4 <= len(tasks) <= 6
    points = [cell.metadata.nbgrader.points for cell in tests]
    assert [int(stated) for *_, stated in tasks] == points
    table = re.findall(r"^\| (\d) · (.+) \| (\d+) \|$", prose, re.MULTILINE)
    assert [(n, title.lower(), p) for n, title, p in tasks] == [
        (n, t.lower(), p) for n, t, p in table
    ]
    assert f"| **total** | **{sum(points)}** |" in prose
    for (number, *_), cell in zip(tasks, tests, strict=True):
        assert grade_id(cell) == f"task{number}_test"
        assert is_locked(cell) and not is_solution(cell)
        assert cell.source.splitlines()[-1] == f'print("Task {number}: 2 of 2 points")'
    solved = [grade_id(cell) for cell in code if is_solution(cell)]
    assert {name.rstrip("b") for name in solved} == {f"task{number}" for number, *_ in tasks}
    assert all(REGION.search(cell.source) for cell in code if is_solution(cell))
    assert "HIDDEN" not in "".join(cell.source for cell in code), "no test is hidden"


@each_lab
def test_the_table_has_every_lab(lab: str) -> None:
    first = cells(lab)[0].source
    found = re.match(
        r"# Lab (\d) · (.+)\n\n\*\*(\d+) minutes\*\* · after lessons? ([\d and]+) ·", first
    )
    assert found
    number, title, minutes, lessons = found.groups()
    row = f"| {number} | [{title}](source/{lab}/{lab}.ipynb) | {minutes} | {lessons} |"
    assert row in (FOLDER / "README.md").read_text("utf-8"), row


@each_lab
def test_two_wrong_answers_stand_for_each_task(lab: str) -> None:
    solved = {grade_id(cell) for cell in code_cells(lab) if is_solution(cell)}
    recorded = wrong_answers(lab)
    assert set(recorded) == solved
    assert all(len(answers) >= 2 for answers in recorded.values())
    assert all(a["thought"] and a["hint"] for answers in recorded.values() for a in answers)


@pytest.mark.slow
@each_lab
@pytest.mark.usefixtures("networks_made_once")
def test_right_answers_get_full_marks_and_wrong_ones_a_hint(
    lab: str, namespace: dict[str, Any]
) -> None:
    code, found, unhelpful = code_cells(lab), [], []
    for i, cell in enumerate(code):
        tried = [
            a for kind in ("wrong", "right") for a in answers(lab, kind).get(grade_id(cell), [])
        ]
        for answer in tried:
            before = dict(namespace)
            source = answered(cell.source, answer["answer"], answer.get("region", 0))
            end = next(k for k in range(i, len(code)) if is_grade(code[k]))
            for each in [source, *(later.source for later in code[i + 1 : end + 1])]:
                raised = run(each, namespace)
            hint = answer.get("hint")
            helped = isinstance(raised, AssertionError) and hint and hint in str(raised)
            if not (helped if hint else raised is None):
                unhelpful.append((grade_id(cell), answer["answer"], raised))
            namespace.clear()
            namespace.update(before)
        found.append((cell, run(cell.source, namespace)))
    assert not [raised for _, raised in found if raised]
    assert marks(found) == {grade_id(c): c.metadata.nbgrader.points for c in code if is_grade(c)}
    assert not unhelpful


@each_lab
@pytest.mark.usefixtures("networks_made_once")
def test_the_untouched_lab_gets_nothing(
    lab: str, tmp_path: Path, namespace: dict[str, Any]
) -> None:
    code = code_cells(lab, release.generate(lab, tmp_path))
    assert not any("SOLUTION" in cell.source or cell.outputs for cell in code)
    assert sum("YOUR CODE HERE" in cell.source for cell in code) == len(wrong_answers(lab))
    points = marks([(cell, run(cell.source, namespace)) for cell in code])
    assert points == {grade_id(cell): 0 for cell in code if is_grade(cell)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries under nbgrader
def test_nbgrader_marks_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own kernel and gradebook; a warning costs nothing, a changed test gains nothing."""
    # nbgrader calls alembic, which stands beside the Python that runs it.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    lab = "lab5_a_weight_file_taken_apart"
    shutil.copytree(release.SOURCE / lab, tmp_path / "source" / lab)
    config = release.config()
    config.CourseDirectory.update({"root": str(tmp_path), "assignment_id": lab})
    GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).start()

    solved = {grade_id(cell): cell.source for cell in code_cells(lab)}
    book = nbformat.read(tmp_path / "release" / lab / f"{lab}.ipynb", as_version=4)
    for cell in book.cells:
        name = grade_id(cell)
        if name == "task1":
            warning = 'import warnings; warnings.warn("careful")'
            cell.source = solved[name].replace("### BEGIN SOLUTION", warning)
        if name == "task2":
            cell.source = answered(solved[name], wrong_answers(lab)[name][0]["answer"])
        if name == "task2_test":
            cell.source = 'print("Task 2: 2 of 2 points")'
        if name == "task3":
            cell.source = solved[name]
        if name == "task3_test":
            cell.source = "raise ValueError"
    submitted = tmp_path / "submitted" / "ada" / lab / f"{lab}.ipynb"
    submitted.parent.mkdir(parents=True)
    nbformat.write(book, submitted)
    Autograde(coursedir=CourseDirectory(config=config), config=config).start()
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        grades = gradebook.find_submission_notebook(lab, lab, "ada").grades
        points = {grade.name: grade.score for grade in grades}
    expected = dict.fromkeys((f"task{k}_test" for k in range(1, 7)), 0.0)
    assert points == expected | {"task1_test": 2.0, "task3_test": 2.0}
