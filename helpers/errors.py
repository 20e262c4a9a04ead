"""The errors that the course raises on purpose.

HelpersError
├── ArgumentError (ValueError)     a name, size or option that cannot be right
├── DataError (ValueError)         a folder, a sound or a features file that cannot be used
│   └── PictureError               a file that is no readable picture
├── DownloadError (OSError)        a file that could not be fetched, or is not the published one
└── WeightsError (OSError)         weights that cannot be had, or must not be loaded

Every message says what was wrong, where, what was expected, what was found, and what to do next.
"""

import difflib
from collections.abc import Iterable


class HelpersError(Exception):
    """Any error that the course raises on purpose; catch this to catch all of them."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ArgumentError(HelpersError, ValueError):
    """A name, size or option that cannot be right."""


class DataError(HelpersError, ValueError):
    """A folder, a sound or a features file that cannot be used."""


class PictureError(DataError):
    """A file that is no readable picture."""


class DownloadError(HelpersError, OSError):
    """A file that could not be fetched, or is not the published one."""


class WeightsError(HelpersError, OSError):
    """Weights that cannot be had, or must not be loaded."""


def printable(text: str) -> str:
    """Write out control characters, so that a name from a file is safe to print.

    >>> printable("one\\x1b[31m")
    'one\\\\x1b[31m'
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def nearest(word: object, known: Iterable[str], most: int = 50) -> str:
    """End an error message with the nearest known name, or else with the names that there are.

    >>> nearest("ResNet5", ["ResNet50", "VGG16"])
    'Did you mean ResNet50?'
    """
    known = list(known)
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {by_lower[close[0]]}?"
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"Known: {', '.join(known[:most])}{more}."
