"""The errors that the course raises on purpose.

HelpersError
├── ArgumentError (ValueError)     a name, size or option that cannot be right
├── PictureError (ValueError)      a file that is no readable picture
├── SoundError (ValueError)        a file that is no readable sound or mel spectrogram
├── DatasetError (ValueError)      class folders that are not as they should be
├── FeaturesError (ValueError)     a features file that does not fit its use
├── DownloadError (OSError)        a file that could not be fetched, or is not the published one
└── WeightsError (OSError)
    ├── WeightsNotFound            the weights are not here and could not be had
    └── WeightsRefused             the file is not the right one, or not safe to read

Every message says what was wrong, where, what was expected, what was found, and what to do next.
"""

import difflib
from collections.abc import Iterable


class HelpersError(Exception):
    """Whatever the course raises on purpose; catch this to catch all of them."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ArgumentError(HelpersError, ValueError):
    """A name, size or option that cannot be right."""


class PictureError(HelpersError, ValueError):
    """A file that is no readable picture."""


class SoundError(HelpersError, ValueError):
    """A file that is no readable sound, and no mel spectrogram."""


class DatasetError(HelpersError, ValueError):
    """Class folders that are not as they should be."""


class FeaturesError(HelpersError, ValueError):
    """A features file that does not fit the use that is made of it."""


class DownloadError(HelpersError, OSError):
    """A file that could not be fetched, or is not the one that was published."""


class WeightsError(HelpersError, OSError):
    """Weights that could not be had, or must not be used."""


class WeightsNotFound(WeightsError):
    """The weights are not on this machine and could not be downloaded."""


class WeightsRefused(WeightsError):
    """A weight file that is not the right one, or not safe to read."""


def printable(text: str) -> str:
    """A text with names out of files in it, safe to print: control characters are written out.

    >>> printable("one\\x1b[31m")
    'one\\\\x1b[31m'
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def nearest(word: object, known: Iterable[str], most: int = 50) -> str:
    """Ends an error message: the nearest known name, or all of them, or the first of very many.

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
