import hashlib
import io
import os
import shutil
import sys
import tarfile
import time
import unicodedata
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Server
from PIL import Image

from helpers import datasets
from helpers.datasets import PublicDataset, class_folders
from helpers.errors import DataError, DownloadError

Serve = Callable[[dict[str, bytes]], Server]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def link(root: Path, targets: dict[str, str]) -> None:
    try:
        for name, target in targets.items():
            (root / name).symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")


# --- class folders -------------------------------------------------------------------------------


def test_classes_and_files_are_in_order(tmp_path: Path) -> None:
    found = class_folders(touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/z.png", "c/notes.txt"))
    assert found.classes == ("a", "b", "c")
    assert found.files == ("a/z.png", "b/10.jpg", "b/2.jpg", "c/notes.txt")
    assert found.labels.tolist() == [0, 1, 1, 2]
    assert found.labels.dtype == np.int64
    assert found.paths() == [tmp_path / name for name in found.files]
    assert all(path.is_file() for path in found.paths())


def test_pictures_in_sub_folders_of_a_class_are_used(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/2019/2.jpg", "a/2019/may/3.jpg", "b/x/y/4.jpg", "train/5.jpg")
    found = class_folders(tmp_path)
    assert found.files == (
        *("a/1.jpg", "a/2019/2.jpg", "a/2019/may/3.jpg"),
        *("b/x/y/4.jpg", "train/5.jpg"),
    )
    assert found.labels.tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    "ignored",
    [
        *(".DS_Store", "._1.jpg", ".ipynb_checkpoints/1-checkpoint.jpg", "Thumbs.db"),
        *("desktop.ini", "__MACOSX/a/._1.jpg", "@eaDir/1.jpg", "$RECYCLE.BIN/2.jpg"),
        *("System Volume Information/x", "lost+found/x", "@Recycle/1.jpg", "Icon\r"),
    ],
)
def test_what_systems_put_there_is_ignored(tmp_path: Path, ignored: str) -> None:
    touch(tmp_path, ignored, f"a/{ignored}", f"a/deeper/{ignored}", "a/1.jpg", "README.txt")
    found = class_folders(tmp_path)
    assert (found.classes, found.files, found.skipped) == (("a",), ("a/1.jpg",), ())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "missing: .*it is not there"),
        ("file", "file: .*it is a file"),
        ("flat", "flat: .*one folder for each class in it, found none"),
        ("empty class", "'dog' is empty"),
        ("hidden only", "'cat' is empty"),
        ("x" * 5000, "it is not there"),
        ("broken", r"found none \(cat: a link that leads nowhere\)"),
        ("splits", r"Val, train look like splits.*such as .*splits.Val"),
    ],
)
def test_a_folder_that_is_no_class_folders(tmp_path: Path, name: str, reason: str) -> None:
    touch(tmp_path, "file", "flat/1.jpg", "empty class/cat/1.jpg", "hidden only/cat/.DS_Store")
    touch(tmp_path, "splits/train/cat/1.jpg", "splits/Val/cat/1.jpg")
    (tmp_path / "empty class" / "dog" / "deeper").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    link(tmp_path / "broken", {"cat": "gone"})
    with pytest.raises(DataError, match=reason):
        class_folders(tmp_path / name)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    touch(tmp_path, "cat/1.jpg")
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=r"cannot be listed .Permission denied"):
        class_folders(tmp_path)


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
        class_folders(tmp_path)
    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/\xff.jpg")).touch()
    found = class_folders(tmp_path)
    assert os.fsencode(found.classes[0]) == b"caf\xe9"
    assert os.fsencode(found.files[0]) == b"caf\xe9/\xff.jpg"
    assert found.paths()[0].is_file()
    found.paths()[0].unlink()
    with pytest.raises(DataError, match="is empty") as caught:
        class_folders(tmp_path)
    str(caught.value).encode()  # it can be printed


