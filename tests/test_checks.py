from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from helpers import checks
from helpers.checks import Exercise, same

Said = Callable[..., str]


def judge(search: Any, features: Any) -> str | None:
    found = search(features[0], features, 2)
    if found[0] == 0:
        return "Your first result is the query itself."
    return None if same(found, [2, 1]) else "The best comes first."


SOLUTION = """
    def search(query, features, k):
        order = np.argsort(-features @ query)
        return order[1 : k + 1]
"""
FORGOT_ITSELF = "def search(query, features, k): return np.argsort(-features @ query)[:k]"
WORST_FIRST = "def search(query, features, k): return np.argsort(features @ query)[:k]"
FEATURES = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
LESSON = {"np": np, "features": FEATURES}


def exercise(**changed: Any) -> Exercise:
    arguments: dict[str, Any] = {
        "judge": judge,
        "hint": "Cosines of unit vectors are one product.",
        "solution": SOLUTION,
        "right": "The query is its own nearest neighbour.",
        "wrong": {FORGOT_ITSELF: "itself", WORST_FIRST: "best comes first"},
    }
    return Exercise(**arguments | changed)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def check(answer: Any, by: Exercise | None = None) -> str:
        (by or exercise()).check(answer, FEATURES)
        printed = capsys.readouterr()
        assert not printed.err
        return printed.out

    return check


def defined(source: str) -> Any:
    variables = dict(LESSON)
    exec(compile(source, "cell", "exec"), variables)
    return variables["search"]


def test_a_right_answer_is_told_why(said: Said) -> None:
    right = defined(exercise().solution_source)
    assert said(right) == "Right. The query is its own nearest neighbour.\n"
    assert said(right, exercise(right="")) == "Right.\n"


def test_a_wrong_answer_gets_the_hint_about_its_mistake(said: Said) -> None:
    assert said(defined(FORGOT_ITSELF)).startswith("Not quite. Your first result is the query")
    assert "best comes first" in said(defined(WORST_FIRST))


@pytest.mark.parametrize(
    "answer",
    [
        ...,
        None,
        (3, ...),
        defined("def search(query, features, k): ..."),
        defined("def search(query, features, k):\n    'Find.'\n    ..."),
        defined("def search(query, features, k): pass"),
        defined("def search(query, features, k): return ..."),
        defined("def search(query, features, k):\n    order = features @ query\n    return ..."),
    ],
)
def test_no_answer_is_not_a_wrong_one(said: Said, answer: Any) -> None:
    assert said(answer) == checks.NOT_ANSWERED + "\n"


def test_an_error_in_a_function_is_told_in_one_line_with_its_place(said: Said) -> None:
    told = said(defined("def search(query, features, k):\n    k = 1\n    return features[99]"))
    assert told.count("\n") == 1
    assert "search raised IndexError: index 99 is out of bounds" in told
    assert told.endswith("in line 3.\n")


def test_the_place_is_in_the_learners_cell_and_not_in_a_library(said: Said) -> None:
    told = said(defined("def search(query, features, k):\n    return np.stack([])"))
    assert "ValueError" in told and told.endswith("in line 2.\n")


def test_a_forgotten_return_is_recognised(said: Said) -> None:
    assert "return" in said(defined("def search(query, features, k): features @ query"))


class Hostile:
    """Raises whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def leave(query: Any, features: Any, k: int) -> None:
    raise SystemExit


def unreadable(query: Any, features: Any, k: int) -> None:
    raise Unreadable


def endless(query: Any, features: Any, k: int) -> Any:
    return endless(query, features, k)


@pytest.mark.parametrize(
    "answer",
    [
        "three",
        3,
        [],
        float("nan"),
        np.ones((500, 500)),
        Hostile(),
        leave,
        unreadable,
        endless,
        lambda: 3,
        defined("def search(query, features, k): raise ValueError('one\\ntwo' * 999)"),
    ],
)
def test_whatever_is_given_the_check_says_one_line(said: Said, answer: Any) -> None:
    told = said(answer)
    assert told.startswith("Not quite. ")
    assert told.count("\n") == 1 and len(told) < 400


def test_an_answer_of_the_wrong_kind_is_shown_with_its_type_and_the_hint(said: Said) -> None:
    numbers = Exercise(lambda units, _: None if same(units, 785) else "No.", "Count.", "")
    told = said("three", numbers)
    assert "'three'" in told and "str" in told and "Count." in told


def test_the_hint_and_the_solution_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exercise().hint()
    assert capsys.readouterr().out == "Cosines of unit vectors are one product.\n"
    exercise().solution()
    printed = capsys.readouterr().out
    assert printed.startswith("def search(query, features, k):\n    order = ")
    assert "own nearest neighbour" in printed


def test_a_notebook_shows_the_solution_as_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr("helpers.console.in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", shown.append)
    exercise().solution()
    assert shown[0].data.startswith("```python\ndef search(")


def test_verify_runs_the_solution_and_the_wrong_answers(capsys: pytest.CaptureFixture[str]) -> None:
    lesson = LESSON | {"search": ...}
    exercise(solution="print('at work')\n" + exercise().solution_source).verify(lesson)
    assert lesson["search"] is ...
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"solution": FORGOT_ITSELF}, "expected: Right"),
        ({"solution": "search = ..."}, "was told: Not answered"),
        ({"wrong": {FORGOT_ITSELF: "order"}}, "order"),
        ({"wrong": {SOLUTION: "itself"}}, "was told: Right"),
        ({"judge": lambda search, features: None}, "expected: Not quite"),
    ],
)
def test_verify_sees_each_fault_of_an_exercise(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        exercise(**changed).verify(LESSON)


@pytest.mark.parametrize(
    ("given", "expected", "tolerance", "equal"),
    [
        (3, 3, 0, True),
        (" VGG16 ", "vgg16", 0, True),
        ((1, 2), (1, 2), 0, True),
        (np.ones((2, 2)), np.ones((2, 2)), 0, True),
        (1000.4, 1000, 0.5, True),
        (1000.6, 1000, 0.5, False),
        ((1, 2, 3), (1, 2), 0, False),
        ("VGG19", "VGG16", 0, False),
        (19, "VGG16", 0, False),
        (float("nan"), 3, 0, False),
    ],
)
def test_same(given: Any, expected: Any, tolerance: float, equal: bool) -> None:
    assert same(given, expected, tolerance) is equal
