import gzip
import io
import multiprocessing
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import archives
from helpers.errors import DataError

FILES = {"set/cat/1.jpg": b"one" * 50, "set/cat/2.jpg": b"two" * 50, "set/dog/1.jpg": b"three"}


def write_tar(path: Path, members: dict[str, Any], compression: str = "gz") -> Path:
    """Members by name: their bytes, or a TarInfo."""
    with tarfile.open(path, f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, what in members.items():
            if isinstance(what, tarfile.TarInfo):
                what.name = name
                tar.addfile(what)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
    return path


def write_zip(path: Path, members: dict[str, Any]) -> Path:
    """Members by name: their bytes, or (kind of file, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, what in members.items():
            kind, data = what if isinstance(what, tuple) else (stat.S_IFREG, what)
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = kind << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return path


WRITE: dict[str, Callable[[Path, dict[str, Any]], Path]] = {"tgz": write_tar, "zip": write_zip}


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, reason: str) -> None:
    """It is refused for the reason, and nothing stays, inside of the folder or outside."""
    root = archive.parent
    before = set(root.rglob("*"))
    with pytest.raises(DataError, match=rf"^{archive.name}: {reason}.*Nothing of it was unpac"):
        archives.unpack(archive, root / "new" / "pets")
    assert {path for path in set(root.rglob("*")) - before if path.suffix != ".lock"} == {
        root / "new"
    }


# --- whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITE)
def test_all_files_are_there_afterwards(tmp_path: Path, kind: str) -> None:
    archive = WRITE[kind](tmp_path / f"pets.{kind}", FILES)
    archives.unpack(archive, tmp_path / "new" / "pets")
    assert found(tmp_path / "new" / "pets") == FILES
    assert found(tmp_path / "new").keys() == {f"pets/{n}" for n in FILES} | {".pets.lock"}
    assert stat.S_IMODE((tmp_path / "new" / "pets").stat().st_mode) & 0o700 == 0o700


@pytest.mark.parametrize("kind", WRITE)
def test_folders_in_an_archive_do_no_harm(tmp_path: Path, kind: str) -> None:
    folder = tarfile.TarInfo()
    folder.type, folder.mode = tarfile.DIRTYPE, 0o555
    archive = WRITE[kind](
        tmp_path / "pets", {"set": folder} | FILES if kind == "tgz" else {"set/": b""} | FILES
    )
    archives.unpack(archive, tmp_path / "pets-1")
    assert found(tmp_path / "pets-1") == FILES


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    archives.unpack(tmp_path / "missing.zip", tmp_path / "pets")
    assert found(tmp_path / "pets") == {}


def test_what_a_killed_run_has_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".pets.new").mkdir()
    (tmp_path / ".pets.new" / "half.jpg").write_bytes(b"ha")
    archives.unpack(write_tar(tmp_path / "pets.tgz", FILES), tmp_path / "pets")
    assert found(tmp_path / "pets") == FILES
    assert not (tmp_path / ".pets.new").exists()


def test_of_several_processes_one_unpacks(tmp_path: Path) -> None:
    many = {f"set/{i}.jpg": os.urandom(1000) for i in range(300)}
    archive = write_tar(tmp_path / "pets.tgz", many)
    processes = [
        multiprocessing.get_context("spawn").Process(
            target=archives.unpack, args=(archive, tmp_path / "pets")
        )
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert found(tmp_path / "pets") == many
    assert not (tmp_path / ".pets.new").exists()


# --- or not at all -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "set/../../evil.jpg", "/tmp/evil.jpg", r"..\evil.jpg", r"C:\evil.jpg", "C:x"],
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = WRITE[kind](tmp_path / f"pets.{kind}", FILES | {name: b"evil"})
    refused(archive, "'.*' in it leads out of the folder")
    assert not Path("/tmp/evil.jpg").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "../../.."),
        (tarfile.SYMTYPE, "1.jpg"),
        (tarfile.LNKTYPE, "set/cat/1.jpg"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_a_tar_with_a_link_or_a_device_is_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = kind, target
    refused(
        write_tar(tmp_path / "pets.tgz", FILES | {"set/cat/3.jpg": link}),
        "'set/cat/3.jpg' in it is a link or a device",
    )


def test_a_file_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    archive = write_tar(tmp_path / "pets.tgz", {"set": link, "set/evil.jpg": b"evil"})
    refused(archive, "'set' in it is a link")
    assert found(tmp_path / "outside") == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_zip_with_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    refused(
        write_zip(tmp_path / "pets.zip", FILES | {"set/link": (kind, b"/etc")}),
        "'set/link' in it is a link or a device",
    )


# --- bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITE)
def test_a_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    bomb = WRITE[kind](tmp_path / f"bomb.{kind}", {"set/1.jpg": bytes(30_000_000)})
    assert bomb.stat().st_size < 100_000
    refused(bomb, "expected at most 10 MB in it, there is more")


@pytest.mark.parametrize("kind", WRITE)
def test_a_bomb_of_small_files_is_refused(tmp_path: Path, kind: str) -> None:
    members = {f"set/{i}.jpg": bytes(400_000) for i in range(30)}
    refused(WRITE[kind](tmp_path / f"bomb.{kind}", members), "expected at most 10 MB in it")


@pytest.mark.parametrize("kind", WRITE)
def test_the_sum_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    archive = WRITE[kind](tmp_path / f"pets.{kind}", {"1.jpg": os.urandom(90_000)})
    monkeypatch.setattr(archives, "MAX_BYTES", 89_000)
    refused(archive, "expected at most 0 MB in it, there is more")
    monkeypatch.setattr(archives, "MAX_BYTES", 120_000)
    archives.unpack(archive, tmp_path / "pets")


@pytest.mark.parametrize("kind", WRITE)
def test_the_number_of_files_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archive = WRITE[kind](tmp_path / f"pets.{kind}", FILES)
    monkeypatch.setattr(archives, "MAX_FILES", len(FILES) - 1)
    refused(archive, "expected at most 2 files in it")
    monkeypatch.setattr(archives, "MAX_FILES", len(FILES))
    archives.unpack(archive, tmp_path / "pets")


def test_a_zip_that_says_too_little_of_a_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "a.zip", {"1.jpg": bytes(20_000_000)}).read_bytes())
    size = (20_000_000).to_bytes(4, "little")
    assert data.count(size) == 2  # before the member, and in the directory at the end
    (tmp_path / "bomb.zip").write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    refused(tmp_path / "bomb.zip", "is damaged, or no archive")


def test_a_tar_with_a_bomb_between_its_members_is_refused(tmp_path: Path) -> None:
    """A header for a long name says how long it is, and tarfile reads as much into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 30_000_000
    with gzip.open(tmp_path / "bomb.tgz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(30_000_000))
    refused(tmp_path / "bomb.tgz", "expected at most 10 MB in it")


def test_a_tar_with_a_bomb_after_its_end_is_refused(tmp_path: Path) -> None:
    tar = gzip.decompress(write_tar(tmp_path / "a.tgz", FILES).read_bytes())
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(tar + bytes(30_000_000)))
    refused(tmp_path / "bomb.tgz", "expected at most 10 MB in it")


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "page", "missing"])
def test_a_damaged_archive_is_refused(tmp_path: Path, kind: str, damage: str) -> None:
    whole = WRITE[kind](tmp_path / "whole", {"1.jpg": os.urandom(50_000)}).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    data = {"empty": b"", "cut": whole[:-300], "flipped": bytes(flipped), "page": b"<html>"}
    archive = tmp_path / f"pets.{kind}"
    if damage in data:
        archive.write_bytes(data[damage])
    refused(archive, "(cannot be unpacked|is damaged, or no archive)")


def test_a_password_is_refused(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "pets.zip", FILES).read_bytes())
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(sign)
        data[at + flags] |= 1
    (tmp_path / "pets.zip").write_bytes(data)
    refused(tmp_path / "pets.zip", "cannot be unpacked .*password")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where it can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", WRITE)
def test_a_full_disk_is_as_it_was(tmp_path: Path, small_disk: Path, kind: str) -> None:
    members = {f"set/{i}.jpg": os.urandom(100_000) for i in range(20)}
    archive = WRITE[kind](tmp_path / f"pets.{kind}", members)
    with pytest.raises(DataError, match=r"cannot be unpacked .*No space left"):
        archives.unpack(archive, small_disk / "pets")
    assert [path.name for path in small_disk.iterdir()] == [".pets.lock"]
    (small_disk / "other").write_bytes(bytes(900_000))  # the room is there again
