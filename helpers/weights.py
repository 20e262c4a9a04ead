"""Where a model's weight file is, getting it, and proving that it is the right one."""

import concurrent.futures
import hashlib
import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Literal, cast, get_args

from helpers import catalogue
from helpers.catalogue import WeightFile
from helpers.errors import ArgumentError, WeightsNotFound, WeightsRefused, nearest

Policy = Literal["auto", "bundled", "imagenet"]

CONNECT_SECONDS = 3.0
HDF5_START = b"\x89HDF\r\n\x1a\n"


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


def published(name: str, include_top: bool = True) -> WeightFile | None:
    """The file that Keras publishes for a model; None where the weights come by pip instead."""
    entry = catalogue.find(name)
    return entry.weights if include_top else entry.weights_notop


def find(name: str, include_top: bool = True) -> Path | None:
    """A model's weight file on this machine, its hash proved, or None; touches no network."""
    file = published(name, include_top)
    return _look(file, []) if file else None


def obtain(name: str, include_top: bool = True) -> Path:
    """A model's weight file: from this machine, else from `HELPERS_MIRROR`, else from Keras.

    Downloads show their progress, are checked against Keras's hash before they get their name,
    and go to Keras's own cache, so that `keras.applications` finds them too.

    Raises:
        WeightsNotFound: it could not be had; says what was tried, and where to put it by hand.
    """
    file = published(name, include_top)
    if file is None:
        raise ArgumentError(f"{name}: Keras publishes no weight file for it; it comes by pip.")
    tried: list[str] = []
    found = _look(file, tried)
    if found is None:
        found = _download(file, tried)
    if found is None:
        hash_ = f" ({file.algorithm.upper()} {file.hash})" if file.hash else ""
        raise WeightsNotFound(
            f"{file.name} could not be had: {'; '.join(tried)}. Put {file.url}{hash_} into "
            f"{_short(folders()[0])}, or set HELPERS_WEIGHTS_DIR to a folder that has it."
        )
    return found


def check(path: Path, file: WeightFile) -> None:
    """Proves a file by the hash that Keras names; where it names none, it must at least be HDF5.

    Raises:
        WeightsRefused: another hash, of which it says both; or no HDF5 file.
    """
    with path.open("rb") as stream:
        start = stream.read(len(HDF5_START))
        stream.seek(0)
        found = hashlib.file_digest(stream, file.algorithm).hexdigest() if file.hash else None
    if file.hash is None and start != HDF5_START:
        raise WeightsRefused(f"{_short(path)}: expected an HDF5 file, it starts with {start!r}")
    if found != file.hash:
        kind = file.algorithm.upper()
        raise WeightsRefused(f"{_short(path)}: expected {kind} {file.hash}, got {found}")


def _look(file: WeightFile, tried: list[str]) -> Path | None:
    for folder in folders():
        path = folder / file.name
        if not path.is_file():
            tried.append(f"not in {_short(folder)}")
            continue
        try:
            check(path, file)
        except WeightsRefused as error:
            tried.append(str(error))
        else:
            return path
    return None


def _download(file: WeightFile, tried: list[str]) -> Path | None:
    import pooch  # here: it is not needed to find a file, and is slow to import

    pooch.get_logger().setLevel("WARNING")  # it says what the progress bar says
    new = cache() / f"{file.name}.{os.getpid()}.new"  # another process may be fetching it too
    mirrors = os.environ.get("HELPERS_MIRROR", "").split()
    for url in [*(f"{mirror.rstrip('/')}/{file.name}" for mirror in mirrors), file.url]:
        host = urllib.parse.urlsplit(url).netloc
        if not _reachable(url):
            tried.append(f"{host} cannot be reached")
            continue
        try:
            pooch.retrieve(
                url,
                f"{file.algorithm}:{file.hash}" if file.hash else None,
                new.name,
                new.parent,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=30),
            )
            check(new, file)
            os.replace(new, cache() / file.name)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            new.unlink(missing_ok=True)
            tried.append(f"{host}: {error}")
        else:
            return cache() / file.name
    return None


def _reachable(url: str) -> bool:
    """Whether the server, or the proxy before it, answers soon.

    Without this, a learner on a network that drops packets waits for minutes before the first
    picture. Looking a name up has no time limit of its own, hence the thread.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy)
    address = (parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443))
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        attempt = pool.submit(socket.create_connection, address, CONNECT_SECONDS)
        attempt.result(CONNECT_SECONDS).close()
    except (OSError, concurrent.futures.TimeoutError):
        return False
    finally:
        pool.shutdown(wait=False)
    return True


def _short(path: Path) -> str:
    """A path for people: `~` for the home folder, so that no output shows whose machine it was."""
    try:
        return "~/" + path.relative_to(Path.home()).as_posix()
    except ValueError:
        return str(path)
