import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import killed
import numpy as np
import pytest
from conftest import ROOT, hear_ctrl_c, mind_permissions, picture
from killed import Numbers, arrays, extract, pixels
from PIL import Image

from helpers import bottlenecks, images
from helpers.backend import keras
from helpers.engine import Engine
from helpers.errors import ArgumentError, DataError
from helpers.features import DONE, describe

NAMES = [
    f"{name}/{i}.png" for name, count in (("ant", 4), ("bee", 3), ("cow", 5)) for i in range(count)
]
LABELS = [0] * 4 + [1] * 3 + [2] * 5


def network(**changes: Any) -> Any:
    """Numbers, with other attributes."""
    found = Numbers()
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def tiny(pooling: bool = True, **changes: Any) -> Any:
    """A network of Keras, of two layers."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, 2)])
    if pooling:
        model.add(keras.layers.GlobalAveragePooling2D())
    entry = dataclasses.make_dataclass("Entry", ["preprocessing"])("lite")
    return network(**({"name": "Tiny", "input_size": 32, "model": model, "entry": entry} | changes))


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def by_hand(folder: Path, names: list[str]) -> np.ndarray:
    """One picture at a time, and none of the package's batches."""
    found = [images.crop(images.load(folder / name), 16) for name in names]
    return np.concatenate([pixels(one[None].astype("float32")) for one in found])


# --- what is in the file -------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_every_row_is_its_pictures(
    folder: Path, tmp_path: Path, at_once: int, batch_size: int
) -> None:
    engine = Engine("mine", pixels, at_once)
    done = extract(folder, tmp_path / "f.h5", engine=engine, batch_size=batch_size)
    found = read(tmp_path / "f.h5")
    assert set(found) == {"features", "labels", "filenames", "classes"}
    np.testing.assert_array_equal(found["features"], by_hand(folder, NAMES), strict=True)
    assert found["labels"].tolist() == LABELS
    assert [name.decode() for name in found["filenames"]] == NAMES
    assert (done.images, done.skipped, done.resumed_from, done.engine) == (12, [], 0, "mine")
    assert done.images_per_second == pytest.approx(12 / done.seconds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "pictures"]


def test_the_file_describes_itself(folder: Path, tmp_path: Path) -> None:
    extract(folder, tmp_path / "f.h5")
    found = describe(tmp_path / "f.h5")
    assert (found["classes"], found["shape"]) == (["ant", "bee", "cow"], (12, 48))
    fingerprint = found["fingerprint"]
    for name, value in {"model": "Numbers", "preprocessing": "none", "input_size": 16}.items():
        assert fingerprint.pop(name) == value
    assert set(fingerprint) == {
        "weights", "output_shape", "jpegs_decoded_at", "files", "sizes_and_times"
    }  # fmt: skip


