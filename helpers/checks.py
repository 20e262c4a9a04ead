"""Exercises that check an answer, give a hint, and show a solution."""

import contextlib
import dis
import functools
import inspect
import io
import reprlib
import textwrap
import traceback
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from helpers import console

NOT_ANSWERED = "Not answered yet: replace the ... with your answer and run this cell again."


class Exercise:
    """A question of a lesson, with what is told to right and to wrong answers.

    Args:
        judge: Function of the answer and of the lesson's variables that decide about it. Returns
            None for a right answer, and a hint about the mistake for a wrong one. Its parameters
            have the names that these variables have in the lesson, the answer's first.
        hint: What to think of first. For `hint()`, and for answers that the judge can't read.
        solution: Code that makes the answer.
        right: A sentence that is printed after "Right." and below the solution.
        wrong: Code that makes a plausible wrong answer, and a word of the hint that it gets.

    Example:

    >>> def judge(units):
    ...     if units == 784:
    ...         return "Each unit also has a bias."
    ...     return None if units == 785 else "Each pixel has a weight."
    >>> q1 = Exercise(judge, "How many inputs has a unit?", "units = 28 * 28 + 1")
    >>> q1.check(784)
    Not quite. Each unit also has a bias.
    >>> q1.check(785)
    Right.
    """

    def __init__(
        self,
        judge: Callable[..., str | None],
        hint: str,
        solution: str,
        right: str = "",
        wrong: Mapping[str, str] | None = None,
    ) -> None:
        self.judge = judge
        self.hint_text = hint
        self.solution_source = inspect.cleandoc(solution)
        self.right = right
        self.wrong = {inspect.cleandoc(source): word for source, word in (wrong or {}).items()}

    def check(self, answer: Any, *context: Any) -> None:
        """Print whether the answer is right, or a hint. Never raises, whatever the answer is."""
        print(self._verdict(answer, *context))

    def hint(self) -> None:
        """Print the hint."""
        print(self.hint_text)

    def solution(self) -> None:
        """Show the code of a solution, and why it is right."""
        if console.in_notebook():
            from IPython.display import Markdown, display

            display(Markdown(f"```python\n{self.solution_source}\n```\n\n{self.right}"))
        else:
            print(self.solution_source, self.right, sep="\n\n")

    def verify(self, namespace: Mapping[str, Any]) -> None:
        """Raise AssertionError unless the solution is right and each wrong answer gets its hint.

        Code runs in a copy of `namespace`, usually the lesson's `globals()`; an object that it
        changes in place, such as a model, stays changed.
        """
        names = list(inspect.signature(self.judge).parameters)
        cases = [(self.solution_source, "Right.", ""), (f"{names[0]} = ...", NOT_ANSWERED, "")]
        cases += [(source, "Not quite.", word) for source, word in self.wrong.items()]
        for source, start, word in cases:
            variables = dict(namespace)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, "<answer>", "exec"), variables)
                said = self._verdict(*(variables[name] for name in names))
            if not said.startswith(start) or word not in said:
                raise AssertionError(f"{source}\n\nexpected: {start} … {word}\nwas told: {said}")

    def _verdict(self, answer: Any, *context: Any) -> str:
        if _unanswered(answer):
            return NOT_ANSWERED
        try:
            mistake = self.judge(_watched(answer), *context)
        except _NotAnsweredError:
            return NOT_ANSWERED
        except (Exception, SystemExit) as error:  # of the learner's function, or a wrong type
            mistake = self._explain(answer, error)
        return f"Not quite. {mistake}" if mistake else f"Right. {self.right}".strip()

    def _explain(self, answer: Any, error: BaseException) -> str:
        report = traceback.TracebackException.from_exception(error)
        said = textwrap.shorten(f"{type(error).__name__}: {report}", 200).rstrip(".: ")
        if isinstance(answer, FunctionType):
            file = answer.__code__.co_filename
            lines = [frame.lineno for frame in report.stack if frame.filename == file]
            if lines:
                return f"Your {answer.__name__} raised {said}, in line {lines[-1]}."
            if "NoneType" in said:
                return f"Your {answer.__name__} returned None. Does it end with return?"
        shown = textwrap.shorten(reprlib.repr(answer), 80)
        return f"Your answer is {shown}, of type {type(answer).__name__}. {self.hint_text}"


class _NotAnsweredError(Exception):
    """The learner's function still returns `...`."""


def _unanswered(answer: Any) -> bool:
    if type(answer) in (list, tuple):
        return any(part is ... for part in answer)
    if not isinstance(answer, FunctionType):
        return answer is ... or answer is None
    steps = list(dis.get_instructions(answer))  # of `def search(query): ...` and the like
    values = {step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")}
    names = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    return values <= {None, ...} and names.issuperset(step.opname for step in steps)


def _watched(answer: Any) -> Any:
    """Let a function that returns `...` count as one that isn't written yet."""
    if not isinstance(answer, FunctionType):
        return answer

    @functools.wraps(answer)
    def call(*arguments: Any, **options: Any) -> Any:
        result = answer(*arguments, **options)
        if result is ...:
            raise _NotAnsweredError
        return result

    return call


def same(given: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Compare two numbers, texts, tuples or arrays.

    Args:
        given: The answer.
        expected: What it should be. Upper and lower case of a text don't matter.
        tolerance: How far a number may be off.

    >>> same(0.6301, 0.63, tolerance=0.01), same(" vgg16", "VGG16"), same((7, 7), (7, 7, 512))
    (True, True, False)
    """
    if isinstance(expected, str):
        return isinstance(given, str) and given.strip().lower() == expected.lower()
    same_shape = np.shape(given) == np.shape(expected)
    return same_shape and bool(np.allclose(given, expected, rtol=0, atol=tolerance))
