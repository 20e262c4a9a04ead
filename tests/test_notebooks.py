"""Audits the stored notebooks: what nbval would pass unseen, and the form they all have."""

import ast
import itertools
import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
# JupyterLab keeps a copy of whatever is opened; whoever ran `make lab` has such copies.
NOTEBOOKS = sorted(set(FOLDER.rglob("*.ipynb")) - set(FOLDER.rglob(".ipynb_checkpoints/*")))
LESSONS = [path for path in NOTEBOOKS if path.parent == FOLDER and not path.stem.startswith("00")]
MAX_OUTPUT = 200_000
PATHS = re.compile(r"/(home|root|Users|tmp|work|mnt|opt)/|[A-Z]:\\\\|site-packages|127\.0\.0\.1:")


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def findings(cell: nbformat.NotebookNode) -> list[str]:
    """What is wrong with a stored code cell, in words."""
    found = []
    if cell.execution_count is None:
        found.append("was never run")
    try:
        last = ast.parse(cell.source).body[-1]
    except (SyntaxError, IndexError):
        return [*found, "is no plain Python (a magic, or empty)"]
    if must_show(last) and not cell.outputs:
        found.append("shows something, and has no output stored")
    tags = cell.metadata.get("tags", [])
    if any("skip" in tag or "raises" in tag for tag in tags) or "NBVAL" in cell.source:
        found.append("is skipped, or marked in its source")
    if any("ignore" in tag for tag in tags) and not cell.metadata.get("reason"):
        found.append("is ignored without a reason")
    for output in cell.outputs:
        text = json.dumps(output)
        if output.output_type == "error":
            found.append("ended in an error")
        if output.get("name") == "stderr":
            found.append("wrote to the error stream")
        if len(text) > MAX_OUTPUT:
            found.append(f"has an output of {len(text):,} bytes")
        if PATHS.search(re.sub(r'"image/\w+": "[^"]*"', "", text)):
            found.append("shows a path of the machine that ran it")
    return found


def must_show(last: ast.stmt) -> bool:
    """Whether a cell that ends so must have an output: a print, or a bare name or element."""
    if not isinstance(last, ast.Expr):
        return False
    value = last.value
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in ("print", "display")
    return isinstance(value, ast.Name | ast.Subscript | ast.Tuple)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_cell_is_a_test(path: Path) -> None:
    wrong = {cell.source: found for cell in code_cells(path) if (found := findings(cell))}
    assert not wrong


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_most_cells_are_compared(path: Path) -> None:
    cells = code_cells(path)
    compared = [
        cell
        for cell in cells
        if cell.outputs and "nbval-ignore-output" not in cell.metadata.get("tags", [])
    ]
    assert len(compared) >= 0.8 * len(cells), f"{len(compared)} of {len(cells)}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_idea_a_cell(path: Path) -> None:
    assert not [c.source for c in code_cells(path) if lines(c) > most_lines(c)]
    kinds = "".join(c.cell_type[0] for c in nbformat.read(path, as_version=4).cells)
    assert "ccccc" not in kinds, "more than 4 code cells without prose"


def lines(cell: nbformat.NotebookNode) -> int:
    """Lines that somebody reads: nbgrader takes the marks of a solution away."""
    marks = ("### BEGIN SOLUTION", "### END SOLUTION")
    return sum(line.strip() not in marks for line in cell.source.splitlines())


