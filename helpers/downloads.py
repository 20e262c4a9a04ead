"""A file from a URL or a folder, proved by its hash before it gets its name.

pooch proves and keeps. Its own downloader cannot go on where the last attempt broke off, has no
end where a server drips, and follows any redirect; `_Downloader` is given to it instead.
"""

import contextlib
import errno
import functools
import hashlib
import itertools
import os
import re
import shutil
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import filelock
import pooch
from tqdm.auto import tqdm

from helpers import console, sources
from helpers.errors import DownloadError, HelpersError
from helpers.sources import CutError, SourceError

ATTEMPTS = 5


class PublishedFile(Protocol):
    """What is known of a file before it is here; `catalogue.WeightFile` is one."""

    @property
    def name(self) -> str:
        """Under which it is kept."""

    @property
    def url(self) -> str:
        """Where its author published it."""

    @property
    def hash(self) -> str | None:
        """MD5 or SHA-256, in hexadecimal digits."""


Prove = Callable[[Path, Any], None]


def algorithm(hash_: str) -> str:
    """Of a hash, as hashlib calls it.

    >>> algorithm("6d6bbae143d832006294945121d1f1fc")
    'md5'
    """
    return "sha256" if len(hash_) == 64 else "md5"


def prove(path: Path, file: PublishedFile) -> None:
    """Proves a file by its published hash.

    Raises:
        DownloadError: another hash, of which it says both; none is published; it is unreadable.
    """
    if file.hash is None:
        raise DownloadError(f"{short(path)}: no hash is published that would prove it.")
    kind = algorithm(file.hash)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
    except OSError as error:
        raise DownloadError(f"{short(path)}: it cannot be read ({error.strerror}).") from error
    if found != file.hash:
        raise DownloadError(f"{short(path)}: expected {kind.upper()} {file.hash}, got {found}")


def fetch(
    file: PublishedFile, folder: Path, mirrors: Sequence[str] = (), prove: Prove = prove
) -> Path:
    """A published file in a folder: kept where it is there already and right, else downloaded.

    It gets its name once it is whole and proved, so a broken download never harms an older file.
    What has come stays beside it as NAME.part, and the next attempt goes on from there, in this
    run or a later one. Of several processes one downloads, and the others wait for it.

    Args:
        file: its name, its address, its hash.
        folder: where it is kept; made where it is missing.
        mirrors: tried first, in order: base URLs, or folders, that have the file by its name.
        prove: raises a HelpersError for a wrong file. Needed where no hash is published; then
            nothing tells bytes of one version from another's, so broken downloads start over.

    Returns:
        its path, `folder / file.name`.

    Raises:
        DownloadError: it could not be had, with each attempt, its address and its hash; or it
            cannot be kept in the folder.
    """
    path, part = folder / file.name, folder / f"{file.name}.part"
    tried: list[str] = []
    try:
        with _alone(folder, file.name):
            if path.is_file():
                try:
                    prove(path, file)
                    return path
                except HelpersError as error:
                    tried.append(str(error).removesuffix("."))
            for source in [*(_in_mirror(mirror, file.name) for mirror in mirrors), file.url]:
                try:
                    _retrieve(source, file, path, prove)
                    return path
                except SourceError as error:
                    tried.append(f"{_host(source)}{error}".removesuffix("."))
    except OSError as error:  # not a source's: they raise SourceError
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # a full disk stays full otherwise
        why = error.strerror or error
        raise DownloadError(f"{file.name} cannot be kept in {short(folder)}: {why}.") from error
    hash_ = f" ({algorithm(file.hash).upper()} {file.hash})" if file.hash else ""
    raise DownloadError(
        f"{file.name} could not be had: {'; '.join(tried)}. "
        f"Put {file.url}{hash_} into {short(folder)} by hand."
    )


def short(path: Path) -> str:
    """A path for people: `~` for the home folder, so that no output shows whose machine it was."""
    try:
        return "~/" + path.relative_to(Path.home()).as_posix()
    except ValueError:
        return str(path)


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Holds a lock of the operating system, which frees itself when its holder dies."""
    locks = folder / ".locks"  # filelock leaves the files there, or two could hold one lock
    locks.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(locks / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"Another process is fetching {name}; waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _in_mirror(mirror: str, name: str) -> str:
    return f"{mirror.rstrip('/')}/{name}" if sources.is_url(mirror) else str(Path(mirror) / name)


def _host(source: str) -> str:
    """Begins a sentence on a source; a password in its address stays out of it."""
    if sources.is_url(source):
        return f"{urllib.parse.urlsplit(source).netloc.rpartition('@')[2]} "
    return f"{short(Path(source).parent)}: "


def _retrieve(source: str, file: PublishedFile, path: Path, prove: Prove) -> None:
    pooch.get_logger().setLevel("WARNING")  # it says what the progress bar says
    known = f"{algorithm(file.hash)}:{file.hash}" if file.hash else None
    new = path.with_name(f"{file.name}.new")
    downloader = _Downloader(path.with_name(f"{file.name}.part"), resume=known is not None)
    get = functools.partial(pooch.retrieve, source, known, new.name, new.parent, None, downloader)
    try:
        try:
            get()
        except ValueError:  # the wrong hash
            if not downloader.resumed:
                raise
            get()  # the first bytes were another source's, or another version's
        if known is None:
            prove(new, file)
    except (ValueError, HelpersError) as error:
        new.unlink(missing_ok=True)
        hashes = re.search(r"expected \S+ but got \w+", str(error))  # pooch says more
        what = hashes[0] if hashes else error
        raise SourceError(f"gave another file: {what}") from error
    os.replace(new, path)


class _Downloader:
    """As pooch calls one: fills `part`, from where it ends if `resume`, then hands it over."""

    def __init__(self, part: Path, resume: bool) -> None:
        self.part, self.resume, self.resumed = part, resume, False

    def __call__(self, source: str, output_file: str, _: Any, check_only: bool = False) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                self._attempt(source)
                break
            except CutError as error:
                if not left:
                    raise SourceError(f"{error}, {ATTEMPTS} times") from error
        os.replace(self.part, output_file)

    def _attempt(self, source: str) -> None:
        offset = self.part.stat().st_size if self.resume and self.part.is_file() else 0
        with contextlib.closing(sources.stream(source, offset)) as items:
            start, size = next(items)
            first = next(items, b"")
            if not start and first.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<"):
                raise SourceError(sources.PAGE)
            self.resumed = start > 0
            if not start:
                self.part.unlink(missing_ok=True)
            _check_room(self.part.parent, (size or 0) - start)
            bar = tqdm(
                total=size, initial=start, unit="B", unit_scale=True, desc=self.part.stem,
                disable=not _watched_by_people(),
            )  # fmt: skip
            with bar, self.part.open("ab") as out:
                for chunk in itertools.chain([first], items):
                    out.write(chunk)
                    bar.update(len(chunk))


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        text = f"{needed / 1e6:.1f} MB are needed, and {free / 1e6:.1f} MB are free"
        raise OSError(errno.ENOSPC, text)


def _watched_by_people() -> bool:
    return console.in_notebook() or sys.stderr.isatty()
