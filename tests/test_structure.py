"""The house stands as its docstring says: each room imports only from lower floors."""

import ast
import re
from pathlib import Path

import helpers

FOLDER = Path(str(helpers.__file__)).parent
FLOORS = {
    room: int(floor)
    for floor, rooms in re.findall(r"^(\d+)\. (.+)$", str(helpers.__doc__), re.MULTILINE)
    for room in re.findall(r"`(\w+)`", rooms)
}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in FOLDER.rglob("*.py"):
        room = path.relative_to(FOLDER).parts[0].removesuffix(".py")
        if room != "__init__":
            found.setdefault(room, []).append(path)
    return found


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("helpers."):
            names.add(str(node.module).split(".")[1])
    return names


def test_every_room_is_named() -> None:
    assert set(FLOORS) == set(rooms())


def test_rooms_import_only_from_lower_floors() -> None:
    for room, paths in rooms().items():
        for path in paths:
            upwards = {name for name in imported(path) - {room} if FLOORS[name] >= FLOORS[room]}
            assert not upwards, path


def test_importing_the_package_runs_nothing() -> None:
    body = ast.parse((FOLDER / "__init__.py").read_text("utf-8")).body
    assert len(body) == 1, "only the docstring"