def most_lines(cell: nbformat.NotebookNode) -> int:
    """A lab's test has a line for each hint; it is read by those to whom one of them is said."""
    return 12 if cell.metadata.get("nbgrader", {}).get("grade") else 8


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_form_of_a_lesson(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.match(r"# .+\n\n\*\*\d+ minutes", cells[0].source), "title, then minutes"
    for heading in ("You will be able to", "What you can do now", "Break it on purpose"):
        assert heading in prose, heading
    assert "What the older text said" in prose
    objectives = bullets(prose, "You will be able to")
    assert len(objectives) >= 3
    assert objectives == bullets(prose, "What you can do now"), "the recap repeats the objectives"
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert sum("assert " in source for source in code) >= len(objectives)
    assert prose.count("### Exercise") == 3
    assert sum("checks.answer(" in source for source in code) >= 3
    images = sum("image/" in json.dumps(c.outputs) for c in cells if c.cell_type == "code")
    assert prose.count("*Figure") >= images, "every figure is described in the prose"


def bullets(prose: str, heading: str) -> list[str]:
    return re.findall(r"^- (.+)$", prose.split(heading, 1)[1].split("\n#", 1)[0], re.MULTILINE)


def test_the_audit_sees_what_nbval_does_not() -> None:
    def cell(source: str, **fields: object) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell(source, **{"execution_count": 1, **fields})

    def output(name: str, text: str) -> list[nbformat.NotebookNode]:
        return [nbformat.v4.new_output("stream", name=name, text=text)]

    assert findings(cell("x = 1")) == []
    assert "never run" in findings(cell("x = 1", execution_count=None))[0]
    assert "no output" in findings(cell("print(1)"))[0]
    assert "no plain Python" in findings(cell("%nosuchmagic\nx = 1"))[0]
    assert "skipped" in findings(cell("# NBVAL_SKIP\nx = 1"))[0]
    assert "skipped" in findings(cell("x = 1", metadata={"tags": ["nbval-skip"]}))[0]
    ignored = {"tags": ["nbval-ignore-output"]}
    assert "reason" in findings(cell("x = 1", metadata=ignored))[0]
    assert findings(cell("x = 1", metadata={**ignored, "reason": "differs by machine"})) == []
    assert "error stream" in findings(cell("x = 1", outputs=output("stderr", "careful")))[0]
    assert "bytes" in findings(cell("x = 1", outputs=output("stdout", "x" * 200_001)))[0]
    assert "path" in findings(cell("x = 1", outputs=output("stdout", "/home/me/x.h5")))[0]
    solution = "### BEGIN SOLUTION\n" + "x = 1\n" * 8 + "### END SOLUTION"
    assert lines(cell(solution)) == most_lines(cell(solution)) == 8
    assert most_lines(cell("x = 1", metadata={"nbgrader": {"grade": True}})) == 12


@pytest.mark.parametrize("page", ["README.md", "notebooks/00_start_here.ipynb"])
def test_the_map_has_every_notebook_with_its_minutes(page: str) -> None:
    text = (FOLDER.parent / page).read_text("utf-8")
    for path in LESSONS:
        first = nbformat.read(path, as_version=4).cells[0].source
        minutes = re.search(r"\*\*(\d+) minutes", first)
        assert minutes
        row = rf"\| {path.stem[:2]} \| \[[^]]+\]\((notebooks/)?{path.name}\) \| {minutes[1]} \|"
        assert re.search(row, text), row


def test_instructors_are_told_the_same_minutes() -> None:
    text = (FOLDER / "site" / "instructors.md").read_text("utf-8")
    for path in [*LESSONS, *(FOLDER / "labs" / "source").glob("*/*.ipynb")]:
        minutes = re.search(r"\*\*(\d+) minutes", nbformat.read(path, as_version=4).cells[0].source)
        assert minutes
        assert re.search(rf"\]\([./\w]*{path.name}\) \| {minutes[1]} \|", text), path.name


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_exercise_has_its_solution(path: Path) -> None:
    """The exercise word for word, and below it the lesson's own check, which said "Right."."""
    cells = nbformat.read(path, as_version=4).cells
    for task, asked in itertools.pairwise(cells):
        if "### Exercise" in task.source:
            text = task.source[task.source.index("### Exercise") :]
            answer, check = re.split(r" = \.\.\.\n\s*", asked.source, maxsplit=1)
            solved = solution(text)
            assert re.search(rf"^{answer} = ", solved["source"], re.MULTILINE)
            assert check.strip() in solved["source"]
            assert solved["printed"].endswith("Right.\n")


def solution(text: str) -> dict[str, str]:
    """What stands between this exercise and the next: the source, and what it printed."""
    for path in (FOLDER / "solutions").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        for place, cell in enumerate(cells):
            if cell.source.startswith(text + "\n\n**Solution.** "):
                below = itertools.takewhile(lambda c: c.cell_type == "code", cells[place + 1 :])
                code = list(below)
                printed = "".join(o.get("text", "") for c in code for o in c.outputs)
                return {"source": "\n".join(c.source for c in code), "printed": printed}
    pytest.fail(f"no solution has this exercise in its own words:\n{text}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target