def test_no_photograph_is_kept_in_full_size(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of them would take gigabytes."""
    shapes = set[tuple[int, ...]]()
    real = images.load

    def load(*arguments: Any) -> np.ndarray:
        pixels = real(*arguments)
        shapes.add(pixels.shape)
        return pixels

    monkeypatch.setattr(images, "load", load)
    extract(folder, tmp_path / "f.h5")
    assert shapes == {(16, 16, 3)}


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
def test_unreadable_files_leave_no_row(with_faults: Path, tmp_path: Path, batch_size: int) -> None:
    done = extract(with_faults, tmp_path / "f.h5", batch_size=batch_size)
    found = read(tmp_path / "f.h5")
    assert [name.decode() for name in found["filenames"]] == READABLE
    assert found["labels"].tolist() == [0] * 3 + [1] * 3 + [2] * 4
    np.testing.assert_array_equal(found["features"], by_hand(with_faults, READABLE))
    assert done.images == 10
    reasons = dict(done.skipped)
    assert list(reasons) == ["ant/0.png", "ant/notes.txt", "cow/3.png"]
    assert "an empty file" in reasons["ant/0.png"]
    assert "a text file" in reasons["ant/notes.txt"]


def test_animations_are_noted_and_odd_names_are_kept(folder: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "cow" / "moves.gif", save_all=True, append_images=frames[1:])
    odd = os.fsencode(folder / "cow") + b"/\xff\x1b[1m.png"
    os.rename(folder / "cow" / "4.png", odd)
    done = extract(folder, tmp_path / "f.h5")
    assert read(tmp_path / "f.h5")["filenames"][-1] == b"cow/\xff\x1b[1m.png"
    ((file, note),) = done.noted
    assert file == "cow/moves.gif"
    assert "animation" in note
    Path(os.fsdecode(odd)).write_bytes(b"")
    ((_, reason),) = extract(folder, tmp_path / "again.h5").skipped
    assert r"cow/\udcff\x1b[1m.png: an empty file" in reason


def test_a_folder_without_any_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"none of 1 files is a picture.*notes\.txt"):
        extract(tmp_path / "pictures", tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()
    Image.fromarray(picture(0)).save(tmp_path / "pictures" / "a" / "0.png")
    assert extract(tmp_path / "pictures", tmp_path / "f.h5").images == 1


def test_features_must_have_a_fixed_shape(folder: Path, tmp_path: Path) -> None:
    input_ = keras.Input((None, None, 3))
    free = keras.Model(input_, keras.layers.Conv2D(2, 3)(input_))
    with pytest.raises(ArgumentError, match="fixed shape"):
        bottlenecks.extract(folder, tmp_path / "f.h5", tiny(model=free))


# --- again ---------------------------------------------------------------------------------------


def no(*_: Any, **__: Any) -> Any:
    raise AssertionError("this must not be called")


def test_what_is_done_is_not_done_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(folder, tmp_path / "f.h5")
    before = (tmp_path / "f.h5").read_bytes()
    monkeypatch.setattr(images, "load", no)
    done = extract(folder, tmp_path / "f.h5", engine=Engine("never", no))
    assert (done.images, done.resumed_from, done.engine) == (12, 12, "none")
    assert (tmp_path / "f.h5").read_bytes() == before


def renamed(folder: Path) -> None:
    (folder / "cow" / "4.png").rename(folder / "cow" / "5.png")


def other_weights() -> Any:
    model = tiny().model
    model.layers[0].bias.assign([1.0] * 4)
    return model


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("model", lambda _: {"name": "Other"}),
        ("weights", lambda _: {"model": other_weights()}),
        (
            "preprocessing",
            lambda _: {"entry": dataclasses.replace(tiny().entry, preprocessing="tf")},
        ),
        ("input_size", lambda _: {"input_size": 40}),
        ("output_shape", lambda _: {"model": tiny(pooling=False).model}),
        ("files", renamed),
    ],
)
def test_other_features_are_neither_overwritten_nor_gone_on_with(
    folder: Path, tmp_path: Path, field: str, change: Any, begun: bool
) -> None:
    calls = 0

    def run(batch: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if begun and calls == 2:
            raise MemoryError
        return np.zeros((len(batch), 4))

    given: Any = {"progress": False, "batch_size": 4, "engine": Engine("mine", run)}
    try:
        bottlenecks.extract(folder, tmp_path / "f.h5", tiny(), **given)
    except MemoryError:
        assert begun
    left = {path: path.read_bytes() for path in tmp_path.glob("f.h5*/*" if begun else "f.h5")}
    assert left
    other = tiny(**(change(folder) or {}))
    with pytest.raises(DataError, match=rf"f\.h5.*has other features: {field} is "):
        bottlenecks.extract(folder, tmp_path / "f.h5", other, **given)
    assert {path: path.read_bytes() for path in left} == left


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replaced(path: Path) -> None:
    """By a picture of the same size, which keeps the time, as by `cp -p`."""
    before = path.stat()
    time.sleep(0.05)  # a disk's clock may tick a hundred times a second
    Image.fromarray(255 - images.load(path)).save(path, "BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("change", [longer, os.utime, replaced])
def test_features_of_a_changed_picture_are_computed_again_or_refused(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    begun: bool,
) -> None:
    monkeypatch.setattr(bottlenecks.engines, "cores", lambda: 1)  # one batch after the other
    if change is replaced and sys.platform == "win32":
        pytest.skip("Windows does not say when a file was changed")
    Image.fromarray(picture(99)).save(folder / NAMES[1], "BMP")
    sizes = list[int]()

    def run(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        if begun and len(sizes) == 2:
            raise MemoryError
        return pixels(batch)

    engine = Engine("mine", run)
    if begun:
        with pytest.raises(MemoryError):
            extract(folder, tmp_path / "f.h5", engine=engine)
        change(folder / NAMES[1])
        assert extract(folder, tmp_path / "f.h5", engine=engine).resumed_from == 3
        assert sizes[2:] == [1, 4, 4]
        np.testing.assert_array_equal(read(tmp_path / "f.h5")["features"], by_hand(folder, NAMES))
    else:
        extract(folder, tmp_path / "f.h5", engine=engine)
        before = (tmp_path / "f.h5").read_bytes()
        change(folder / NAMES[1])
        with pytest.raises(DataError, match=r"other features: sizes_and_times is .* remove it"):
            extract(folder, tmp_path / "f.h5", engine=engine)
        assert (tmp_path / "f.h5").read_bytes() == before


def test_a_file_that_is_not_ours_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "f.h5").write_text("my thesis")
    with pytest.raises(DataError, match="not a features file"):
        extract(folder, tmp_path / "f.h5")
    assert (tmp_path / "f.h5").read_text() == "my thesis"


# --- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("at", [1, 2, 8, 12])
def test_an_interrupted_run_goes_on(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    at: int,
    faults: bool,
) -> None:
    """Ctrl-C comes as a picture is read; those that are done are not read again."""
    if faults:
        request.getfixturevalue("with_faults")
    whole = extract(folder, tmp_path / "whole.h5", batch_size=2)
    real, seen = images.load, list[Path]()

    def load(path: Path, *options: Any) -> np.ndarray:
        seen.append(path)
        if len(seen) == at:
            raise KeyboardInterrupt
        return real(path, *options)

    monkeypatch.setattr(images, "load", load)
    with pytest.raises(KeyboardInterrupt):
        extract(folder, tmp_path / "f.h5", batch_size=2)
    assert not (tmp_path / "f.h5").exists()
    seen.clear()
    at = 0
    done = extract(folder, tmp_path / "f.h5", batch_size=2)
    assert len(seen) == 12 + faults - done.resumed_from
    assert done.resumed_from < 12
    assert done.skipped == whole.skipped
    assert arrays(tmp_path / "f.h5") == arrays(tmp_path / "whole.h5")


def test_an_error_in_the_engine_keeps_what_was_done(folder: Path, tmp_path: Path) -> None:
    calls = list[int]()

    def run(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 3:
            raise MemoryError
        return pixels(batch)

    with pytest.raises(MemoryError):
        extract(folder, tmp_path / "f.h5", engine=Engine("mine", run))
    done = extract(folder, tmp_path / "f.h5", engine=Engine("mine", run))
    assert (done.resumed_from, calls) == (8, [4, 4, 4, 4])


def test_a_run_stopped_before_the_last_rename_only_renames(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        extract(folder, tmp_path / "f.h5")
    done = extract(folder, tmp_path / "f.h5", engine=Engine("never", no))
    assert (done.images, done.resumed_from, done.engine) == (12, 12, "none")
    np.testing.assert_array_equal(read(tmp_path / "f.h5")["features"], by_hand(folder, NAMES))


@pytest.mark.parametrize(("seed", "faults"), [("one", False), ("two", True)])
def test_kills_lose_nothing(tmp_path: Path, seed: str, faults: bool) -> None:
    """Fifty in all; half of them with files that are no pictures, which leave no row."""
    root = tmp_path / "pictures"
    for name, count in {"ant": 14, "bee": 9, "cow": 17}.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(picture(ord(name[0]) + i, 20, 20)).save(root / name / f"{i:02}.png")
    if faults:
        (root / "ant" / "03.png").write_bytes(b"")
        (root / "cow" / "notes.txt").write_text("not a picture")
    (tmp_path / "work").mkdir()
    command = [sys.executable, killed.__file__, "kills", root, tmp_path / "work", seed, 25]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    found = json.loads(done.stdout or "{}")
    assert found.get("problems") == [], done.stderr
    assert found["pictures"] == 40 - faults
    assert sum(found["kills"].values()) >= 25
    assert min(found["kills"].values()) >= 3, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "ends"),
    [
        (["before"], {"killed"}),
        (["half"], {"killed"}),
        (["after"], {"killed"}),
        (["5"], {"right", "said"}),  # EIO
        (["28", "sticky"], {"right", "said"}),  # ENOSPC
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_every_call_that_changes_a_file_fails_or_kills(
    with_faults: Path, tmp_path: Path, mode: list[str], ends: set[str]
) -> None:
    """Never a wrong file, a crash, or more than a batch lost; and the next run finishes it."""
    source = [p / "shared" / "faultinjection" / "failing_writes.c" for p in ROOT.parents]
    source = [path for path in source if path.is_file()]
    if not source or not shutil.which("gcc") or sys.platform != "linux":
        pytest.skip("needs shared/faultinjection beside the course, gcc and Linux")
    library = tmp_path / "failing_writes.so"
    compile_ = ["gcc", "-shared", "-fPIC", "-o", library, source[0], "-ldl"]
    subprocess.run([*map(str, compile_)], check=True)
    (tmp_path / "work").mkdir()
    command = [sys.executable, killed.__file__, "faults", with_faults, tmp_path / "work", *mode]
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    found = json.loads(done.stdout or "{}")
    assert found.get("problems") == [], done.stderr
    print(found)
    assert set(found["ends"]) == ends
    assert sum(found["ends"].values()) == found["calls"] > 20


@pytest.mark.slow
def test_ctrl_c_on_the_command_line(tmp_path: Path, keras_home: Path) -> None:
    """The real network; what is left is computed with the same bits, in batches of another size."""
    from helpers import datasets, zoo

    folder, out = datasets.five_classes("test"), tmp_path / "f.h5"
    command = [sys.executable, "-m", "helpers", "extract", folder, out, "--batch-size", "8"]
    with subprocess.Popen(
        [*map(str, command)], cwd=ROOT, text=True, preexec_fn=hear_ctrl_c, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        said = ""
        while piece := process.stderr.read(1):  # the bar ends no lines
            said += piece
            if re.search(r"[1-9]\d/100 ", said):
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 1
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert not (tmp_path / "f.h5.part" / "lock").exists()
    net = zoo.load("EfficientNetLite0", include_top=False, pooling="avg")
    done = bottlenecks.extract(folder, out, net, progress=False)
    assert (done.images, done.engine) == (100, "onnx")
    assert 0 < done.resumed_from < 100
    bottlenecks.extract(folder, tmp_path / "whole.h5", net, engine="onnx", progress=False)
    assert arrays(out) == arrays(tmp_path / "whole.h5")


# --- where --------------------------------------------------------------------------------------


def test_a_bad_place_is_said_before_the_network_is_looked_at(folder: Path, tmp_path: Path) -> None:
    nothing: Any = None
    for place, said in {tmp_path / "no" / "f.h5": "no such folder", folder: "a folder"}.items():
        with pytest.raises(DataError, match=said):
            bottlenecks.extract(folder, place, nothing)


PERMITTED = """
import sys, killed
folder, good, bad = sys.argv[1:]
killed.extract(folder, good)
try:
    killed.extract(folder, bad)
except killed.DataError as error:
    print(error)
"""


def test_permissions_of_data_and_output(folder: Path, tmp_path: Path) -> None:
    for each in [folder, *folder.iterdir()]:
        each.chmod(0o555)
    command = [sys.executable, "-c", PERMITTED]
    command += map(str, [folder, tmp_path / "f.h5", folder / "f.h5"])
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT / "tests", preexec_fn=mind_permissions,
        check=False,
    )  # fmt: skip
    for each in [folder, *folder.iterdir()]:
        each.chmod(0o755)
    assert f"{folder}: cannot be written to (Permission denied)" in done.stdout
    assert done.stderr == ""
    assert read(tmp_path / "f.h5")["labels"].tolist() == LABELS
    assert sorted(path.name for path in folder.iterdir()) == ["ant", "bee", "cow"]


def test_pictures_and_a_finished_file_on_a_read_only_disk(
    folder: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    disk = mounted("size=2m")
    shutil.copytree(folder, disk / "pictures")
    extract(disk / "pictures", disk / "f.h5")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert extract(disk / "pictures", disk / "f.h5").engine == "none"
    assert extract(disk / "pictures", tmp_path / "f.h5").images == 12


# --- pictures that change meanwhile --------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    if how == "removed":
        path.unlink()
    elif how == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        os.utime(path, (1, 1))


@pytest.mark.parametrize("how", ["removed", "longer", "touched"])
@pytest.mark.parametrize("name", ["ant/1.png", "bee/2.png", "cow/4.png"])
def test_a_picture_that_changes_during_the_run_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str
) -> None:
    """One that is written already, one that is just computed, one that is yet to be read."""
    monkeypatch.setattr(bottlenecks.engines, "cores", lambda: 1)  # one batch after the other
    path, calls = folder / name, 0
    before = path.read_bytes()

    def run(batch: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:  # rows 4 to 7, of which bee/2 is one
            spoil(path, how)
        return pixels(batch)

    with pytest.raises(DataError, match=f"{name}: changed or removed since this run"):
        extract(folder, tmp_path / "f.h5", engine=Engine("mine", run))
    assert not (tmp_path / "f.h5").exists()
    status = (tmp_path / "f.h5.part" / "status.bin").read_bytes()
    assert status[NAMES.index(name)] != DONE
    assert status[0] == DONE
    path.write_bytes(before)
    done = extract(folder, tmp_path / "f.h5")
    assert (done.images, done.resumed_from) == (12, np.count_nonzero(list(status)))
    np.testing.assert_array_equal(read(tmp_path / "f.h5")["features"], by_hand(folder, NAMES))


# --- the engine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "tensorflow"])
def test_a_network_of_keras(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    net = tiny()
    done = bottlenecks.extract(folder, tmp_path / "f.h5", net, 4, engine, progress=False)
    assert (done.engine, done.note) == ("onnx" if engine == "auto" else engine, "")
    pictures = [images.load(folder / name) for name in NAMES]
    expected = net.model.predict_on_batch(images.preprocess(pictures, 32, "lite"))
    np.testing.assert_allclose(read(tmp_path / "f.h5")["features"], expected, atol=1e-5)
    assert capsys.readouterr() == ("", "")


def test_where_onnx_runtime_cannot_it_is_said(
    folder: Path, tmp_path: Path, keras_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (keras_home / "onnx").write_text("a file where the folder should be")
    done = bottlenecks.extract(folder, tmp_path / "f.h5", tiny(), progress=False)
    assert (done.images, done.engine) == (12, "tensorflow")
    assert "Set KERAS_HOME" in done.note
    assert capsys.readouterr() == ("", f"helpers: {done.note}\n")


def test_grey_pictures_are_no_reason_to_refuse_onnx_runtime(folder: Path, tmp_path: Path) -> None:
    """Of a network without biases they have features of zero, but for rounding."""
    for name in NAMES:
        Image.new("RGB", (40, 40), (127, 127, 127)).save(folder / name)
    done = bottlenecks.extract(folder, tmp_path / "f.h5", tiny(), progress=False)
    assert (done.engine, done.note) == ("onnx", "")


def test_a_network_in_mixed_precision_is_refused(folder: Path, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = tiny()
    finally:
        keras.config.set_dtype_policy(before)
    with pytest.raises(ArgumentError, match="bfloat16, expected float32"):
        bottlenecks.extract(folder, tmp_path / "f.h5", net, progress=False)


def test_an_unknown_engine_computes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="Did you mean tensorflow"):
        bottlenecks.extract(folder, tmp_path / "f.h5", tiny(), engine="tensorfow", progress=False)


def test_importing_loads_no_tensorflow() -> None:
    script = "import sys, helpers.bottlenecks; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"
