"""The site: README, lessons, labs and the pages beside this file, as they are stored.

Its source is the whole checkout, so that links between the files hold here as they do elsewhere.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from nbgrader.preprocessors import ClearSolutions
from sphinx.application import Sphinx
from traitlets.config import PyFileConfigLoader

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LABS = "notebooks/labs/source/"

sys.path.insert(0, str(HERE))

project = html_title = "Pretrained image networks"
language = "en"
root_doc = "README"
extensions = ["myst_nb"]
include_patterns = [
    "README.md",
    "data/README.md",
    "notebooks/*.ipynb",
    "notebooks/*.md",
    "notebooks/labs/README.md",
    "notebooks/labs/source/*/*.ipynb",
    "notebooks/site/*.md",
    "tools/benchmarks/RESULTS.md",
]
# Sphinx walks through every folder that is not excluded.
exclude_patterns = ["**/.*", ".*", "build", "data/five_classes", "helpers", "tests"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_heading_anchors = 4
myst_heading_slug_func = "anchors.as_in_jupyterlab"
# A lab's first heading after its title is one of the third level.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False

NAVIGATION = """

```{{toctree}}
:hidden:
:caption: Lessons
{lessons}
```

```{{toctree}}
:hidden:
:caption: Labs
notebooks/labs/README
{labs}
```

```{{toctree}}
:hidden:
:caption: Pages
{pages}
data/README
tools/benchmarks/RESULTS
```
"""


def navigate(_: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the table of contents behind README, where GitHub's readers do not see it."""
    if docname == root_doc:
        parts = {
            "lessons": "notebooks/[0-9]*.*",
            "labs": "notebooks/labs/source/*/*.ipynb",
            "pages": "notebooks/site/*.md",
        }
        listed = {name: "\n".join(documents(pattern)) for name, pattern in parts.items()}
        source[0] += NAVIGATION.format(**listed)


def documents(pattern: str) -> Iterator[str]:
    """Names of documents, in reading order."""
    for path in sorted(ROOT.glob(pattern)):
        yield path.relative_to(ROOT).with_suffix("").as_posix()


def hide_solutions(_: Sphinx, docname: str, source: list[str]) -> None:
    """Shows a lab as nbgrader hands it out: without its solutions, and not yet run."""
    if docname.startswith(LABS):
        settings = PyFileConfigLoader("nbgrader_config.py", path=str(HERE.parent / "labs"))
        clear = ClearSolutions(config=settings.load_config())
        book, _resources = clear.preprocess(nbformat.reads(source[0], as_version=4), {})
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        source[0] = nbformat.writes(book)


def gather_alt_texts(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the alt texts of a cell's pictures together; MyST-NB knows one for all of them."""
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    book = nbformat.reads(source[0], as_version=4)
    for cell in book.cells:
        cell.metadata.get("mystnb", {}).get("image", {}).pop("alt", None)
        cell.metadata["alt"] = [
            output.metadata.get(kind, {}).get("alt", "")
            for output in cell.get("outputs", [])
            for kind in output.get("data", {})
            if kind.startswith("image/")
        ]
    source[0] = nbformat.writes(book)


def describe_pictures(_: Sphinx, doctree: nodes.document) -> None:
    """Gives each picture of a cell its alt text, as `build.py --store` has stored it."""
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") == "cell_code":
            texts = cell["cell_metadata"]["alt"]
            for image, text in zip(cell.findall(nodes.image), texts, strict=True):
                if text:
                    image["alt"] = text


def front_page(app: Sphinx, error: Exception | None) -> None:
    """Lets a folder's address open README, as a web server and a reader expect it."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tells Sphinx when to call what."""
    app.connect("source-read", navigate)
    app.connect("source-read", hide_solutions)
    app.connect("source-read", gather_alt_texts)
    app.connect("doctree-read", describe_pictures)
    app.connect("build-finished", front_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
