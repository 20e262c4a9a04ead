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
from typing import Any

import filelock
import pooch
import requests
import urllib3
from tqdm.auto import tqdm

from helpers import console
from helpers.errors import DownloadError

CHUNK, SECONDS = 1 << 16, 15.0  # a source that needs longer to answer, or for 64 kB, is given up
TRIES = 5  # of a source that breaks off in the middle of the file


def fetch(
    url: str,
    hash_: str | None,
    path: Path,
    size_mb: float,
    mirrors: Sequence[str] = (),
    check: Callable[[Path], str] | None = None,
) -> Path:
    """Download a published file to a path, unless the right one is there already.

    The bytes go to NAME.part, where the next call resumes a download that broke off; the file gets
    its name once it's checked. Of several processes, one downloads and the others wait.

    Args:
        url: where it's published.
        hash_: its MD5 or SHA-256; if None, it's downloaded whole each time.
        path: where to keep it, under the name that it has on mirrors.
        size_mb: about how large it is; a source that sends much more is given up.
        mirrors: base URLs and folders to try first, in order.
        check: says what is wrong with a file without a hash, or `""`.

    Raises:
        DownloadError: no source has the file (the message lists them), or the folder can't keep it.
    """
    folder, name, tried = path.parent, path.name, []
    try:
        with _locked(folder, name):
            if hash_ and path.is_file() and not wrong_hash(path, hash_):
                return path
            for source in [*(f"{mirror.rstrip('/')}/{name}" for mirror in mirrors), url]:
                problem = _retrieve(source, hash_, path, size_mb, check)
                if not problem:
                    return path
                tried.append(f"{shown(source)}: {problem}")
    except OSError as error:  # of this machine
        raise DownloadError(
            f"{name} can't be kept in {shown(folder)}: {error.strerror or error}."
        ) from error
    known = f" ({algorithm(hash_).upper()} {hash_})" if hash_ else ""
    raise DownloadError(
        f"{name} can't be downloaded. {'; '.join(tried)}. "
        f"To do it by hand, put {url}{known} into {shown(folder)}."
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tgz file into a new folder; do nothing if the folder exists.

    Raises:
        DownloadError: the archive can't be unpacked; nothing of it stays.
    """
    # Not by pooch's Untar, which before Python 3.12 writes where a member `../x` tells it to.
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


def wrong_hash(path: Path, hash_: str) -> str:
    """Say how a file's hash differs from the published one; `""` if it's the same."""
    kind = algorithm(hash_)
    found = pooch.file_hash(str(path), kind)
    return "" if found == hash_ else f"expected {kind.upper()} {hash_}, got {found}"


def shown(place: str | Path) -> str:
    """Write a path or URL as it may be printed: `~` for the home folder, and no password.

    >>> shown("https://me:secret@example.org/weights")
    'https://example.org/weights'
    """
    text, home = str(place), os.path.expanduser("~")
    if text.startswith(home + os.sep):
        return "~" + text.removeprefix(home)
    return re.sub(r"//([^/]*|[^/:]*:(?!\d+/).*)@", "//", text)  # a password may have a slash


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
    source: str,
    hash_: str | None,
    path: Path,
    size_mb: float,
    check: Callable[[Path], str] | None,
) -> str:
    """Download a file from one source; return what is wrong with the source, or `""`."""
    part, problem = path.with_name(f"{path.name}.part"), ""
    for _ in range(TRIES):
        if not hash_:
            part.unlink(missing_ok=True)  # nothing says that its bytes are of the same version
        try:
            resumed = _download(source, part, size_mb)
        except _SourceError as error:
            return str(error)
        except urllib3.exceptions.HTTPError:
            problem = "broke off before the end of the file"
            continue
        except OSError:
            part.unlink(missing_ok=True)  # a full disk stays full otherwise
            raise
        wrong = wrong_hash(part, hash_) if hash_ else check and check(part)
        if not wrong:
            os.replace(part, path)
            return ""
        part.unlink()
        problem = f"sent another file ({wrong})"
        if not resumed:
            break
    return problem


def _download(source: str, part: Path, size_mb: float) -> bool:
    """Fill NAME.part from where it ends; tell whether the source went on from there."""
    most = int((1.2 * size_mb + 5) * 2**20)
    too_large = _SourceError(f"has another file, larger than {most // 2**20} MB")
    stream = _read(source, part.stat().st_size if part.is_file() else 0)
    with ThreadPool(1) as thread:  # a thread that hangs is left behind
        start, size = _next(stream, thread)
        if size and size > most:
            raise too_large
        chunk = _next(stream, thread)
        if not start and chunk.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<"):
            raise _SourceError("sent a web page; if this network has a log-in page, log in")
        off = None if sys.stderr else True  # None: in a pipe
        bar = tqdm(
            desc=part.stem, initial=start, total=size, unit="B", unit_scale=True, disable=off
        )
        with bar, part.open("ab" if start else "wb") as output:
            while chunk:
                if output.tell() + len(chunk) > most:
                    output.truncate(start)
                    raise too_large
                output.write(chunk)
                bar.update(len(chunk))
                chunk = _next(stream, thread)
    return start > 0


def _next(stream: Iterator[Any], thread: ThreadPool) -> Any:
    try:
        return thread.apply_async(next, (stream, b"")).get(SECONDS)
    except multiprocessing.TimeoutError as error:
        raise _SourceError(f"sent less than {CHUNK // 1024} kB in {SECONDS:.0f} s") from error
    except (OSError, ValueError) as error:  # of a mirror's folder, or of requests
        why = isinstance(error, OSError) and error.strerror
        raise _SourceError(why or f"no answer ({type(error).__name__})") from error


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
            if offset and status in (206, 416):
                if not sent.get("Content-Range", "").startswith(f"bytes {offset}-"):
                    yield from _read(source, 0)
                    return
            elif status != 200:
                raise _SourceError(f"answered {status} {answer.reason}")
            start, length = offset if status == 206 else 0, answer.raw.length_remaining
            yield start, None if length is None else start + length
            yield from iter(lambda: answer.raw.read(CHUNK), b"")
