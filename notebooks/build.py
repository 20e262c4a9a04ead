"""Runs the notebooks from top to bottom in fresh kernels, and makes pages of them to read."""

import argparse
import html
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "build" / "course"
STYLE = """
body { font: 17px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem;
       color: #1f2937 }
li { margin: .4rem 0 } a { color: #2563eb }
"""


def main() -> int:
    """Runs all notebooks, or those that are named; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of notebooks, default all")
    parser.add_argument("--store", action="store_true", help="keep the outputs in the notebooks")
    options = parser.parse_args()
    found = sorted(HERE.glob("*.ipynb"))
    if options.store:
        found += sorted(HERE.glob("solutions/*.ipynb"))
        found += sorted(HERE.glob("labs/source/*/*.ipynb"))
    paths = [path for path in found if not options.names or path.stem in options.names]
    missing = set(options.names) - {path.stem for path in paths}
    if missing:
        parser.error(f"no notebook {', '.join(sorted(missing))} in {HERE.name}")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    PAGES.mkdir(parents=True, exist_ok=True)
    failed = []
    pages = []
    bar = tqdm(paths, unit="notebook")
    for path in bar:
        bar.set_description(path.stem)
        book = nbformat.read(path, as_version=4)
        try:
            run(book, bar)
        except CellExecutionError as error:
            failed.append(path.stem)
            tqdm.write(f"{path.name}: {error}", file=sys.stderr)
        else:
            if options.store:
                nbformat.write(book, path)
        pages.append((path.stem, title(book)))
        (PAGES / f"{path.stem}.html").write_text(page(book), encoding="utf-8")
    index = PAGES / "index.html"
    index.write_text(index_page(pages), encoding="utf-8")
    print(f"Pages to read: {index.relative_to(HERE.parent)}")
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(book: nbformat.NotebookNode, bar: tqdm) -> None:
    """Executes a notebook in place; the bar shows the cell that is at work."""
    code = sum(cell.cell_type == "code" for cell in book.cells)
    done = 0

    def count(cell: nbformat.NotebookNode, **_: object) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            bar.set_postfix_str(f"cell {done}/{code}")

    for cell in book.cells:
        cell.metadata.pop("execution", None)
    NotebookClient(
        book,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=count,
    ).execute()
    for cell in book.cells:  # a widget's number is another in every run, and dead without a kernel
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    # The versions of the machine that ran it would change the file with every run.
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )


def page(book: nbformat.NotebookNode) -> str:
    """A notebook as one HTML page that needs nothing else."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", embed_images=True)
    exporter.theme = "light"
    return exporter.from_notebook_node(book)[0]


def title(book: nbformat.NotebookNode) -> str:
    """The first heading of a notebook."""
    return str(book.cells[0].source).splitlines()[0].lstrip("# ")


def index_page(pages: list[tuple[str, str]]) -> str:
    """The list of the pages, in reading order."""
    items = "\n".join(
        f'<li><a href="{stem}.html">{html.escape(heading)}</a></li>' for stem, heading in pages
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Pretrained image networks</title><style>{STYLE}</style>"
        f"<h1>Pretrained image networks</h1><ol start=0 style='list-style: none; padding: 0'>\n"
        f"{items}\n</ol></html>\n"
    )


if __name__ == "__main__":
    sys.exit(main())