def test_changed_files_are_found(tmp_path: Path) -> None:
    names = [f"a/{number}.jpg" for number in range(1, 6)]
    found = class_folders(touch(tmp_path, *names))
    seen = found.stats()
    time.sleep(0.05)  # a disk's clock may tick a hundred times a second
    assert found.changed(seen).tolist() == []
    (tmp_path / "a/2.jpg").write_bytes(b"longer")
    (tmp_path / "a/3.jpg").unlink()
    os.utime(tmp_path / "a/4.jpg", ns=(0, 0))
    shutil.copy2(tmp_path / "a/5.jpg", tmp_path / "copy")
    os.replace(tmp_path / "copy", tmp_path / "a/5.jpg")  # with the time of the other
    on_windows = sys.platform == "win32"  # which does not say when a file was changed
    assert found.changed(seen).tolist() == ([1, 2, 3] if on_windows else [1, 2, 3, 4])
    assert found.changed(seen[:, :2]).tolist() == [1, 2, 3]
    assert found.changed(seen, np.array([0, 3])).tolist() == [3]
    assert found.stats()[:, 0].tolist() == [0, 6, -1, 0, 0]


# --- links ---------------------------------------------------------------------------------------


def test_links_are_followed(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "cat/1.jpg", "dog/1.jpg")
    touch(tmp_path / "pool", "2.jpg", "deep/3.jpg")
    link(root / "cat", {"file.jpg": "../../pool/2.jpg", "folder": "../../pool"})
    link(root / "dog", {"folder": "../../pool"})  # another class may have the same folder
    link(root, {"elsewhere": str(tmp_path / "pool")})
    found = class_folders(root)
    assert found.classes == ("cat", "dog", "elsewhere")
    assert found.files == (
        *("cat/1.jpg", "cat/file.jpg", "cat/folder/2.jpg", "cat/folder/deep/3.jpg"),
        *("dog/1.jpg", "dog/folder/2.jpg", "dog/folder/deep/3.jpg"),
        *("elsewhere/2.jpg", "elsewhere/deep/3.jpg"),
    )
    assert found.skipped == ()
    link(tmp_path, {"mine": "root"})
    assert class_folders(tmp_path / "mine").files == found.files


def test_loops_end_and_broken_links_are_listed(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "cat/z/1.jpg", "dog/1.jpg")
    link(root, {"loop": ".", "up": "..", "nowhere": "missing"})
    link(root / "cat", {"a": "z", "root": "..", "up": "../..", "itself": "itself", "gone": "x.jpg"})
    link(root / "cat" / "z", {"cat": "..", "dog": "../../dog"})
    link(root / "dog", {"cat": "../cat"})
    found = class_folders(root)
    assert found.classes == ("cat", "dog")
    assert found.files == ("cat/z/1.jpg", "cat/z/dog/1.jpg", "dog/1.jpg", "dog/cat/z/1.jpg")
    nowhere = {name for name, reason in found.skipped if "leads nowhere" in reason}
    assert nowhere == {"nowhere", "cat/itself", "cat/gone", "dog/cat/itself", "dog/cat/gone"}
    others = {name for name, _ in found.skipped} - nowhere
    assert others >= {"loop", "up", "cat/a", "cat/up", "cat/root", "cat/z/cat"}


def test_a_class_of_broken_links_is_empty(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    link(tmp_path / "cat", {"1.jpg": "gone.jpg"})
    with pytest.raises(DataError, match=r"'cat' is empty \(cat/1\.jpg: a link"):
        class_folders(tmp_path)


# --- shipped -------------------------------------------------------------------------------------


def test_the_drawings_are_found() -> None:
    assert len(class_folders(datasets.five_classes("test"))) == 100
    with pytest.raises(DataError, match=r"No split 'tst'.*Did you mean test\?"):
        datasets.five_classes("tst")


def pictures(root: Path, name: str, count: int) -> None:
    for number in range(count):
        path = root / name / f"{number % 2}" / f"{number // 2}.png"  # twice the same name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (900, 30), (number, 0, 0)).save(path)


def test_split_copy_leaves_clean_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "mine", "a", 10)
    pictures(tmp_path / "mine", "b", 5)
    (tmp_path / "mine" / "b" / "holiday.jpg").write_text("no picture")
    train, test = datasets.split_copy(str(tmp_path / "mine"), tmp_path / "copy")
    copies = {f: len(list((tmp_path / "copy" / f).iterdir())) for f in ("train/a", "train/b")}
    assert copies == {"train/a": 8, "train/b": 4}
    assert [len(list((test / name).iterdir())) for name in "ab"] == [2, 1]
    assert "holiday.jpg" in capsys.readouterr().out
    for path in [*train.glob("*/*"), *test.glob("*/*")]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (512, 17))
    found = [path.read_bytes() for path in (tmp_path / "copy").glob("*/*/*")]
    again, _ = datasets.split_copy(tmp_path / "mine")
    assert sorted(f.name for f in again.glob("*/*")) == sorted(f.name for f in train.glob("*/*"))
    assert len(found) == 15


