import hashlib
import os
import sys
import unicodedata
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Server
from test_archives import write_tar, write_zip

from helpers import datasets
from helpers.datasets import PublicDataset
from helpers.errors import DataError, DownloadError

Serve = Callable[[dict[str, bytes]], Server]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_classes_and_files_are_in_order(tmp_path: Path) -> None:
    found = datasets.class_folders(touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/z.png", "c/1.jpg"))
    assert found.classes == ("a", "b", "c")
    assert found.files == ("a/z.png", "b/10.jpg", "b/2.jpg", "c/1.jpg")
    assert found.labels.tolist() == [0, 1, 1, 2]
    assert len(found) == 4
    assert found.paths() == [tmp_path / name for name in found.files]
    assert all(path.is_file() for path in found.paths())


def test_hidden_and_loose_files_are_ignored(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a/1.jpg",
        "a/.DS_Store",
        "a/._1.jpg",
        "a/.ipynb_checkpoints/1-checkpoint.jpg",
        "a/Thumbs.db",
        "a/desktop.ini",
        "a/deeper/2.jpg",
        ".ipynb_checkpoints/3.jpg",
        ".DS_Store",
        "README.txt",
    )
    found = datasets.class_folders(tmp_path)
    assert (found.classes, found.files, found.skipped) == (("a",), ("a/1.jpg",), ())


def test_content_is_nobodys_business_here(tmp_path: Path) -> None:
    assert datasets.class_folders(touch(tmp_path, "a/notes.txt")).files == ("a/notes.txt",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "missing: .*it is not there"),
        ("file", "file: .*it is a file"),
        ("flat", "flat: .*one folder for each class in it, found none"),
        ("empty class", "'dog' is empty"),
        ("hidden only", "'cat' is empty"),
    ],
)
def test_a_folder_that_is_no_class_folders(tmp_path: Path, name: str, reason: str) -> None:
    touch(tmp_path, "file", "flat/1.jpg", "empty class/cat/1.jpg", "hidden only/cat/.DS_Store")
    (tmp_path / "empty class" / "dog").mkdir()
    with pytest.raises(DataError, match=reason):
        datasets.class_folders(tmp_path / name)


def test_folders_one_level_too_deep_are_pointed_out(tmp_path: Path) -> None:
    touch(tmp_path, "photos/train/cat/1.jpg", "photos/test/cat/1.jpg")
    with pytest.raises(DataError, match=r"'test' is empty\. There are folders in it, such as"):
        datasets.class_folders(tmp_path / "photos")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    touch(tmp_path, "cat/1.jpg")
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=r"cannot be listed .Permission denied"):
        datasets.class_folders(tmp_path)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat"),
        ("straße", "STRASSE"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
    ],
    ids=["case", "sharp s", "accent"],
)
def test_classes_that_other_machines_cannot_tell_apart(
    tmp_path: Path, one: str, other: str
) -> None:
    touch(tmp_path, f"{one}/1.jpg", f"{other}/1.jpg", "dog/1.jpg")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this machine cannot tell them apart either")
    with pytest.raises(DataError) as caught:
        datasets.class_folders(tmp_path)
    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)
    assert "Rename or merge them" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/\xff.jpg")).touch()
    found = datasets.class_folders(tmp_path)
    assert os.fsencode(found.classes[0]) == b"caf\xe9"
    assert os.fsencode(found.files[0]) == b"caf\xe9/\xff.jpg"
    assert found.paths()[0].is_file()
    Path(os.fsdecode(folder + b"/\xff.jpg")).unlink()
    with pytest.raises(DataError) as caught:
        datasets.class_folders(tmp_path)
    str(caught.value).encode()  # it can be printed
    assert r"caf\udce9" in str(caught.value)


# --- links ---------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Two classes and every kind of link; a folder outside has a picture in it."""
    root = touch(tmp_path / "root", "cat/1.jpg", "dog/1.jpg")
    outside = touch(tmp_path / "outside", "secret.jpg")
    links = {
        "cat/2.jpg": root / "dog" / "1.jpg",
        "cat/3.jpg": Path("1.jpg"),
        "cat/out.jpg": outside / "secret.jpg",
        "cat/passwd": Path("/etc/passwd"),
        "cat/nowhere.jpg": Path("missing.jpg"),
        "cat/itself.jpg": Path("itself.jpg"),
        "cat/loop": Path(".."),
        "cat/folder": outside,
        "dog/round.jpg": Path("../cat/../../outside/secret.jpg"),
        "kitten": Path("cat"),
        "elsewhere": outside,
        "loop": Path("."),
    }
    try:
        for name, target in links.items():
            (root / name).symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")
    return root


