"""Checks of a learner's answers: right, not yet with a hint, or not answered."""

from typing import Any

import numpy as np

OPEN = "Not answered yet: replace the ... by your answer, and run this cell again."


def answer(given: Any, expected: Any, hint: str, tolerance: float = 0.0) -> None:
    """Says whether an answer is right. It never raises: a wrong answer is no fault.

    Args:
        given: the learner's answer; `...` where there is none yet.
        expected: a number, text, tuple, array, or a function that tells whether `given` is right.
        hint: what to look at, where the answer is wrong.
        tolerance: how far a number may be off.
    """
    if given is ...:
        print(OPEN)
    elif _right(given, expected, tolerance):
        print("Right.")
    else:
        print(f"Not yet: {given!r}. {hint}")


def _right(given: Any, expected: Any, tolerance: float) -> bool:
    try:
        if callable(expected):
            return bool(expected(given))
        if isinstance(expected, str):
            return str(given).strip().lower() == expected.lower()
        same_shape = np.shape(given) == np.shape(expected)
        return same_shape and bool(np.allclose(given, expected, rtol=0, atol=tolerance))
    except Exception:  # whatever a learner gave, the check must not end in a traceback
        return False
