"""Download one published file into a folder, from mirrors or its own URL; unpack an archive."""

import multiprocessing
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Protocol

import filelock
import pooch
import requests
import urllib3
from tqdm.auto import tqdm

from helpers import console
from helpers.errors import DownloadError

CHUNK, SECONDS = 1 << 16, 15.0  # a source that needs longer to answer, or for 64 kB, is given up
TRIES = 5  # of a source that breaks off in the middle of the file


class _PublishedFile(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def hash(self) -> str | None: ...


def wrong_hash(path: Path, file: _PublishedFile) -> str:
    """Say how a file's hash differs from the published one; `""` if it's the same."""
    kind = algorithm(str(file.hash))
    found = pooch.file_hash(str(path), kind)
    return "" if found == file.hash else f"expected {kind.upper()} {file.hash}, got {found}"


def fetch(
    file: _PublishedFile,
    folder: Path,
    mirrors: Sequence[str] = (),
    check: Callable[[Path, Any], str] = wrong_hash,
) -> Path:
    """Download a published file into a folder, unless the right one is there already.

    The bytes go to NAME.part, where the next call resumes a download that broke off; the file gets
    its name once it's checked. Of several processes, one downloads and the others wait.

    Args:
        file: its name, its URL, and its MD5 or SHA-256 in hexadecimal digits. Without a hash, None,
            it's downloaded whole each time.
        folder: where to keep it; made if need be.
        mirrors: base URLs and folders to try first, in order.
        check: `check(path, file)` says what is wrong with a file that has come, or `""`.

    Raises:
        DownloadError: no source has the file (the message lists them), or the folder can't keep it.
    """
    path, part, tried = folder / file.name, folder / f"{file.name}.part", []
    try:
        with _locked(folder, file.name):
            if file.hash and path.is_file() and not wrong_hash(path, file):
                return path
            for source in [*(f"{mirror.rstrip('/')}/{file.name}" for mirror in mirrors), file.url]:
                problem = _retrieve(source, file, part, check)
                if not problem:
                    return part.replace(path)
                tried.append(f"{shown(source)}: {problem}")
    except OSError as error:  # of this machine
        raise DownloadError(
            f"{file.name} can't be kept in {shown(folder)}: {error.strerror or error}."
        ) from error
    hash_ = f" ({algorithm(file.hash).upper()} {file.hash})" if file.hash else ""
    raise DownloadError(
        f"{file.name} can't be downloaded. {'; '.join(tried)}. "
        f"To do it by hand, put {file.url}{hash_} into {shown(folder)}."
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tgz file into a new folder; do nothing if the folder exists.

    pooch's Untar isn't used: before Python 3.12 it writes where a member `../x` tells it to.

    Raises:
        DownloadError: the archive can't be unpacked; nothing of it stays.
    """
    how: dict[str, Any] = {} if archive.suffix == ".zip" else {"filter": "data"}
    home, name = folder.parent, folder.name
    try:
        with _locked(home, name), tempfile.TemporaryDirectory(dir=home) as new:
            if not folder.is_dir():
                shutil.unpack_archive(archive, Path(new, name), **how)
                os.replace(Path(new, name), folder)
    except (OSError, tarfile.TarError) as error:
        raise DownloadError(f"{archive.name} can't be unpacked: {error}.") from error


def algorithm(hash_: str) -> str:
    """Name a hash's algorithm: `"md5"` or `"sha256"`."""
    return "sha256" if len(hash_) == 64 else "md5"


def shown(place: str | Path) -> str:
    """Write a path or URL as it may be printed: `~` for the home folder, and no password.

    >>> shown("https://me:secret@example.org/weights")
    'https://example.org/weights'
    """
    text, home = str(place), os.path.expanduser("~")
    if text.startswith(home + os.sep):
        return "~" + text.removeprefix(home)
    return re.sub("//[^/]*@", "//", text)


def _locked(folder: Path, name: str) -> filelock.AcquireReturnProxy:
    """Take a lock of the operating system, which is released when its holder dies."""
    (folder / ".locks").mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".locks" / f"{name}.lock")
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"Another process is fetching {name}; waiting for it.", file=console.stream())
        return lock.acquire()


