"""Runs the notebooks from top to bottom in fresh kernels, and keeps their outputs."""

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Runs all notebooks, or those that are named; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of notebooks, default all")
    parser.add_argument("--store", action="store_true", help="keep the outputs in the notebooks")
    options = parser.parse_args()
    found = [*sorted(HERE.glob("*.ipynb")), *sorted(HERE.glob("labs/source/*/*.ipynb"))]
    paths = [path for path in found if not options.names or path.stem in options.names]
    missing = set(options.names) - {path.stem for path in paths}
    if missing:
        parser.error(f"no notebook {', '.join(sorted(missing))} in {HERE.name}")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    failed = []
    bar = tqdm(paths, unit="notebook")
    for path in bar:
        bar.set_description(path.stem)
        book = nbformat.read(path, as_version=4)
        try:
            run(book, bar)
        except (CellExecutionError, ValueError) as error:
            failed.append(path.stem)
            tqdm.write(f"{path.name}: {error}", file=sys.stderr)
        else:
            if options.store:
                nbformat.write(book, path)
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
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=count,
    ).execute()
    for cell in book.cells:
        describe(cell)
        for output in cell.get("outputs", []):
            # A widget's number is another in every run, and dead without a kernel.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    # The versions of the machine that ran it would change the file with every run.
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )


def describe(cell: nbformat.NotebookNode) -> None:
    """Copies the alt text in a cell's metadata to its pictures, where the site and nbconvert read.

    The author writes `{"mystnb": {"image": {"alt": "Two curves that …"}}}`; a list of texts where
    the cell shows several pictures.
    """
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", [])
    texts = [alt] if isinstance(alt, str) else alt
    pictures = [
        (output, kind)
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    if texts and len(texts) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures and {len(texts)} alt texts:\n{cell.source}")
    for (output, kind), text in zip(pictures, texts, strict=False):
        output.metadata.setdefault(kind, {})["alt"] = text


if __name__ == "__main__":
    sys.exit(main())
