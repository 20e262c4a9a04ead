import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, hear_ctrl_c, mind_permissions, picture
from PIL import Image

from helpers import bottlenecks, images, zoo
from helpers.backend import keras
from helpers.bottlenecks import Extraction, batches, describe
from helpers.engine import Engine
from helpers.errors import ArgumentError, DataError
from helpers.partfile import Part
from helpers.zoo import Network


def extract(
    folder: Path,
    out: Path,
    net: Network,
    batch_size: int = 32,
    engine: str | Engine = "tensorflow",
) -> Extraction:
    """Without the bar; and in TensorFlow, for which nothing must be exported."""
    return bottlenecks.extract(folder, out, net, batch_size, False, engine)


def tiny(seed: int = 0, size: int = 32, filters: int = 4, pooling: bool = True) -> Network:
    """A network of two layers, so that extraction is quick."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((size, size, 3)), keras.layers.Conv2D(filters, 3, 2)])
    if pooling:
        model.add(keras.layers.GlobalAveragePooling2D())
    entry = zoo.find("EfficientNetLite0")
    return Network("Tiny", "Tiny", "random", model, entry, size)


@pytest.fixture
def net() -> Network:
    return tiny()


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def by_hand(folder: Path, net: Network, names: list[str]) -> np.ndarray:
    """One picture at a time, and none of the package's batches."""
    rows = []
    for name in names:
        pixels = images.crop(images.load(folder / name), net.input_size).astype("float32")
        rows.append(net.model.predict_on_batch(((pixels - 127) / 128)[None])[0])
    return np.stack(rows)


NAMES = [
    f"{name}/{i}.png" for name, count in (("ant", 4), ("bee", 3), ("cow", 5)) for i in range(count)
]
LABELS = [0] * 4 + [1] * 3 + [2] * 5


# --- what is in the file -------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_every_row_is_its_pictures(
    folder: Path, tmp_path: Path, pooling: bool, batch_size: int
) -> None:
    net = tiny(pooling=pooling)
    done = extract(folder, tmp_path / "f.h5", net, batch_size)
    found = read(tmp_path / "f.h5")
    assert set(found) == {"features", "labels", "filenames"}
    assert found["features"].dtype == np.float32
    np.testing.assert_allclose(found["features"], by_hand(folder, net, NAMES), atol=1e-5)
    assert found["labels"].tolist() == LABELS
    assert [name.decode() for name in found["filenames"]] == NAMES
    assert (done.images, done.skipped, done.resumed_from, done.engine) == (12, [], 0, "tensorflow")
    assert done.images_per_second == pytest.approx(12 / done.seconds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "pictures"]


def test_the_file_describes_itself(folder: Path, tmp_path: Path, net: Network) -> None:
    extract(folder, tmp_path / "f.h5", net)
    found = describe(tmp_path / "f.h5")
    assert found["classes"] == ["ant", "bee", "cow"]
    assert found["labels"].tolist() == LABELS
    assert found["shape"] == (12, 4)
    fingerprint = found["fingerprint"]
    assert set(fingerprint) == {
        "model", "weights", "preprocessing", "input_size", "output_shape", "files"
    }  # fmt: skip
    assert (fingerprint["model"], fingerprint["preprocessing"]) == ("Tiny", "lite")
    assert (fingerprint["input_size"], fingerprint["output_shape"]) == (32, [4])


def test_a_name_that_is_not_utf_8_is_kept(folder: Path, tmp_path: Path, net: Network) -> None:
    raw = os.fsencode(folder / "bee") + b"/caf\xe9.png"
    os.rename(folder / "bee" / "1.png", raw)
    extract(folder, tmp_path / "f.h5", net)
    assert b"bee/caf\xe9.png" in read(tmp_path / "f.h5")["filenames"]


# --- what cannot be read -------------------------------------------------------------------------


