"""Runs each lesson with the network of its commented import, with random weights.

    python tools/swap.py                       # all lessons; exit code 1 if one of them failed
    python tools/swap.py 03_predict            # one of them
    python tools/swap.py --write build/named   # the swapped lessons, with weights="imagenet"

The cells tagged `check` are left out, because they hold what the other network gave.
"""

import argparse
import ast
import csv
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
COMMENTED = re.compile(r"# (from keras\.applications\.\w+ import .*\bas Network\b.*)")


def swap_import(source: str) -> str | None:
    """Let the import of Network and the commented one below it change places.

    Returns:
        The changed cell, or None if it imports no Network from helpers.applications.

    Raises:
        ValueError: the comment below that import has no other import of a Network.

    >>> print(swap_import('''from helpers.applications.resnext import ResNeXt50 as Network
    ... # For ResNet50:
    ... # from keras.applications.resnet50 import ResNet50 as Network'''))
    # from helpers.applications.resnext import ResNeXt50 as Network
    # For ResNet50:
    from keras.applications.resnet50 import ResNet50 as Network
    """
    lines = source.splitlines()
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    modules = {n.module for n in imports for name in n.names if name.asname == "Network"}
    imports = [n for n in imports if n.module in modules]  # ruff may make two of them
    if not any(f"{n.module}".startswith("helpers.applications.") for n in imports):
        return None
    first, end = imports[0].lineno - 1, imports[-1].end_lineno or 0
    for number, line in enumerate(lines[end:], end):
        if commented := COMMENTED.fullmatch(line):
            lines[first:end] = [f"# {line}" for line in lines[first:end]]
            lines[number] = commented[1]
            return "\n".join(lines)
        if line and not line.startswith("#"):
            break
    raise ValueError(f"{lines[first]}: no commented import of a Network below it")


def without_weights(source: str) -> str:
    """Replace weights="imagenet" by weights=None in the calls of Network.

    >>> without_weights('Network(weights="imagenet"), VGG16(weights="imagenet")')
    'Network(weights=None), VGG16(weights="imagenet")'
    """
    lines = [line.encode() for line in source.splitlines()]  # ast counts bytes
    values = [
        keyword.value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Network"
        for keyword in call.keywords
        if keyword.arg == "weights" and getattr(keyword.value, "value", "") == "imagenet"
    ]
    for value in sorted(values, key=lambda value: value.col_offset, reverse=True):
        line = lines[value.lineno - 1]
        lines[value.lineno - 1] = line[: value.col_offset] + b"None" + line[value.end_col_offset :]
    return b"\n".join(lines).decode()


def swapped(path: Path, random: bool) -> nbformat.NotebookNode | None:
    """Read a lesson with its network swapped and its outputs cleared; None if it has no Network."""
    book, changed = nbformat.read(path, as_version=4), False
    book.cells = [cell for cell in book.cells if "check" not in cell.metadata.get("tags", [])]
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if source := swap_import(cell.source):
                cell.source, changed = source, True
            if random:
                cell.source = without_weights(cell.source)
    return book if changed else None


def run(book: nbformat.NotebookNode, folder: Path, home: Path) -> str:
    """Run a notebook in a fresh kernel, and return what went wrong, or an empty text."""
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"KERAS_HOME": str(home), "PYTHONPATH": search}
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(book, timeout=1800, kernel_name="python3", resources=resources)
    try:
        client.execute(env=env | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return str(error)
    return ""


def write_class_index(folder: Path) -> None:
    """Write the file that decode_predictions would download. Keras checks its MD5: it is equal."""
    with (ROOT / "data" / "imagenet_classes.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["index"]: [row["wnid"], row["label"]] for row in csv.DictReader(file)}
    folder.mkdir(parents=True)
    (folder / "imagenet_class_index.json").write_text(json.dumps(rows), "utf-8")


def main(arguments: Sequence[str] | None = None, folder: Path = ROOT / "notebooks") -> int:
    """Run the swapped lessons, or write them; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of lessons, default all")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write them, run none")
    options = parser.parse_args(arguments)
    paths = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if missing := set(options.names) - set(paths):
        parser.error(f"no lesson {', '.join(sorted(missing))} in {folder}")
    if options.write:
        shutil.copytree(folder / "exercises", options.write / "exercises", dirs_exist_ok=True)
        for module in folder.glob("diagrams.py"):
            shutil.copy(module, options.write)
    failed, unchanged = False, []
    with tempfile.TemporaryDirectory() as home:
        write_class_index(Path(home) / "models")
        for name in options.names or paths:
            book = swapped(paths[name], random=not options.write)
            if book is None:
                unchanged.append(name)
            elif options.write:
                nbformat.write(book, options.write / f"{name}.ipynb")
                print("wrote", options.write / f"{name}.ipynb")
            else:
                start = time.perf_counter()
                wrong = run(book, folder, Path(home))
                failed = failed or bool(wrong)
                seconds = time.perf_counter() - start
                print("FAIL" if wrong else "PASS", name, f"{seconds:.1f} s", wrong, flush=True)
    if unchanged:
        print("No Network to swap:", ", ".join(unchanged))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
