"""Where a model's weight file is, getting it, and proving that it is the right one."""

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from helpers import catalogue, downloads
from helpers.catalogue import WeightFile
from helpers.downloads import short
from helpers.errors import (
    ArgumentError,
    DownloadError,
    HelpersError,
    WeightsError,
    nearest,
)

Policy = Literal["auto", "bundled", "imagenet"]

MUSIC_TAGGER = "MusicTaggerCRNN"


@dataclass(frozen=True)
class Listed:
    """A published weight file: the model that it is for, and its copies on this machine.

    `arrived` counts the bytes of a download that broke off.
    """

    model: str
    include_top: bool
    file: WeightFile
    copies: tuple[Path, ...]
    arrived: int

    @property
    def use(self) -> str:
        """What the model gives with it."""
        if self.model == MUSIC_TAGGER:
            return "tags"
        return "predictions" if self.include_top else "features"


@dataclass(frozen=True)
class Proof:
    """What `verify` found of one file; `problem` is empty where it is the right one."""

    model: str
    include_top: bool
    path: Path
    proof: str
    problem: str = ""


def policy() -> Policy:
    """`HELPERS_WEIGHTS`: `"auto"` where it is not set, or `"bundled"` or `"imagenet"`.

    Raises:
        ArgumentError: it has another value.
    """
    value = os.environ.get("HELPERS_WEIGHTS") or "auto"
    if value not in get_args(Policy):
        raise ArgumentError(f"HELPERS_WEIGHTS={value}: {nearest(value, get_args(Policy))}")
    return cast(Policy, value)


def cache() -> Path:
    """Keras's own folder of weight files: `~/.keras/models`, or below `KERAS_HOME`."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


def folders() -> list[Path]:
    """Where weight files are looked for: `HELPERS_WEIGHTS_DIR` where it is set, then the cache."""
    own = os.environ.get("HELPERS_WEIGHTS_DIR")
    return [*([Path(own).expanduser()] if own else []), cache()]


def mirrors() -> list[str]:
    """`HELPERS_MIRROR`: the base URLs and folders that files are taken from first, in order.

    A semicolon stands between them. Before and after a URL, a space will do: it can only be a
    folder's name that has one in it.

    >>> os.environ["HELPERS_MIRROR"] = "https://a.example/w https://b.example; /media/USB stick"
    >>> mirrors()
    ['https://a.example/w', 'https://b.example', '/media/USB stick']
    >>> del os.environ["HELPERS_MIRROR"]
    """
    value = os.environ.get("HELPERS_MIRROR", "")
    found = re.findall(r"https?://[^\s;]+|[^\s;](?:(?!\shttps?://)[^;])*", value, re.IGNORECASE)
    return [m if "://" in m else str(Path(m.strip()).expanduser()) for m in found]


def published(name: str, include_top: bool = True) -> WeightFile | None:
    """A model's published file; None where the weights come by pip instead.

    Args:
        name: of the catalogue, or `"MusicTaggerCRNN"`, whose one file has the top in it.
        include_top: the file with the classifier, or the one without.

    Raises:
        ArgumentError: an unknown name.
    """
    if name.lower() == MUSIC_TAGGER.lower():
        return catalogue.MUSIC_TAGGER
    try:
        entry = catalogue.find(name)
    except ArgumentError as error:
        known = [*catalogue.names(), MUSIC_TAGGER]
        raise ArgumentError(f"No weights of a model {name!r}. {nearest(name, known)}") from error
    return entry.weights if include_top else entry.weights_notop


def find(name: str, include_top: bool = True) -> Path | None:
    """A model's weight file on this machine, proved, or None; touches no network."""
    file = published(name, include_top)
    return _look(file, []) if file else None


def fetch(name: str, include_top: bool = True) -> Path:
    """A model's weight file: from this machine, else from `HELPERS_MIRROR`, else as published.

    A download shows its progress, goes on where the last one broke off, and is proved before it
    gets its name. It goes to Keras's own cache, so that `keras.applications` finds it too.

    Raises:
        ArgumentError: an unknown name, or weights that come by pip.
        WeightsError: it could not be had; says what was tried, and where to put it by hand.
    """
    file = published(name, include_top)
    if file is None:
        raise ArgumentError(f"{name}: Keras publishes no weight file for it; it comes by pip.")
    wrong: list[str] = []
    found = _look(file, wrong)
    if found is not None:
        return found
    try:
        return downloads.fetch(file, cache(), mirrors(), prove)
    except DownloadError as error:
        raise WeightsError(
            f"{''.join(wrong)}{error} Or set HELPERS_WEIGHTS_DIR to a folder that has it, "
            "HELPERS_MIRROR to a server or folder to take it from, or KERAS_HOME to a folder that "
            "can be written."
        ) from error


def prove(path: Path, file: WeightFile) -> None:
    """Proves a weight file by its hash; where none is published, by what is in it.

    Then it must be a whole HDF5 file with as many numbers as the model has: those of another
    model, or of the same one with or without its top, are found.

    Raises:
        DownloadError: another hash, of which it says both; or it cannot be read.
        WeightsError: no whole HDF5 file, or another model's.
    """
    if file.hash is not None:
        downloads.prove(path, file)
        return
    from helpers import h5files  # here: h5py is not needed to know where a file is

    found = h5files.tree(path).parameters
    if found != file.parameters:
        raise WeightsError(
            f"{short(path)}: expected {file.parameters:,} parameters, found {found:,}: it is for "
            "another model, or has a top where it should have none, or the other way round."
        )


def listing() -> list[Listed]:
    """All published files, with the copies that are here; none of them is opened."""
    return list(_listing())


def verify() -> list[Proof]:
    """Proves every copy of every published file that is here."""
    proofs = []
    for found in listing():
        kind = downloads.algorithm(found.file.hash) if found.file.hash else "contents"
        for path in found.copies:
            proof = Proof(found.model, found.include_top, path, kind)
            try:
                prove(path, found.file)
            except HelpersError as error:
                proof = dataclasses.replace(proof, problem=str(error))
            proofs.append(proof)
    return proofs


def _listing() -> Iterator[Listed]:
    for name in [*catalogue.names(), MUSIC_TAGGER]:
        for include_top in (True, False):
            file = published(name, include_top)
            if file is None or (name == MUSIC_TAGGER and not include_top):
                continue
            copies = tuple(p for folder in folders() if (p := folder / file.name).is_file())
            part = cache() / f"{file.name}.part"
            arrived = part.stat().st_size if part.is_file() else 0
            yield Listed(name, include_top, file, copies, arrived)


def _look(file: WeightFile, wrong: list[str]) -> Path | None:
    for folder in folders():
        path = folder / file.name
        if path.is_file():
            try:
                prove(path, file)
            except HelpersError as error:
                wrong.append(f"{str(error).removesuffix('.')}. ")
            else:
                return path
    return None
