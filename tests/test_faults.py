"""The table of faults has a row for each, and the tests that it names are there."""

import ast
import tomllib
from pathlib import Path

import faults

HERE = Path(__file__).parent
TABLE = tomllib.loads(faults.TABLE.read_text("utf-8"))


def test_there_are_48_rows_and_each_has_a_guard() -> None:
    assert [fault["row"] for fault in TABLE["fault"]] == list(range(1, 49))
    assert {guard.row for guard in faults.guards()} >= set(range(1, 49))


def test_every_room_that_makes_html_has_a_guard() -> None:
    guarded = {guard.file for guard in faults.guards() if guard.row == 48}
    makers = {
        path.relative_to(faults.ROOT).as_posix()
        for path in (faults.ROOT / "helpers").rglob("*.py")
        if "_repr_html_" in (text := path.read_text("utf-8")) or "HTML(" in text
    }
    assert guarded == makers


def test_every_test_that_is_named_is_there() -> None:
    named = {test for fault in TABLE["fault"] + TABLE["weight_file"] for test in fault["tests"]}
    named |= {test for guard in faults.guards() for test in guard.tests}
    there = {
        f"{path.name}::{node.name}"
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert named <= there, named - there
