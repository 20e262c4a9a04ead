"""Archives, which nobody has checked: unpacked whole into a new folder, or not at all."""

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import Protocol

import filelock

from helpers.errors import DataError

MAX_FILES = 500_000
MAX_BYTES = 5_000_000_000
# Pictures are compressed already, and an archive of them is about as large as they are. Small
# archives have a free share, for a tar's own padding shrinks to nothing.
MAX_RATIO = 20
FREE_BYTES = 10_000_000


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .zip or .tar.gz file into a new folder; where there is one, nothing is done.

    The folder gets its name when it is complete. An archive is refused as a whole for a single
    member that is no file or folder, such as a link or a device, or whose name leads out of it; for
    more than `MAX_FILES` or `MAX_BYTES`, or `MAX_RATIO` times its own size. Of several processes
    one unpacks, and the others wait for it.

    Raises:
        DataError: refused, damaged, or no room; what had been unpacked is gone again.
    """
    new = folder.with_name(f".{folder.name}.new")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
            if folder.is_dir():
                return
            shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
            try:
                new.mkdir()
                _unpack(archive, new)
                os.replace(new, folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    except DataError:
        raise
    except (OSError, RuntimeError) as error:  # a zip with a password is a RuntimeError
        raise _refused(archive, f"cannot be unpacked ({error})") from error
    except (EOFError, ValueError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise _refused(archive, f"is damaged, or no archive ({error})") from error


def _unpack(archive: Path, folder: Path) -> None:
    allowed = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size))
    if zipfile.is_zipfile(archive):
        _unzip(archive, folder, allowed)
    else:
        _untar(archive, folder, allowed)


def _unzip(archive: Path, folder: Path, allowed: int) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        size = 0
        for count, member in enumerate(members):
            # zipfile itself would write a link as a file that has the target's name in it.
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{member.filename!r} in it is a link or a device")
            size += member.file_size  # zipfile never takes more out of a member than this
            _check(archive, member.filename, count, size, allowed)
        for member in members:
            file.extract(member, folder)


def _untar(archive: Path, folder: Path, allowed: int) -> None:
    with gzip.open(archive) as file:
        stream = _Stream(archive, file, allowed)
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            size = 0
            for count, member in enumerate(tar):
                if not (member.isfile() or member.isdir()):
                    raise _refused(archive, f"{member.name!r} in it is a link or a device")
                size += member.size
                _check(archive, member.name, count, size, allowed)
                tar.extract(member, folder, filter="data")
        while stream.read(1 << 20):  # up to the checksum, which is at the very end
            pass


def _check(archive: Path, name: str, count: int, size: int, allowed: int) -> None:
    # Windows takes more for a way out: `\`, and `C:`. Both kinds of names have to be good.
    path = PureWindowsPath(name)
    if path.anchor or ".." in path.parts:
        raise _refused(archive, f"{name!r} in it leads out of the folder")
    if count >= MAX_FILES:
        raise _refused(archive, f"expected at most {MAX_FILES:,} files in it")
    if size > allowed:
        raise _too_much(archive, allowed)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Stream:
    """What comes out of the compression, up to an amount: a tar's headers say nothing of it."""

    def __init__(self, archive: Path, file: _Readable, left: int) -> None:
        self.archive, self.file, self.allowed, self.left = archive, file, left, left

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _too_much(self.archive, self.allowed)
        return data


def _too_much(archive: Path, allowed: int) -> DataError:
    return _refused(archive, f"expected at most {allowed / 1e6:,.0f} MB in it, there is more")


def _refused(archive: Path, why: str) -> DataError:
    return DataError(f"{archive.name}: {why}. Nothing of it was unpacked. Get it again.")
