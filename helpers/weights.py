"""Find, fetch and verify the weight files that Keras publishes."""

import dataclasses
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from helpers import downloads, zoo
from helpers.errors import ArgumentError, DownloadError, HelpersError, WeightsError, nearest

MUSIC_TAGGER = "MusicTaggerCRNN"


@dataclass(frozen=True)
class Listed:
    """A published weight file, and what of it is here.

    `arrived` counts the bytes of an unfinished download; `problem` says why the file in the cache
    is a wrong one, and only `verify` looks for that.
    """

    model: str
    include_top: bool
    file: zoo.WeightFile
    path: Path | None
    arrived: int
    problem: str = ""

    @property
    def use(self) -> str:
        """What a model gives with it: `"predictions"`, `"features"` or `"tags"`."""
        if self.model == MUSIC_TAGGER:
            return "tags"
        return "predictions" if self.include_top else "features"

    @property
    def verified_by(self) -> str:
        """`"md5"`, `"sha256"`, or the number of parameters where no hash is published."""
        if self.file.hash:
            return downloads.algorithm(self.file.hash)
        return "number of parameters, no hash is published"


def cache() -> Path:
    """Return Keras's folder of weight files: `~/.keras/models`, or below `KERAS_HOME`."""
    folder = os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")
    if folder.startswith("~"):
        raise ArgumentError(f"{folder}: there is no such home. Set KERAS_HOME to a folder.")
    return Path(folder, "models")


def mirrors() -> list[str]:
    """Read `HELPERS_MIRROR`: base URLs and folders that files are taken from first, in order.

    They're separated by semicolons; before and after a URL, a space will do.

    >>> os.environ["HELPERS_MIRROR"] = "https://a.example/w https://b.example; /media/USB stick"
    >>> mirrors()
    ['https://a.example/w', 'https://b.example', '/media/USB stick']
    >>> del os.environ["HELPERS_MIRROR"]
    """
    value = os.environ.get("HELPERS_MIRROR", "")
    found = re.findall(r"https?://[^\s;]+|[^\s;](?:(?!\shttps?://)[^;])*", value, re.IGNORECASE)
    return [m if "://" in m else os.path.expanduser(m.strip()) for m in found]


def published(name: str, include_top: bool = True) -> zoo.WeightFile | None:
    """Return a model's published weight file, or None if its weights come with pip.

    Args:
        name: a model of the catalogue, or `"MusicTaggerCRNN"`.
        include_top: whether to return the file with the classifier; the music tagger has but one.

    >>> published("VGG16").name
    'vgg16_weights_tf_dim_ordering_tf_kernels.h5'
    """
    if name.lower() == MUSIC_TAGGER.lower():
        return zoo.MUSIC_TAGGER
    try:
        entry = zoo.find(name)
    except ArgumentError as error:
        known = [*zoo.names(), MUSIC_TAGGER]
        raise ArgumentError(f"No weights of a model {name!r}. {nearest(name, known)}") from error
    return entry.weights if include_top else entry.weights_notop


def find(name: str, include_top: bool = True) -> Path | None:
    """Return a model's weight file if it's in the cache and the right one, else None."""
    file = published(name, include_top)
    path = cache() / file.name if file else None
    return path if file and path and path.is_file() and not wrong(file, path) else None


def fetch(name: str, include_top: bool = True) -> Path:
    """Get a model's weight file into Keras's cache, where `keras.applications` finds it, too.

    If the file isn't there, it comes from the first of `mirrors()` that has it, or else from where
    it's published. A download that broke off is resumed.

    Raises:
        ArgumentError: an unknown name, or weights that come with pip.
        WeightsError: no source has it; the message says which, and where to put it by hand.
    """
    file = published(name, include_top)
    if file is None:
        raise ArgumentError(f"{name} has no weight file to fetch: its weights come with pip.")
    path = cache() / file.name
    try:
        return find(name, include_top) or downloads.fetch(
            file.url, file.hash, path, file.size_mb, mirrors(), functools.partial(wrong, file)
        )
    except DownloadError as error:
        raise WeightsError(
            f"{error} Or set HELPERS_MIRROR to a folder or URL that has it, or KERAS_HOME to a "
            "folder that can be written."
        ) from error


def wrong(file: zoo.WeightFile, path: Path) -> str:
    """Say what is wrong with a weight file: its hash, or else its parameters; `""` if nothing."""
    try:
        if file.hash:
            return downloads.wrong_hash(path, file.hash)
        from helpers import h5files  # here: it imports h5py

        found = h5files.tree(path).parameters
    except (HelpersError, OSError) as error:
        return str(error)
    expected = f"expected {file.parameters:,} parameters, got {found:,}"
    return "" if found == file.parameters else expected


def listing() -> list[Listed]:
    """List all published weight files, and which are in the cache; none is opened."""
    listed = []
    for name in [*zoo.names(), MUSIC_TAGGER]:
        for include_top in (True, False) if name != MUSIC_TAGGER else (True,):
            file = published(name, include_top)
            if file:
                path, part = cache() / file.name, cache() / f"{file.name}.part"
                here, arrived = path.is_file(), part.stat().st_size if part.is_file() else 0
                listed.append(Listed(name, include_top, file, path if here else None, arrived))
    return listed


def verify() -> list[Listed]:
    """Check every published weight file that is in the cache; see `Listed.problem`."""
    return [
        dataclasses.replace(found, problem=wrong(found.file, found.path))
        for found in listing()
        if found.path
    ]
