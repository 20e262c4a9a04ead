"""th or tf: how a file's kernels are stored, and who trained them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from helpers.errors import ArgumentError, WeightsError
from helpers.h5files.layouts import Contents
from helpers.h5files.pairing import Pair

Convention = Literal["tf", "th"]


@dataclass(frozen=True)
class Conventions:
    """th or tf, for a whole file."""

    channels_first: bool
    turn: bool
    keras3: bool

    @classmethod
    def of(
        cls,
        contents: Contents,
        pairs: Sequence[Pair],
        dim_ordering: Convention | None,
        trained_kernels: Convention | None,
    ) -> "Conventions":
        """What was said, else what the file's name or attributes say, else what the shapes say.

        Raises:
            ArgumentError: neither tf nor th was said.
            WeightsError: it makes a difference, and nothing says it.
        """
        for argument, value in (
            ("dim_ordering", dim_ordering),
            ("trained_kernels", trained_kernels),
        ):
            if value not in (None, "tf", "th"):
                raise ArgumentError(f'{argument}: expected "tf" or "th", got {value!r}.')
        if contents.is_keras3:
            return cls(False, False, True)
        stem = contents.path.name.lower()
        ordering = dim_ordering or _said(r"(th|tf)_dim_ordering", stem)
        orderings = {o for pair in pairs for o in _orderings(pair)}
        first = ordering == "th" if ordering else orderings == {"th"}
        trained = trained_kernels or _said(r"(th|tf)_kernels", stem)
        if trained is None and "backend" in contents.attributes:
            trained = "th" if contents.attributes["backend"] == "theano" else "tf"
        if trained is None and first and _turnable(pairs):
            raise WeightsError(
                f"{contents.path.name}: its kernels are stored (out, in, rows, columns), and "
                "nothing says whether Theano trained it, whose convolution turns each kernel by "
                '180°. Say trained_kernels="th" (turned) or trained_kernels="tf" (not). Nothing '
                "was loaded."
            )
        return cls(first, trained == "th", False)

    def notes(self) -> tuple[str, ...]:
        """What they mean for the kernels of convolutions, where it is more than nothing."""
        done = []
        if self.channels_first:
            done.append("kernels transposed from (out, in, rows, columns)")
        if self.turn:
            done.append("kernels turned by 180°")
        return tuple(done)


def _said(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _orderings(pair: Pair) -> Iterator[Convention]:
    """What the shape of a layer's kernel says; nothing where both would fit."""
    wanted, got = _kernel_shapes(pair)
    if len(wanted) == len(got) == 4 and wanted != got and channels_last(got) == wanted:
        yield "th"
    elif len(wanted) == 4 and wanted == got and channels_last(got) != wanted:
        yield "tf"


def _turnable(pairs: Sequence[Pair]) -> bool:
    shapes = [wanted for wanted, got in map(_kernel_shapes, pairs) if len(wanted) == len(got) == 4]
    return any(shape[:2] != (1, 1) for shape in shapes)


def _kernel_shapes(pair: Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair.layer.weights[0].shape), pair.stored.weights[0].shape


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(out, in, rows, columns) → (rows, columns, in, out)."""
    return (shape[2], shape[3], shape[1], shape[0])