@pytest.fixture
def with_faults(folder: Path) -> Path:
    (folder / "ant" / "0.png").write_bytes(b"")
    (folder / "ant" / "notes.txt").write_text("not a picture")
    whole = (folder / "cow" / "3.png").read_bytes()
    (folder / "cow" / "3.png").write_bytes(whole[: len(whole) // 2])
    return folder


READABLE = [name for name in NAMES if name not in ("ant/0.png", "cow/3.png")]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_unreadable_files_leave_no_row(
    with_faults: Path, tmp_path: Path, net: Network, batch_size: int
) -> None:
    done = extract(with_faults, tmp_path / "f.h5", net, batch_size)
    found = read(tmp_path / "f.h5")
    assert set(found) == {"features", "labels", "filenames"}
    assert [name.decode() for name in found["filenames"]] == READABLE
    assert found["labels"].tolist() == [0] * 3 + [1] * 3 + [2] * 4
    np.testing.assert_allclose(found["features"], by_hand(with_faults, net, READABLE), atol=1e-5)
    assert describe(tmp_path / "f.h5")["classes"] == ["ant", "bee", "cow"]
    assert done.images == 10
    reasons = dict(done.skipped)
    assert list(reasons) == ["ant/0.png", "ant/notes.txt", "cow/3.png"]
    assert "an empty file" in reasons["ant/0.png"]
    assert "no picture" in reasons["ant/notes.txt"]
    assert "cannot be read" in reasons["cow/3.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "pictures"]


def test_links_animations_and_odd_names_in_a_folder_as_one_finds_it(
    folder: Path, tmp_path: Path, net: Network
) -> None:
    secret = tmp_path / "secret.png"
    Image.fromarray(picture(99)).save(secret)
    (folder / "ant" / "loop").symlink_to("..")
    (folder / "ant" / "out.png").symlink_to(secret)
    (folder / "bee" / "own.png").symlink_to("0.png")
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "cow" / "moves.gif", save_all=True, append_images=frames[1:])
    os.rename(folder / "cow" / "4.png", os.fsencode(folder / "cow") + b"/\xff\x1b[1m.png")
    names = ["ant/0.png", "ant/1.png", "ant/2.png", "ant/3.png", "bee/0.png", "bee/1.png"]
    names += ["bee/2.png", "bee/own.png", "cow/0.png", "cow/1.png", "cow/2.png", "cow/3.png"]
    names += ["cow/moves.gif", "cow/\udcff\x1b[1m.png"]

    done = extract(folder, tmp_path / "f.h5", net)
    found = read(tmp_path / "f.h5")
    assert [os.fsdecode(name) for name in found["filenames"]] == names
    np.testing.assert_allclose(found["features"], by_hand(folder, net, names), atol=1e-5)
    assert done.skipped == [
        ("ant/loop", "a link to a folder"),
        ("ant/out.png", "a link that leads out of the folder"),
    ]
    assert done.noted == [("cow/moves.gif", "an animation, of which the first frame is taken")]

    (folder / names[-1]).write_bytes(b"")
    done = extract(folder, tmp_path / "again.h5", net)
    assert [reason for file, reason in done.skipped if file == names[-1]] == [
        f"{folder}/cow/\\udcff\\x1b[1m.png: an empty file; expected JPEG, PNG, GIF, BMP, WEBP. "
        "Save it as one of them."
    ]


def test_a_folder_without_any_picture_is_an_error(tmp_path: Path, net: Network) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="none of 1 files is a picture"):
        extract(tmp_path / "pictures", tmp_path / "f.h5", net)
    assert not (tmp_path / "f.h5").exists()


def test_no_class_folders_is_an_error(tmp_path: Path, net: Network) -> None:
    with pytest.raises(DataError):
        extract(tmp_path / "missing", tmp_path / "f.h5", net)


def test_features_must_have_a_fixed_shape(folder: Path, tmp_path: Path, net: Network) -> None:
    pixels = keras.Input((None, None, 3))
    free = keras.Model(pixels, keras.layers.Conv2D(2, 3)(pixels))
    with pytest.raises(DataError, match="fixed shape"):
        extract(folder, tmp_path / "f.h5", dataclasses.replace(net, model=free))


# --- again ---------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(
    folder: Path, tmp_path: Path, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(folder, tmp_path / "f.h5", net)
    before = (tmp_path / "f.h5").read_bytes()
    monkeypatch.setattr(images, "read", None)  # to read a picture would be an error
    done = extract(folder, tmp_path / "f.h5", net)
    assert (done.images, done.resumed_from, done.engine) == (12, 12, "none")
    assert (tmp_path / "f.h5").read_bytes() == before


def other_model(folder: Path, net: Network) -> Network:
    return dataclasses.replace(net, name="Other")


def other_weights(folder: Path, net: Network) -> Network:
    return tiny(seed=1)


def other_preprocessing(folder: Path, net: Network) -> Network:
    return dataclasses.replace(net, entry=zoo.find("MobileNet"))


def other_input_size(folder: Path, net: Network) -> Network:
    model = keras.Sequential([keras.Input((40, 40, 3)), *net.model.layers])
    return dataclasses.replace(net, model=model, input_size=40)


def other_output_shape(folder: Path, net: Network) -> Network:
    model = keras.Sequential([keras.Input((32, 32, 3)), net.model.layers[0]])
    return dataclasses.replace(net, model=model)


def other_files(folder: Path, net: Network) -> Network:
    (folder / "cow" / "4.png").rename(folder / "cow" / "5.png")
    return net


def other_size_of_a_file(folder: Path, net: Network) -> Network:
    with (folder / "cow" / "4.png").open("ab") as file:
        file.write(b"x")
    return net


CHANGES: dict[str, Callable[[Path, Network], Network]] = {
    "model": other_model,
    "weights": other_weights,
    "preprocessing": other_preprocessing,
    "input_size": other_input_size,
    "output_shape": other_output_shape,
    "files": other_files,
    "files ": other_size_of_a_file,
}


@pytest.mark.parametrize("field", CHANGES)
def test_other_features_are_not_overwritten(
    folder: Path, tmp_path: Path, net: Network, field: str
) -> None:
    extract(folder, tmp_path / "f.h5", net)
    before = (tmp_path / "f.h5").read_bytes()
    other = CHANGES[field](folder, net)
    with pytest.raises(DataError, match=rf"f\.h5: has other features: {field.strip()} is "):
        extract(folder, tmp_path / "f.h5", other)
    assert (tmp_path / "f.h5").read_bytes() == before


def test_a_file_that_is_not_ours_is_not_overwritten(
    folder: Path, tmp_path: Path, net: Network
) -> None:
    (tmp_path / "f.h5").write_text("my thesis")
    with pytest.raises(DataError, match="not a file that `extract` made"):
        extract(folder, tmp_path / "f.h5", net)
    assert (tmp_path / "f.h5").read_text() == "my thesis"


# --- interrupted ---------------------------------------------------------------------------------


def stopped_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Makes the reading of a picture stop the run, as Ctrl-C does."""
    real, seen = images.load, list[Any]()

    def stop(path: Path, *notes: Any) -> np.ndarray:
        seen.append(path)
        if len(seen) == count:
            raise KeyboardInterrupt
        return real(path, *notes)

    monkeypatch.setattr(images, "read", stop)


def interrupted(
    folder: Path, out: Path, net: Network, monkeypatch: pytest.MonkeyPatch, count: int = 8
) -> Path:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_at(patch, count)
        extract(folder, out, net, batch_size=2)
    return out.with_name(out.stem + ".part.h5")


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("count", [1, 2, 8, 12])
def test_an_interrupted_run_goes_on(
    folder: Path,
    tmp_path: Path,
    net: Network,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    count: int,
    faults: bool,
) -> None:
    if faults:
        request.getfixturevalue("with_faults")
    extract(folder, tmp_path / "whole.h5", net, batch_size=2)
    part = interrupted(folder, tmp_path / "f.h5", net, monkeypatch, count)
    before = read(part)["status"]
    assert not (tmp_path / "f.h5").exists()
    done = extract(folder, tmp_path / "f.h5", net, batch_size=2)
    assert done.resumed_from == (before == bottlenecks.DONE).sum() < 12
    assert len(done.skipped) == (3 if faults else 0)
    assert not part.exists()
    whole, found = read(tmp_path / "whole.h5"), read(tmp_path / "f.h5")
    assert set(found) == set(whole)
    for name, array in whole.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_what_was_done_is_not_read_again(
    folder: Path, tmp_path: Path, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(folder, tmp_path / "f.h5", net, monkeypatch, count=8)
    real, seen = images.load, list[str]()

    def noting(path: Path, *notes: Any) -> np.ndarray:
        seen.append(path.name)
        return real(path, *notes)

    monkeypatch.setattr(images, "read", noting)
    done = extract(folder, tmp_path / "f.h5", net, batch_size=2)
    assert done.resumed_from >= 4  # what was in the works beside the picture that stopped it
    assert len(seen) == 12 - done.resumed_from


@pytest.mark.parametrize("faults", [False, True])
def test_a_run_stopped_before_the_last_rename_only_renames(
    folder: Path,
    tmp_path: Path,
    net: Network,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    faults: bool,
) -> None:
    if faults:
        request.getfixturevalue("with_faults")
    extract(folder, tmp_path / "whole.h5", net)
    real = os.replace

    def stop(source: Path, target: Path) -> None:
        if Path(target).name == "f.h5":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        extract(folder, tmp_path / "f.h5", net)
    monkeypatch.setattr(keras.Model, "predict_on_batch", None)  # nothing is computed again
    done = extract(folder, tmp_path / "f.h5", net)
    assert done.images == done.resumed_from
    assert len(done.skipped) == (3 if faults else 0)
    for name, array in read(tmp_path / "whole.h5").items():
        np.testing.assert_array_equal(read(tmp_path / "f.h5")[name], array)


@pytest.mark.parametrize("field", ["weights", "files"])
def test_a_part_of_other_features_is_not_taken_up(
    folder: Path, tmp_path: Path, net: Network, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    part = interrupted(folder, tmp_path / "f.h5", net, monkeypatch)
    before = part.read_bytes()
    other = CHANGES[field](folder, net)
    with pytest.raises(DataError, match=rf"f\.part\.h5: has other features: {field} is"):
        extract(folder, tmp_path / "f.h5", other)
    assert part.read_bytes() == before


def test_a_part_that_was_left_beside_the_whole_file_is_removed(
    folder: Path, tmp_path: Path, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill does that comes after the copy without skipped rows got its name."""
    part = interrupted(folder, tmp_path / "f.h5", net, monkeypatch)
    (tmp_path / "f.part.lock").touch()
    extract(folder, tmp_path / "whole.h5", net)
    os.replace(tmp_path / "whole.h5", tmp_path / "f.h5")
    done = extract(folder, tmp_path / "f.h5", net)
    assert (done.images, done.engine) == (12, "none")
    assert not part.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "pictures"]


