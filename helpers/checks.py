"""Exercises that check an answer, give a hint, and show a solution."""

import contextlib
import dis
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
        judge: Function of the answer and of the lesson's variables that decide about it, by their
            names in the lesson. Returns None for a right answer, and a hint for a wrong one.
        hint: What to think of first. For `hint()`, and for answers that the judge can't read.
        solution: Code that makes the answer.
        right: A sentence that is printed after "Right." and below the solution.
        wrong: Code that makes a plausible wrong answer, and a word of the hint that it gets.

    >>> def judge(units):
    ...     return None if units == 785 else "Each pixel has a weight, and each unit a bias."
    >>> Exercise(judge, "How many inputs has a unit?", "units = 28 * 28 + 1").check(784)
    Not quite. Each pixel has a weight, and each unit a bias.
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

        Code runs in a copy of `namespace`, usually the lesson's `globals()`.
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
            mistake = self.judge(answer, *context)
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


def _unanswered(answer: Any) -> bool:
    if type(answer) in (list, tuple):
        return any(part is ... for part in answer)
    if not isinstance(answer, FunctionType):
        return answer is ... or answer is None
    # A body of ..., pass or a text does nothing but return None. From Python 3.12 on, a constant
    # is loaded and returned in one step.
    steps = [s for s in dis.get_instructions(answer) if s.opname not in ("RESUME", "NOP")]
    code = " ".join(f"{step.opname} {step.argrepr}".strip() for step in steps)
    code = code.replace("LOAD_CONST", "RETURN_CONST").replace(" RETURN_VALUE", "")
    return code == "RETURN_CONST None" or code.endswith("RETURN_CONST Ellipsis")


def same(given: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Compare numbers, tuples or arrays within a tolerance, or texts but for upper and lower case.

    >>> same(0.6301, 0.63, tolerance=0.01), same(" vgg16", "VGG16"), same((7, 7), (7, 7, 512))
    (True, True, False)
    """
    if isinstance(expected, str):
        return isinstance(given, str) and given.strip().lower() == expected.lower()
    same_shape = np.shape(given) == np.shape(expected)
    return same_shape and bool(np.allclose(given, expected, rtol=0, atol=tolerance))
