"""A file from a URL or a folder, proved by its hash before it gets its name.

pooch proves and keeps. Its own downloader cannot go on where the last attempt broke off, has no
end where a server drips, and follows any redirect; `_Downloader` is given to it instead.
"""

import contextlib
import errno
import functools
import hashlib
import itertools
import math
import os
import queue
import re
import shutil
import sys
import threading
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import filelock
import pooch
import requests
import urllib3
from tqdm.auto import tqdm

from helpers.errors import DownloadError, HelpersError

CONNECT_SECONDS = 3.0
# From looking the name up to the first bytes: none of its steps has a limit that holds for all.
ANSWER_SECONDS = 10.0
# A limit for each read from a socket never fires where a server drips; one for each chunk does.
CHUNK, CHUNK_SECONDS = 1 << 14, 15.0
ATTEMPTS = 5
PAGE = (
    "sent a web page, not the file. Where a network asks people to log in, do that first, in a "
    "browser"
)


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
                except _SourceError as error:
                    tried.append(f"{_host(source)}{error}".removesuffix("."))
    except OSError as error:  # not a source's: they raise _SourceError
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


class _SourceError(Exception):
    """What is wrong with a source: the next one may do."""


class _CutError(_SourceError):
    """The connection ended too soon: the same source may go on."""


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
    return f"{mirror.rstrip('/')}/{name}" if _is_url(mirror) else str(Path(mirror) / name)


def _is_url(source: str) -> bool:
    return bool(re.match("https?://", source, re.IGNORECASE))


def _host(source: str) -> str:
    """Begins a sentence on a source; a password in its address stays out of it."""
    if _is_url(source):
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
        raise _SourceError(f"gave another file: {what}") from error
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
            except _CutError as error:
                if not left:
                    raise _SourceError(f"{error}, {ATTEMPTS} times") from error
        os.replace(self.part, output_file)

    def _attempt(self, source: str) -> None:
        offset = self.part.stat().st_size if self.resume and self.part.is_file() else 0
        stream = (_from_server if _is_url(source) else _from_folder)(source, offset)
        with contextlib.closing(_in_time(stream)) as items:
            start, size = next(items)
            first = next(items, b"")
            if not start and first.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<"):
                raise _SourceError(PAGE)
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
    """As `backend.in_notebook` knows it, which loads TensorFlow; or in a terminal."""
    ipython = sys.modules.get("IPython")
    notebook = hasattr(ipython.get_ipython(), "kernel") if ipython else False
    return notebook or sys.stderr.isatty()


def _in_time(stream: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """A stream's items, each within its time, whatever the stream is held up by.

    A thread of its own reads it. Where that one hangs it is left behind, and ends with the process.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=8)
    left_behind = threading.Event()
    end = object()

    def read() -> None:
        try:
            with contextlib.closing(stream):
                for item in stream:
                    items.put(item)
                    if left_behind.is_set():
                        return
            items.put(end)
        except BaseException as error:
            items.put(error)

    threading.Thread(target=read, daemon=True).start()
    seconds, late = ANSWER_SECONDS, f"did not answer within {ANSWER_SECONDS:.0f} s"
    try:
        while (item := _next(items, seconds, late)) is not end:
            if isinstance(item, (OSError, urllib3.exceptions.HTTPError)):
                raise _why(item) from item
            if isinstance(item, BaseException):
                raise item
            yield item
            seconds = CHUNK_SECONDS
            late = f"sent less than {CHUNK / 1000:.0f} kB in {CHUNK_SECONDS:.0f} s"
    finally:
        left_behind.set()
        with contextlib.suppress(queue.Empty):
            while True:  # room for an item that waits to be put
                items.get_nowait()


def _next(items: queue.Queue[Any], seconds: float, late: str) -> Any:
    steps = math.ceil(seconds / 0.2)  # Windows hears Ctrl-C only between them
    for _ in range(steps):
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=seconds / steps)
    raise _SourceError(late)


def _why(error: Exception) -> _SourceError:
    if isinstance(error, requests.exceptions.SSLError):
        return _SourceError(f"has a certificate that is not trusted ({error})")
    if isinstance(error, requests.exceptions.ProxyError):
        return _SourceError("cannot be reached: the proxy does not let it through")
    if isinstance(error, requests.exceptions.ConnectionError):
        return _SourceError("cannot be reached")
    if isinstance(error, urllib3.exceptions.HTTPError):
        return _CutError("broke off before the end of the file")
    return _SourceError(str(error))


class _Session(requests.Session):
    """Follows a redirect to an address of the web, and never from https to http."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            new = urllib.parse.urljoin(resp.url, target)
            if not _is_url(new) or (resp.url.startswith("https:") and new.startswith("http:")):
                resp.close()
                raise _SourceError(f"redirects to {new}, which is not safe")
        return target


def _from_server(url: str, offset: int) -> Generator[Any, None, None]:
    """First the offset at which the bytes start, and the file's size or None; then the bytes.

    A server may ignore the offset that is asked for.
    """
    for wanted in sorted({offset, 0}, reverse=True):
        headers = {"Accept-Encoding": "identity"}  # so that lengths and offsets are the file's
        if wanted:
            headers["Range"] = f"bytes={wanted}-"
        with (
            _Session() as session,
            session.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, 60)) as got,
        ):
            if got.status_code == 416:  # the offset is at the file's end, or behind it
                continue
            if got.status_code not in (200, 206):
                raise _SourceError(f"answered {got.status_code} {got.reason}")
            if got.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise _SourceError(PAGE)
            span = re.match(r"bytes (\d+)-", got.headers.get("Content-Range", ""))
            start = 0 if got.status_code == 200 else int(span[1]) if span else -1
            if start not in (0, wanted):
                continue
            length = got.headers.get("Content-Length")
            yield start, start + int(length) if length else None
            while chunk := got.raw.read(CHUNK):
                yield chunk
            return
    raise _SourceError("did not send the file from its start")


def _from_folder(path: str, offset: int) -> Generator[Any, None, None]:
    """As `_from_server`, from a folder of this machine, a stick or a share."""
    if not Path(path).is_file():
        what = "it has no such file" if Path(path).parent.is_dir() else "no such folder"
        raise _SourceError(what)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = offset if offset <= size else 0
        file.seek(start)
        yield start, size
        while chunk := file.read(CHUNK):
            yield chunk