@pytest.mark.parametrize(
    ("classes", "reason"), [({"a": 5}, "only 'a'"), ({"a": 5, "b": 4}, "'b' has 4 readable")]
)
def test_split_copy_needs_enough(tmp_path: Path, classes: dict[str, int], reason: str) -> None:
    for name, count in classes.items():
        pictures(tmp_path / "mine", name, count)
    with pytest.raises(DataError, match=reason):
        datasets.split_copy(tmp_path / "mine", tmp_path / "copy")


def test_photographs_are_those_of_their_packages() -> None:
    import skimage.data
    from sklearn.datasets import load_sample_image

    found = datasets.photographs()
    assert list(found) == ["chelsea", "coffee", "rocket", "astronaut", "china", "flower"]
    for name in list(found)[:4]:
        np.testing.assert_array_equal(found[name], getattr(skimage.data, name)())
    for name in ("china", "flower"):
        np.testing.assert_array_equal(found[name], load_sample_image(f"{name}.jpg"))


@pytest.mark.parametrize("name", datasets.PHOTOGRAPHS)
def test_keras_reads_a_photograph_by_its_path(name: str) -> None:
    from keras.utils import load_img

    path = datasets.photograph(name)
    assert load_img(path, target_size=(224, 224)).size == (224, 224)


def test_a_misspelt_photograph_gets_the_nearest() -> None:
    with pytest.raises(DataError, match=r"No photograph 'cofee'\. Did you mean coffee\?"):
        datasets.photograph("cofee")


# --- public --------------------------------------------------------------------------------------

PETS = {"pets/cat/1.jpg": b"one", "pets/dog/1.jpg": b"two", "pets/LICENSE.txt": b"be kind"}


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def publish(monkeypatch: pytest.MonkeyPatch, archive: Path, url: str) -> PublicDataset:
    """Makes an archive the published data set `"pets"`."""
    entry = PublicDataset(
        archive.name,
        f"{url}/{archive.name}",
        hashlib.sha256(archive.read_bytes()).hexdigest(),
        "its maker",
        0.1,
        "pets",
        "2 pictures of pets",
        "CC0, by nobody",
        "https://pets.example",
    )
    monkeypatch.setattr(datasets, "PUBLIC", {"pets": entry})
    return entry


def test_a_public_data_set_is_downloaded_once(
    tmp_path: Path,
    keras_home: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = pack(tmp_path / "pets.tgz", PETS)
    server = serve({"pets.tgz": archive.read_bytes()})
    publish(monkeypatch, archive, server.url)
    for _ in range(2):
        folder = datasets.get("pets")
        assert folder == keras_home / "datasets" / "pets" / "pets"
        assert class_folders(folder).files == ("cat/1.jpg", "dog/1.jpg")
        said = capsys.readouterr().out
        assert "Licence: CC0, by nobody. Source: https://pets.example" in said
        # Once unpacked, the folder does without the archive.
        (keras_home / "datasets" / "pets.tgz").unlink(missing_ok=True)
    assert server.requests == ["pets.tgz"]
    assert set(os.listdir(keras_home / "datasets")) == {"pets", ".locks"}


def test_the_mirror_is_asked_first(
    tmp_path: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, pack(tmp_path / "pets.tgz", PETS), closed_port)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    assert (datasets.get("pets") / "LICENSE.txt").read_bytes() == b"be kind"


def test_another_archive_than_the_published_one_is_not_unpacked(
    tmp_path: Path, keras_home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "pets.tgz", PETS)
    entry = publish(monkeypatch, archive, serve({"pets.tgz": b"something else"}).url)
    with pytest.raises(DownloadError, match=entry.hash):
        datasets.get("pets")
    assert not (keras_home / "datasets" / "pets").exists()


def test_a_full_disk_leaves_nothing_behind(
    keras_home: Path, mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mounted("size=1m")
    monkeypatch.setenv("KERAS_HOME", str(disk))
    (disk / "datasets").mkdir()
    members = {f"pets/cat/{i}.jpg": bytes(100_000) for i in range(20)}
    publish(monkeypatch, pack(disk / "datasets" / "pets.tgz", members), "https://none.example")
    with pytest.raises(DownloadError, match="No space left"):
        datasets.get("pets")
    assert {name for name in os.listdir(disk / "datasets") if "pets" in name} == {"pets.tgz"}


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
