from typing import Any

import numpy as np
import pytest

from helpers import checks


def said(
    capsys: pytest.CaptureFixture[str], given: Any, expected: Any, tolerance: float = 0.0
) -> str:
    checks.answer(given, expected, "Look at the shape.", tolerance)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 3),
        (" VGG16 ", "vgg16"),
        ((1, 2), (1, 2)),
        (np.ones((2, 2)), np.ones((2, 2))),
        (4, lambda x: x % 2 == 0),
    ],
)
def test_a_right_answer(capsys: pytest.CaptureFixture[str], given: Any, expected: Any) -> None:
    assert said(capsys, given, expected) == "Right."


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (4, 3),
        ("VGG19", "VGG16"),
        ((1, 2, 3), (1, 2)),
        (None, 3),
        ("three", 3),
        (float("nan"), 3),
        (5, lambda x: x % 2 == 0),
        ([], lambda x: x[5] == 1),
        (3, lambda x: x.shape == (3,)),
    ],
)
def test_a_wrong_answer_gets_the_hint_and_no_traceback(
    capsys: pytest.CaptureFixture[str], given: Any, expected: Any
) -> None:
    text = said(capsys, given, expected)
    assert text == f"Not yet: {given!r}. Look at the shape."


def test_no_answer_is_not_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, ..., 3) == checks.OPEN


def test_the_tolerance_is_absolute(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, 1000.4, 1000, tolerance=0.5) == "Right."
    assert said(capsys, 1000.6, 1000, tolerance=0.5).startswith("Not yet")
