from pathlib import Path

import numpy as np
import pytest

from helpers import datasets
from helpers.errors import DatasetError


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
        "a/Thumbs.db",
        "a/desktop.ini",
        "a/deeper/2.jpg",
        ".ipynb_checkpoints/3.jpg",
        "README.txt",
    )
    found = datasets.class_folders(tmp_path)
    assert (found.classes, found.files) == (("a",), ("a/1.jpg",))


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
    with pytest.raises(DatasetError, match=reason):
        datasets.class_folders(tmp_path / name)


def test_a_wrong_split_gets_the_nearest() -> None:
    with pytest.raises(DatasetError, match=r"No split 'tst'.*Did you mean test\?"):
        datasets.five_classes("tst")


def test_data_that_are_not_there_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    with pytest.raises(DatasetError, match=r"train: not beside the package.*pip install"):
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