class _SourceError(Exception):
    """Why the next source must be tried."""


def _retrieve(
    source: str, file: _PublishedFile, part: Path, check: Callable[[Path, Any], str]
) -> str:
    """Download a file from one source; return what is wrong with the source, or `""`."""
    problem = ""
    for _ in range(TRIES):
        if not file.hash:
            part.unlink(missing_ok=True)  # nothing says that its bytes are of the same version
        try:
            resumed = _download(source, part)
        except _SourceError as error:
            return str(error)
        except urllib3.exceptions.HTTPError:
            problem = "broke off before the end of the file"
            continue
        except OSError:
            part.unlink(missing_ok=True)  # a full disk stays full otherwise
            raise
        wrong = check(part, file)
        if not wrong:
            return ""
        part.unlink()
        problem = f"sent another file ({wrong})"
        if not resumed:
            break
    return problem


def _download(source: str, part: Path) -> bool:
    """Fill NAME.part from where it ends; tell whether the source went on from there."""
    stream = _read(source, part.stat().st_size if part.is_file() else 0)
    with ThreadPool(1) as thread:  # a thread that hangs is left behind
        start, size = _next(stream, thread)
        left, free = (size or 0) - start, shutil.disk_usage(part.parent).free
        if left > free:
            sizes = f"{left / 1e6:,.1f} MB are left, {free / 1e6:,.1f} MB are free"
            raise _SourceError(f"sends more than fits on the disk ({sizes})")
        chunk = _next(stream, thread)
        if not start and chunk.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<"):
            raise _SourceError("sent a web page; if this network has a log-in page, log in")
        bar = tqdm(
            desc=part.stem, initial=start, total=size, unit="B", unit_scale=True,
            disable=None if sys.stderr else True,  # None: only where it isn't a terminal's
        )  # fmt: skip
        with bar, part.open("ab" if start else "wb") as output:
            while chunk:
                output.write(chunk)
                bar.update(len(chunk))
                chunk = _next(stream, thread)
    return start > 0


def _next(stream: Iterator[Any], thread: ThreadPool) -> Any:
    try:
        return thread.apply_async(next, (stream, b"")).get(SECONDS)
    except multiprocessing.TimeoutError as error:
        raise _SourceError(f"sent less than {CHUNK // 1024} kB in {SECONDS:.0f} s") from error
    except requests.exceptions.InvalidSchema as error:
        raise _SourceError("redirects to an address that isn't safe") from error
    except OSError as error:  # of a mirror's folder, or one of requests
        raise _SourceError(error.strerror or f"no answer ({type(error).__name__})") from error


def _read(source: str, offset: int) -> Iterator[Any]:
    """Yield a pair (offset of the first byte, size of the file or None), then the bytes."""
    if not re.match("https?:", source, re.IGNORECASE):
        with open(source, "rb") as file:
            yield 0, os.fstat(file.fileno()).st_size
            yield from iter(lambda: file.read(CHUNK), b"")
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.Session() as session:
        if source.lower().startswith("https:"):
            del session.adapters["http://"]  # so that no redirect leads there
        with session.get(source, headers=headers, stream=True, timeout=2 * SECONDS) as answer:
            status, sent = answer.status_code, answer.headers
            resumed = status == 206 and sent.get("Content-Range", "").startswith(f"bytes {offset}-")
            if not resumed and offset and status in (206, 416):
                yield from _read(source, 0)
                return
            if not resumed and status != 200:
                raise _SourceError(f"answered {status} {answer.reason}")
            start, length = offset if resumed else 0, sent.get("Content-Length")
            yield start, start + int(length) if length else None
            yield from iter(lambda: answer.raw.read(CHUNK), b"")