def test_an_error_in_the_engine_keeps_what_was_done(folder: Path, tmp_path: Path) -> None:
    net, calls = tiny(), list[int]()

    def run(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 3:
            raise MemoryError
        return net.model.predict_on_batch(batch)

    engine = Engine("mine", run)
    with pytest.raises(MemoryError):
        extract(folder, tmp_path / "f.h5", net, 4, engine)
    done = extract(folder, tmp_path / "f.h5", net, 4, engine)
    assert (done.resumed_from, done.engine, calls) == (8, "mine", [4, 4, 4, 4])


def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    """Half of them with files that are no pictures, whose rows are left out in the end."""
    total: dict[str, int] = {}
    for seed, faults in (("one", False), ("two", True)):
        root = tmp_path / seed
        for name, count in {"ant": 14, "bee": 9, "cow": 17}.items():
            (root / "pictures" / name).mkdir(parents=True)
            for i in range(count):
                path = root / "pictures" / name / f"{i:02}.png"
                Image.fromarray(picture(ord(name[0]) + i, 20, 20)).save(path)
        if faults:
            (root / "pictures" / "ant" / "03.png").write_bytes(b"")
            (root / "pictures" / "cow" / "notes.txt").write_text("not a picture")
        (root / "work").mkdir()
        script = Path(__file__).with_name("killed.py")
        command = [sys.executable, *map(str, [script, root / "pictures", root / "work", seed, 25])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        found = json.loads(done.stdout or "{}")
        assert found.get("problems") == [], done.stderr
        assert found["pictures"] == 40 - faults
        for moment, count in found["kills"].items():
            total[moment] = total.get(moment, 0) + count
    assert sum(total.values()) >= 50
    assert min(total.values()) >= 3, total


def test_kills_and_ctrl_c_on_the_command_line(tmp_path: Path, keras_home: Path) -> None:
    """The real network, killed once and interrupted once; the last run is in this process.

    Every picture has the same features as in an uninterrupted run, bit for bit, for on ONNX
    Runtime a batch's size changes nothing.
    """
    from helpers import datasets, zoo

    folder, out = datasets.five_classes("test"), tmp_path / "f.h5"
    command = [sys.executable, "-m", "helpers", "extract", str(folder), str(out)]
    command += ["--model", "EfficientNetLite0", "--batch-size", "8", "--json"]
    done: list[int] = []
    for stop in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            command, cwd=ROOT, text=True, preexec_fn=hear_ctrl_c,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stderr
            assert process.stdout
            seen = ""
            while piece := process.stderr.read(1):  # the bar ends no lines
                seen += piece
                counts = re.findall(r"(\d+)/100 ", seen)
                if counts and int(counts[-1]) >= (done[-1] if done else 0) + 8:
                    process.send_signal(stop)
                    break
            rest = process.stderr.read()
            assert process.stdout.read() == ""
        if stop == signal.SIGINT:
            assert process.returncode == 1
            assert "stopped; the same command goes on from here" in rest
            assert "Traceback" not in rest
            assert not (tmp_path / "f.part.lock").exists()
        else:
            assert process.returncode == -signal.SIGKILL
        status = read(tmp_path / "f.part.h5")["status"]
        done.append(int((status == bottlenecks.DONE).sum()))
    assert 0 < done[0] < done[1] < 100
    net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
    last = extract(folder, out, net, 8, "auto")
    assert (last.images, last.resumed_from, last.engine) == (100, done[-1], "onnx")
    extract(folder, tmp_path / "whole.h5", net, 32, "onnx")
    for name, array in read(tmp_path / "whole.h5").items():
        np.testing.assert_array_equal(read(out)[name], array)


# --- who else is there, and where ----------------------------------------------------------------


def test_a_second_extraction_is_told_who_is_at_it_and_harms_nothing(
    folder: Path, tmp_path: Path, net: Network
) -> None:
    out, said = tmp_path / "f.h5", list[str]()

    def run(batch: np.ndarray) -> np.ndarray:
        if not said:
            command = [sys.executable, "-c", SECOND, str(folder), str(out)]
            second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            said.append(second.stdout + second.stderr)
        return net.model.predict_on_batch(batch)

    assert extract(folder, out, net, 4, Engine("slow", run)).images == 12
    assert f"f.h5: process {os.getpid()} on " in said[0]
    assert "is making it now. Wait until it is done" in said[0]
    np.testing.assert_allclose(read(out)["features"], by_hand(folder, net, NAMES), atol=1e-5)


SECOND = """
import sys
from helpers import bottlenecks
from helpers.errors import DataError
try:
    bottlenecks.extract(sys.argv[1], sys.argv[2], None)
except DataError as error:
    print(error)
"""


class Never:
    """An engine that must not be reached, and a network that must not be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_place_that_cannot_be_written_to_is_said_first(
    folder: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    places = {
        tmp_path / "missing" / "f.h5": "no such folder to write f.h5 to",
        mounted("ro") / "f.h5": "cannot be written to",
        folder: "a folder, expected the name of a file",
    }
    for place, said in places.items():
        with pytest.raises(DataError, match=said):
            extract(folder, place, Never())  # type: ignore[arg-type]


PERMITTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import killed  # spares the import of TensorFlow
from helpers.errors import DataError
folder, good, bad = map(Path, sys.argv[2:])
killed.extraction(folder, good, 1)
net = None  # a bad place is said before the network is looked at
try:
    killed.bottlenecks.extract(folder, bad, net)
except DataError as error:
    print(error)
"""


def test_permissions_of_data_and_output(folder: Path, tmp_path: Path) -> None:
    for each in [folder, *folder.iterdir()]:
        each.chmod(0o555)
    command = [sys.executable, "-c", PERMITTED, str(Path(__file__).parent)]
    command += map(str, [folder, tmp_path / "f.h5", folder / "f.h5"])
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, preexec_fn=mind_permissions, check=False
    )
    for each in [folder, *folder.iterdir()]:
        each.chmod(0o755)
    said = f"{folder}: cannot be written to (Permission denied). Give another place for f.h5.\n"
    assert (done.stdout, done.stderr) == (said, "")
    assert read(tmp_path / "f.h5")["labels"].tolist() == LABELS
    assert sorted(path.name for path in folder.iterdir()) == ["ant", "bee", "cow"]


def test_pictures_on_a_read_only_disk_can_be_read(
    folder: Path, tmp_path: Path, net: Network, mounted: Callable[[str], Path]
) -> None:
    disk = mounted("size=2m")
    shutil.copytree(folder, disk / "pictures")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert extract(disk / "pictures", tmp_path / "f.h5", net).images == 12


def test_a_disk_that_is_too_small_is_said_before_anything_is_computed(
    folder: Path, mounted: Callable[[str], Path]
) -> None:
    disk, net = mounted("size=2m"), tiny(size=256, filters=4, pooling=False)
    engine = Engine("never", lambda _: pytest.fail("it was computed"))
    with pytest.raises(DataError, match=r"needs 3,\d+,\d+ bytes, and 2,0\d\d,\d+ are free"):
        extract(folder, disk / "f.h5", net, 4, engine)
    assert not list(disk.iterdir())


# --- pictures that change meanwhile --------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    if how == "removed":
        path.unlink()
    elif how == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        os.utime(path, (1, 1))


@pytest.mark.parametrize("how", ["removed", "longer", "touched"])
@pytest.mark.parametrize("when", ["being computed", "not yet read", "written already"])
def test_a_picture_that_changes_during_the_run_is_noticed(
    folder: Path,
    tmp_path: Path,
    net: Network,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    when: str,
) -> None:
    name = {"being computed": "bee/2", "not yet read": "cow/4", "written already": "ant/1"}[when]
    path = folder / f"{name}.png"
    before, times = path.read_bytes(), path.stat()
    calls = list[int]()

    def run(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 2:  # rows 4 to 7, of which bee/2 is one
            spoil(path, how)
        return net.model.predict_on_batch(batch)

    written, real = list[int](), Part.write

    def write(part: Part, rows: np.ndarray, *rest: Any) -> None:
        written.extend(rows)
        real(part, rows, *rest)

    said = f"{name}.png: the file is {'gone' if how == 'removed' else 'changed'} since this run"
    with monkeypatch.context() as patch, pytest.raises(DataError, match=said):
        patch.setattr(Part, "write", write)
        patch.setattr(bottlenecks.engines, "cores", lambda: 1)  # one batch after the other
        extract(folder, tmp_path / "f.h5", net, 4, Engine("mine", run))
    if when == "being computed":
        assert NAMES.index(f"{name}.png") not in written, "a kill would leave it as done"
    assert not (tmp_path / "f.h5").exists()
    assert read(tmp_path / "f.part.h5")["status"][NAMES.index(f"{name}.png")] == 0
    path.write_bytes(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert extract(folder, tmp_path / "f.h5", net, 4).images == 12
    np.testing.assert_allclose(
        read(tmp_path / "f.h5")["features"], by_hand(folder, net, NAMES), atol=1e-5
    )


# --- the engine ----------------------------------------------------------------------------------


def test_onnx_runtime_is_what_computes_on_a_cpu(
    folder: Path, tmp_path: Path, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    done = bottlenecks.extract(folder, tmp_path / "f.h5", net, progress=False)
    assert (done.engine, done.note) == ("onnx", "")
    np.testing.assert_allclose(
        read(tmp_path / "f.h5")["features"], by_hand(folder, net, NAMES), atol=1e-5
    )
    assert capsys.readouterr() == ("", "")


def test_where_it_cannot_it_is_said(
    folder: Path,
    tmp_path: Path,
    net: Network,
    keras_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (keras_home / "onnx").write_text("a file where the folder should be")
    done = extract(folder, tmp_path / "f.h5", net, 32, "auto")
    assert (done.images, done.engine) == (12, "tensorflow")
    assert "Set KERAS_HOME" in done.note
    assert capsys.readouterr() == ("", f"helpers: {done.note}\n")


def test_an_engine_that_is_not_known_computes_nothing(
    folder: Path, tmp_path: Path, net: Network
) -> None:
    with pytest.raises(ArgumentError, match="Did you mean tensorflow"):
        extract(folder, tmp_path / "f.h5", net, 32, "tensorfow")


# --- batches -------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Row i has the features (i, 2 i) and the label i."""
    path = tmp_path / "numbered.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.stack([np.arange(23), 2 * np.arange(23)], 1).astype("float32")
        file["labels"] = np.arange(23)
    return path


def epoch(found: Iterable[Any]) -> list[list[int]]:
    """The labels of an epoch's batches, and a check that the features travel with them."""
    labels = []
    for features, some in found:
        assert features.numpy().tolist() == [[label, 2 * label] for label in some.numpy()]
        labels.append(some.numpy().tolist())
    return labels


def in_order(labels: list[list[int]]) -> list[int]:
    return sorted(itertools.chain.from_iterable(labels))


def test_without_a_seed_the_files_order(numbered: Path) -> None:
    found = batches(numbered, batch_size=5)
    assert len(found) == 5
    for _ in range(2):
        assert epoch(found) == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]


def test_with_a_seed_every_epoch_has_every_row_once_in_a_new_order(numbered: Path) -> None:
    found = batches(numbered, batch_size=5, seed=0)
    epochs = [epoch(found) for _ in range(3)]
    assert all(in_order(labels) == list(range(23)) for labels in epochs)
    assert epochs[0] != epoch(batches(numbered, batch_size=5))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_same_seed_gives_the_same_order(numbered: Path) -> None:
    one, same, other = (batches(numbered, batch_size=5, seed=seed) for seed in (1, 1, 2))
    for _ in range(2):
        assert (first := epoch(one)) == epoch(same)
        assert first != epoch(other)


@pytest.mark.parametrize("seed", [None, 3])
def test_only_the_rows_that_were_asked_for(numbered: Path, seed: int | None) -> None:
    rows = np.array([2, 3, 5, 7, 11, 13])
    found = batches(numbered, rows, batch_size=4, seed=seed)
    assert len(found) == 2
    assert in_order(epoch(found)) == rows.tolist()
    assert rows.tolist() == [2, 3, 5, 7, 11, 13], "the caller's rows are not shuffled"


def test_keras_can_train_on_them_and_the_file_is_then_free(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = h5py.File

    def count(path: Path, *arguments: Any) -> h5py.File:
        opened.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(h5py, "File", count)
    found = batches(numbered, batch_size=2, seed=0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(found, validation_data=batches(numbered), epochs=4, shuffle=False, verbose=0)
    assert len(opened) < 4 * 12, "opened by the epoch, not by the batch: 12 of them an epoch"
    with real(numbered, "r+") as file:  # HDF5 refuses this while it is open anywhere
        file.attrs["changed"] = True


def test_an_epoch_that_is_not_read_to_its_end_changes_no_other(numbered: Path) -> None:
    """As where `fit` is told to take some steps of an epoch only; batches are read ahead."""
    found = batches(numbered, batch_size=2, seed=0)
    whole, begun = epoch(found), iter(found)
    next(begun)
    assert in_order(epoch(found)) == in_order(whole)
    assert len(list(begun)) == 11


def test_no_epoch_waits_for_a_tuner(numbered: Path) -> None:
    assert batches(numbered).options().autotune.enabled is False


def test_batches_say_how_to_make_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.h5: no such file.*helpers extract"):
        batches(tmp_path / "f.h5")
    (tmp_path / "f.h5").write_text("text")
    with pytest.raises(DataError, match="not a file that `extract` made"):
        batches(tmp_path / "f.h5")


# --- describe ------------------------------------------------------------------------------------


def test_describe_says_how_to_make_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.h5: no such file.*helpers extract"):
        describe(tmp_path / "f.h5")


@pytest.mark.parametrize(
    "missing", ["labels", "features", "classes", "fingerprint", "json", "HDF5"]
)
def test_describe_refuses_what_extract_did_not_make(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["labels"] = np.zeros((1, 2)), [0]
        file.attrs["classes"] = ["a"]
        file.attrs["fingerprint"] = "{" if missing == "json" else json.dumps({})
        if missing in ("labels", "features"):
            del file[missing]
        elif missing in ("classes", "fingerprint"):
            del file.attrs[missing]
    if missing == "HDF5":
        path.write_text("text")
    with pytest.raises(DataError, match="not a file that `extract` made"):
        describe(path)
