"""Old name of `helpers.zoo`, for the modules that still import it."""

from helpers.zoo import BUNDLED, MUSIC_TAGGER, Entry, WeightFile, entries, find, names, within

__all__ = ["BUNDLED", "MUSIC_TAGGER", "Entry", "WeightFile", "entries", "find", "names", "within"]
