"""What loading a weight file did, or would do."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from helpers.errors import printable


class Mismatch(NamedTuple):
    """A weight whose shape in the file is not the model's."""

    weight: str
    expected: tuple[int, ...]
    got: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """What was matched with what. Names are "layer/weight", of the model; `unexpected`, the file's.

    `notes` says what was converted on the way.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[Mismatch, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = (
            f"{len(self.loaded)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.wrong_shape)} of a wrong shape"
        )
        lines = [counts, *self.notes]
        lines += [f"missing in the file: {few(self.missing)}"] if self.missing else []
        lines += [f"unexpected in the file: {few(self.unexpected)}"] if self.unexpected else []
        lines += [f"{w}: expected {expected}, got {got}" for w, expected, got in self.wrong_shape]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in str(self).splitlines())
        return f"<b>{first}</b>" + "".join(f"<div>{line}</div>" for line in rest)


def few(names: Sequence[str], most: int = 6) -> str:
    """The first names of a list, and how many more there are."""
    listed = ", ".join(names[:most])
    return (listed or "none") + (f" and {len(names) - most} more" if len(names) > most else "")