def test_links_are_followed_to_files_inside_and_nowhere_else(linked: Path) -> None:
    found = datasets.class_folders(linked)
    assert found.classes == ("cat", "dog")
    assert found.files == ("cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "dog/1.jpg")
    assert dict(found.skipped) == {
        "elsewhere": "a link to a folder",
        "kitten": "a link to a folder",
        "loop": "a link to a folder",
        "cat/folder": "a link to a folder",
        "cat/itself.jpg": "a link that leads nowhere",
        "cat/loop": "a link to a folder",
        "cat/nowhere.jpg": "a link that leads nowhere",
        "cat/out.jpg": "a link that leads out of the folder",
        "cat/passwd": "a link that leads out of the folder",
        "dog/round.jpg": "a link that leads out of the folder",
    }


def test_the_folder_itself_may_be_a_link(linked: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(linked)
    assert datasets.class_folders(tmp_path / "mine").files == datasets.class_folders(linked).files


# --- shipped -------------------------------------------------------------------------------------


def test_a_wrong_split_gets_the_nearest() -> None:
    with pytest.raises(DataError, match=r"No split 'tst'.*Did you mean test\?"):
        datasets.five_classes("tst")


def test_data_that_are_not_there_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    with pytest.raises(DataError, match=r"train: not beside the package.*pip install"):
        datasets.five_classes("train")
    (tmp_path / "five_classes" / "train").mkdir(parents=True)
    assert datasets.five_classes("train") == tmp_path / "five_classes" / "train"


def test_photographs_are_rgb() -> None:
    photographs = datasets.photographs()
    assert {name: picture.shape for name, picture in photographs.items()} == {
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
        "rocket": (427, 640, 3),
        "astronaut": (512, 512, 3),
        "china": (427, 640, 3),
        "flower": (427, 640, 3),
    }
    assert {picture.dtype for picture in photographs.values()} == {np.dtype("uint8")}


# --- public --------------------------------------------------------------------------------------

PETS = {"pets/cat/1.jpg": b"one", "pets/dog/1.jpg": b"two", "pets/LICENSE.txt": b"be kind"}


def publish(
    monkeypatch: pytest.MonkeyPatch, archive: Path, url: str, sha256: str = ""
) -> PublicDataset:
    """Makes an archive the published data set `"pets"`."""
    entry = PublicDataset(
        archive.name,
        f"{url}/{archive.name}",
        sha256 or hashlib.sha256(archive.read_bytes()).hexdigest(),
        "pets",
        "2 pictures of pets",
        "CC0, by nobody",
        "https://pets.example",
    )
    monkeypatch.setattr(datasets, "PUBLIC", {"pets": entry})
    return entry


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_public_data_set_is_downloaded_once(
    tmp_path: Path,
    keras_home: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path, dict[str, bytes]], Path],
) -> None:
    archive = write(tmp_path / "pets.archive", PETS)
    server = serve({"pets.archive": archive.read_bytes()})
    publish(monkeypatch, archive, server.url)
    for _ in range(2):
        folder = datasets.get("pets")
        assert folder == keras_home / "datasets" / "pets" / "pets"
        assert datasets.class_folders(folder).files == ("cat/1.jpg", "dog/1.jpg")
        assert (
            capsys.readouterr().out
            == "pets: 2 pictures of pets. Licence: CC0, by nobody. Source: https://pets.example\n"
        )
        # Once unpacked, the folder does without the archive.
        (keras_home / "datasets" / "pets.archive").unlink(missing_ok=True)
    assert server.requests == ["pets.archive"]


def test_the_mirror_is_asked_first(
    tmp_path: Path, serve: Serve, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "pets.tgz", PETS)
    publish(monkeypatch, archive, closed_port)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    assert (datasets.get("pets") / "LICENSE.txt").read_bytes() == b"be kind"


def test_an_archive_that_was_put_there_by_hand_needs_no_network(
    tmp_path: Path, keras_home: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (keras_home / "datasets").mkdir()
    archive = write_zip(keras_home / "datasets" / "pets.zip", PETS)
    publish(monkeypatch, archive, closed_port)
    assert (datasets.get("pets") / "cat" / "1.jpg").read_bytes() == b"one"


@pytest.mark.parametrize("answer", [b"something else", None])
def test_what_is_not_the_published_archive_is_not_unpacked(
    tmp_path: Path,
    keras_home: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
) -> None:
    archive = write_tar(tmp_path / "pets.tgz", PETS)
    server = serve({"pets.tgz": answer} if answer else {})
    entry = publish(monkeypatch, archive, server.url)
    with pytest.raises(DownloadError) as caught:
        datasets.get("pets")
    for part in ("pets.tgz could not be had", entry.url, entry.hash, str(keras_home / "datasets")):
        assert part in str(caught.value)
    assert not (keras_home / "datasets" / "pets").exists()
    assert not (keras_home / "datasets" / "pets.tgz").exists()


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_an_archive_that_leads_out_is_refused_even_if_it_is_the_published_one(
    tmp_path: Path,
    keras_home: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, dict[str, bytes]], Path],
) -> None:
    archive = write(tmp_path / "pets.archive", PETS | {"../../evil.jpg": b"evil"})
    publish(monkeypatch, archive, serve({"pets.archive": archive.read_bytes()}).url)
    with pytest.raises(DataError, match=r"pets\.archive: '../../evil\.jpg' in it leads out"):
        datasets.get("pets")
    assert not (keras_home / "datasets" / "pets").exists()
    assert not list(tmp_path.rglob("evil.jpg")) + list(keras_home.rglob("evil.jpg"))


def test_a_misspelt_data_set_gets_the_nearest() -> None:
    with pytest.raises(DataError, match=r"No data set 'flower'\. Did you mean flowers\?"):
        datasets.get("flower")


@pytest.mark.parametrize("name", datasets.PUBLIC)
def test_a_public_data_set_says_whose_it_is(name: str) -> None:
    entry = datasets.PUBLIC[name]
    address = urllib.parse.urlsplit(entry.url)
    assert (address.scheme, Path(address.path).name) == ("https", entry.name)
    assert len(bytes.fromhex(entry.hash)) == 32
    assert entry.source.startswith("https://")
    assert entry.licence
    assert " MB)" in entry.about
