import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT

from helpers import features
from helpers.backend import keras
from helpers.datasets import ClassFolders
from helpers.errors import ArgumentError, DataError
from helpers.features import DONE, SKIPPED, TODO, Part, batches, check_writable, describe

ROWS = 10
NAMES = [f"a/{row}.png" for row in range(ROWS)]
TIMES = hashlib.sha256(np.full((ROWS, 3), -1, "<i8").tobytes()).hexdigest()
FINGERPRINT = {"model": "M", "number": 1, "sizes_and_times": TIMES}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "f.h5"


def create(out: Path, number: int = 1, columns: int = 3, changed: tuple[int, ...] = ()) -> Any:
    pictures = ClassFolders(out, ("a", "b"), tuple(NAMES), np.arange(ROWS))
    fingerprint = {"model": "M", "number": number}
    return features.create(out, fingerprint, (columns,), pictures, seen(changed))


def seen(changed: tuple[int, ...] = ()) -> np.ndarray:
    """As if a picture's time had changed since."""
    found = np.full((ROWS, 3), -1)
    found[list(changed), 2] += 1
    return found


def values(rows: np.ndarray) -> np.ndarray:
    return np.repeat(rows, 3).reshape(-1, 3).astype("float32")


def write(part: Part, *rows: int) -> None:
    part.write(np.array(rows), values(np.array(rows)))


def interrupted(out: Path, *rows: int) -> None:
    with create(out) as part:
        write(part, *rows)


def completed(out: Path, skipped: tuple[int, ...] = ()) -> Path:
    with create(out) as part:
        for rows in part.todo(4):
            write(part, *np.setdiff1d(rows, skipped).tolist())
        part.mark(np.array(skipped, int), SKIPPED)
        part.finish()
    return out


def contents(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        found = {name: file[name][:].tolist() for name in file}
        return found | {"fingerprint": json.loads(file.attrs["fingerprint"])}


def expected(rows: Iterable[int]) -> dict[str, Any]:
    return {
        "features": [[row] * 3 for row in rows],
        "labels": list(rows),
        "filenames": [NAMES[row].encode() for row in rows],
        "classes": [b"a", b"b"],
        "fingerprint": FINGERPRINT,
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- begun, gone on with, finished ---------------------------------------------------------------


@pytest.mark.parametrize("skipped", [(), (0,), (3, 4, 9)])
@pytest.mark.parametrize("piece", [1, 50, 2**24])
def test_the_finished_file_has_the_rows_that_are_done(
    out: Path, monkeypatch: pytest.MonkeyPatch, skipped: tuple[int, ...], piece: int
) -> None:
    monkeypatch.setattr(features, "PIECE", piece)
    completed(out, skipped)
    assert contents(out) == expected([row for row in range(ROWS) if row not in skipped])
    assert files(out.parent) == ["f.h5"]
    with h5py.File(out) as file:
        assert (file["features"].dtype, file["labels"].dtype) == (np.float32, np.int64)


def test_an_interrupted_file_is_gone_on_with(out: Path) -> None:
    with create(out) as part:
        assert [rows.tolist() for rows in part.todo(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        write(part, 4, 5, 6, 7)
        write(part, 0)
        part.mark(np.array([2]), SKIPPED)
    assert not out.exists()
    with create(out) as part:
        assert part.status.tolist() == [DONE, TODO, SKIPPED, TODO, DONE, DONE, DONE, DONE, 0, 0]
        assert [rows.tolist() for rows in part.todo(4)] == [[1, 2, 3], [8, 9]]
        write(part, 1, 2, 3, 8, 9)
        part.finish()
    assert contents(out) == expected(range(ROWS))


def test_a_finished_file_is_left_alone(out: Path) -> None:
    before = completed(out).read_bytes()
    with create(out) as part:
        assert part is None
    with pytest.raises(DataError, match="number is 1, expected 2"), create(out, number=2):
        pass
    assert out.read_bytes() == before


def test_what_a_kill_left_beside_a_finished_file_is_removed(out: Path) -> None:
    completed(out.with_name("g.h5"))
    interrupted(out, 0)
    out.with_name("g.h5").rename(out)
    with create(out) as part:
        assert part is None
    assert files(out.parent) == ["f.h5"]


def test_other_features_are_not_gone_on_with_unless_there_are_none(out: Path) -> None:
    with create(out):
        pass
    with create(out, number=2) as part:
        write(part, 0)
    with pytest.raises(DataError, match=r"f\.h5\.part.*number is 2, expected 1"), create(out):
        pass
    with create(out, number=2) as part:
        assert part.done == 1


def test_features_of_changed_pictures_are_not_kept(out: Path) -> None:
    interrupted(out, 0, 1, 2, 3)
    for _ in range(2):  # the second time, they are as they were
        with create(out, changed=(1, 3, 9)) as part:
            assert np.flatnonzero(part.status).tolist() == [0, 2]
    with create(out, changed=(1, 3, 9)) as part:
        write(part, 1, 3)
    with create(out, changed=(1, 3, 9)) as part:
        assert part.done == 4
        write(part, *range(ROWS))
        part.finish()
    before = out.read_bytes()
    with pytest.raises(DataError, match="sizes_and_times is"), create(out):
        pass
    assert out.read_bytes() == before


def test_features_of_another_shape_are_refused(out: Path) -> None:
    with create(out) as part, pytest.raises(ArgumentError, match=r"\(2, 3\), got \(2, 4\)"):
        part.write(np.array([0, 1]), np.zeros((2, 4)))


def test_names_that_are_not_utf_8_and_6000_classes(out: Path) -> None:
    classes = [os.fsdecode(f"class {number:04}".encode() + b"\xe9" * 40) for number in range(6000)]
    files = (os.fsdecode(b"caf\xe9.png"),)
    pictures = ClassFolders(out, tuple(classes), files, np.array([5999]))
    with features.create(out, {}, (1,), pictures, pictures.stats()) as part:
        assert part
        part.write(np.array([0]), np.ones((1, 1)))
        part.finish()
    assert describe(out)["classes"] == classes
    assert contents(out)["filenames"] == [b"caf\xe9.png"]


# --- disks ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much disk a file has taken")
def test_the_disk_space_is_taken_at_once(out: Path) -> None:
    with create(out, columns=100_000):
        taken = sum(path.stat().st_blocks * 512 for path in (out.parent / "f.h5.part").iterdir())
        assert taken >= ROWS * 100_000 * 4


@pytest.mark.parametrize("known", [True, False])
def test_a_disk_that_is_too_small_is_noticed_first(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Known beforehand; or only as it is taken, where there are quotas, or others write too."""
    folder = mounted("size=2m")
    real = features.shutil.disk_usage(folder)
    free = real.free if known else 10**9
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: real._replace(free=free))
    said = rf"needs 80,\d\d\d,\d\d\d bytes .*{free:,} are free.*No space left"
    with pytest.raises(DataError, match=said), create(folder / "f.h5", columns=1_000_000):
        pass
    assert not files(folder)


def test_no_space_for_the_finished_file_loses_nothing(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mounted("size=1m")
    real = features.shutil.disk_usage(folder)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: real._replace(free=10**9))
    everything = np.arange(ROWS)
    with create(folder / "f.h5", columns=15_000) as part:
        part.write(everything, np.ones((ROWS, 15_000)))
        with pytest.raises(DataError, match=r"No space left.*goes on from here"):
            part.finish()
    assert files(folder) == ["f.h5.part"]
    subprocess.run(["mount", "-o", "remount,size=2m", str(folder)], check=True)
    with create(folder / "f.h5", columns=15_000) as part:
        assert part.done == ROWS
        part.finish()
    assert describe(folder / "f.h5")["shape"] == (ROWS, 15_000)


def test_a_row_is_done_only_after_its_features_are_on_the_disk(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, status, folder = os.fsync, list[bytes](), out.with_name("f.h5.part")

    def fsync(number: int) -> None:
        status.append((folder / "status.bin").read_bytes())
        assert (folder / "rows.bin").read_bytes()[:48] == (values(np.arange(4)) + 1).tobytes()
        real(number)

    with create(out) as part:
        monkeypatch.setattr(os, "fsync", fsync)
        part.write(np.arange(4), values(np.arange(4)) + 1)
    assert status == [bytes(ROWS)]
    assert (folder / "status.bin").read_bytes() == bytes([DONE] * 4 + [TODO] * 6)


class Failing(io.FileIO):
    """A file that takes seven bytes at a time, and fails where it is told to."""

    left = -1

    def write(self, content: Any) -> int:
        Failing.left -= 1
        if Failing.left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(bytes(content)[:7])


@pytest.mark.parametrize("fails", range(16))
def test_writes_that_are_short_or_fail(
    out: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    with create(out) as part, monkeypatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(
            features, "open", lambda path, *_: io.BufferedRandom(Failing(path, "r+")), raising=False
        )
        patch.setattr(Failing, "left", fails)
        if 0 < fails < 14:  # two for each row, and one for their status
            said = r"f\.h5\.part: cannot be written to .*Input/output.*goes on from here"
            stack.enter_context(pytest.raises(DataError, match=said))
        write(part, *range(6))
    with create(out) as part:
        assert part.done in ([6] if fails in (0, 14, 15) else [0, 6])
        write(part, *range(ROWS))
        part.finish()
    assert contents(out) == expected(range(ROWS))


def test_a_file_that_is_read_back_otherwise_gets_no_name(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def spoil(number: int) -> None:
        real(number)
        content = (out.parent / "f.h5.part" / "new.h5").read_bytes()
        os.pwrite(number, b"\xff", content.index(values(np.array([7])).tobytes()))

    with create(out) as part:
        write(part, *range(ROWS))
        monkeypatch.setattr(os, "fsync", spoil)
        with pytest.raises(DataError, match="read back"):
            part.finish()
        monkeypatch.undo()
        assert not out.exists()
        part.finish()
    assert contents(out) == expected(range(ROWS))


# --- damaged and planted -------------------------------------------------------------------------


NAMES_OF_PARTS = ["status.bin", "rows.bin", "seen.bin", "fingerprint.json"]


@pytest.mark.parametrize("name", NAMES_OF_PARTS)
@pytest.mark.parametrize("how", ["cut", "longer", "gone", "folder", "link", "pipe", "[]", "3"])
def test_a_damaged_part_is_kept_and_said(out: Path, name: str, how: str) -> None:
    """With a way out: the same command alone would say this for ever."""
    if how == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no such files on Windows")
    interrupted(out, 0, 5)
    part = out.with_name("f.h5.part")
    content = (part / name).read_bytes()
    (part / name).unlink()
    if how == "folder":
        (part / name).mkdir()
    elif how == "link":
        (out.parent / "elsewhere").write_bytes(content)
        (part / name).symlink_to(out.parent / "elsewhere")
    elif how == "pipe":
        os.mkfifo(part / name)
    elif how != "gone":
        changed = {"cut": content[:-1], "longer": content + b"x"}.get(how, how.encode())
        (part / name).write_bytes(changed)
    if name == "status.bin" and how in ("gone", "[]", "3"):  # not one row is done
        completed(out)
        assert contents(out) == expected(range(ROWS))
        return
    before = files(part)
    with pytest.raises(DataError, match=r"f\.h5\.part: .*remove it"), create(out):
        pass
    assert files(part) == before


@pytest.mark.parametrize("kind", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize(
    ("name", "begun"),
    [*((name, False) for name in NAMES_OF_PARTS), ("new.h5", False), ("new.h5", True)],
)
def test_no_planted_link_is_followed(
    out: Path, name: str, kind: Callable[[Path, Path], None], begun: bool
) -> None:
    (out.parent / "thesis").write_text("mine")
    part = out.with_name("f.h5.part")
    if begun:
        interrupted(out, 0)
    part.mkdir(exist_ok=True)
    kind(part / name, out.parent / "thesis")
    if name == "status.bin" and kind is Path.symlink_to:
        with pytest.raises(DataError, match="no ordinary file"):
            completed(out)
    else:
        completed(out)
        assert contents(out) == expected(range(ROWS))
    assert (out.parent / "thesis").read_text() == "mine"


FLIPS = """import os, sys
from helpers.errors import DataError
from helpers.features import describe
content = open(sys.argv[1], "rb").read()
for place in range(len(content)):
    changed = bytearray(content)
    changed[place] ^= int(sys.argv[2])
    name = f"{sys.argv[1]}.{place}"
    with open(name, "wb") as file:
        file.write(changed)
    print(place, flush=True)
    try:
        describe(name)
    except DataError:
        pass
    os.remove(name)"""


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 0x80, 0xFF])
def test_a_changed_byte_in_a_finished_file_neither_hangs_nor_crashes(out: Path, bits: int) -> None:
    command = [sys.executable, "-c", FLIPS, str(completed(out)), str(bits)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stdout[-10:] + done.stderr
    assert len(done.stdout.split()) == out.stat().st_size


# --- who else is there ---------------------------------------------------------------------------


@contextlib.contextmanager
def process(script: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which waits after it has said that it is ready."""
    command = [sys.executable, "-c", f"{script}\n    print('ready', flush=True); input()"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([*command, *map(str, arguments)], **streams) as started:  # type: ignore[call-overload]
        assert started.stdout.readline() == "ready\n"
        yield started
        started.kill()


MAKING = """import sys, pathlib; sys.path.append('tests'); import test_features
with test_features.create(pathlib.Path(sys.argv[1])):"""
OPEN = "import sys, h5py\nwith h5py.File(sys.argv[1], 'r+'):"


def test_the_second_is_told_who_is_making_the_file(out: Path) -> None:
    with process(MAKING, out) as other:
        for _ in range(2):  # asking does no harm
            with pytest.raises(DataError, match=rf"process {other.pid} on \S+ is making it now"):
                check_writable(out)
            with pytest.raises(DataError, match=f"process {other.pid}"), create(out):
                pass
        check_writable(out.with_name("other.h5"))
        other.kill()
        other.wait()
        assert (out.parent / "f.h5.part" / "lock").exists(), "it could not clean up"
        completed(out)
    assert files(out.parent) == ["f.h5"]


def test_of_many_threads_one_at_a_time_makes_the_file(out: Path) -> None:
    inside, most, done = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            with contextlib.suppress(DataError), create(out):
                with counting:
                    inside, done, most = inside + 1, done + 1, max(most, inside + 1)
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert done > 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on Windows")
def test_places_where_nothing_can_be_made(tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("missing.h5")
    (tmp_path / "old.part").touch()
    (tmp_path / "link.part").symlink_to(tmp_path)
    before = files(tmp_path)
    no_file = "no ordinary file, expected the name of a file"
    places = {
        tmp_path / "missing" / "f.h5": "no such folder to write f.h5 to",
        tmp_path: no_file,
        tmp_path / "pipe": no_file,
        tmp_path / "nowhere": no_file,
        Path("/dev/null"): no_file,
        Path("/"): no_file,
        tmp_path / "old": r"old\.part: expected a folder.*Move it away",
        tmp_path / "link": r"link\.part: expected a folder.*Move it away",
        mounted("ro") / "f.h5": "cannot be written to",
    }
    for place, said in places.items():
        with pytest.raises(DataError, match=said):
            check_writable(place)
        with pytest.raises(DataError, match=said), create(place):
            pass
    assert files(tmp_path) == sorted([*before, "mount0"])


def test_a_file_that_another_program_has_open_is_left_alone(out: Path) -> None:
    before = completed(out).read_bytes()
    with process(OPEN, out):
        for use in (describe, batches, lambda path: create(path).__enter__()):
            with pytest.raises(DataError, match=r"f\.h5: is open in another program"):
                use(out)
    assert contents(out) == expected(range(ROWS))
    assert len(before) == out.stat().st_size


# --- describe ------------------------------------------------------------------------------------


def test_describe(out: Path) -> None:
    found = describe(completed(out))
    assert found.pop("labels").tolist() == list(range(ROWS))
    assert len(found.pop("filenames")) == ROWS
    assert found == {
        "classes": ["a", "b"], "fingerprint": FINGERPRINT, "shape": (ROWS, 3)
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on Windows")
@pytest.mark.parametrize("use", [describe, batches])
def test_a_pipe_is_not_waited_for(out: Path, use: Callable[..., Any]) -> None:
    os.mkfifo(out)
    with pytest.raises(DataError, match=r"f\.h5: not a features file"):
        use(out)


@pytest.mark.parametrize("use", [describe, batches])
def test_a_missing_file_says_how_to_make_one(out: Path, use: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"f\.h5: no such file.*helpers extract"):
        use(out)
    for content in ("", "text"):
        out.write_text(content)
        with pytest.raises(DataError, match=r"f\.h5: not a features file.*remove it.*helpers ext"):
            use(out)


MISSING = ["labels", "features", "classes", "fingerprint", "json", "list"]


@pytest.mark.parametrize(
    "fault", [*MISSING, "soft", "external", "raw", "virtual", "bomb", "group", "text"]
)
def test_what_is_no_features_file_is_refused(out: Path, fault: str) -> None:
    other = completed(out.with_name("secret.h5"))
    with h5py.File(completed(out), "r+") as file:
        if fault in ("fingerprint", "json", "list"):
            file.attrs["fingerprint"] = "[]" if fault == "list" else "{"
            if fault == "fingerprint":
                del file.attrs["fingerprint"]
        elif fault in file:
            del file[fault]
        else:
            del file["features"]
            layout = h5py.VirtualLayout((ROWS, 3), "f4")
            layout[:] = h5py.VirtualSource(other, "features", (ROWS, 3))
            if fault == "soft":
                file["features"] = h5py.SoftLink("/labels")
            elif fault == "external":
                file["features"] = h5py.ExternalLink(other, "/features")
            elif fault == "raw":
                file.create_dataset("features", (ROWS, 3), "f4", external=[(other, 0, 120)])
            elif fault == "group":
                file.create_group("features")
            elif fault == "text":
                file["features"] = ["text"] * ROWS
            elif fault == "virtual":
                file.create_virtual_dataset("features", layout)
            else:
                file.create_dataset("features", (2**50, 3), "f4", chunks=(1, 3))
    with pytest.raises(DataError, match=r"f\.h5: not a features file"):
        describe(out)


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
    for values, some in found:
        assert values.numpy().tolist() == [[label, 2 * label] for label in some.numpy()]
        labels.append(some.numpy().tolist())
    return labels


def in_order(labels: list[list[int]]) -> list[int]:
    return sorted(itertools.chain.from_iterable(labels))


def test_without_a_seed_the_files_order(numbered: Path) -> None:
    found = batches(numbered, batch_size=5)
    assert len(found) == 5
    for _ in range(2):
        assert epoch(found) == [list(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]
    assert found.options().autotune.enabled is False


def test_with_a_seed_every_epoch_has_every_row_once_in_a_new_order(numbered: Path) -> None:
    one, same, other = (batches(numbered, batch_size=5, seed=seed) for seed in (1, 1, 2))
    epochs = [epoch(one) for _ in range(3)]
    assert all(in_order(labels) == list(range(23)) for labels in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] != epoch(other)
    assert [epoch(same) for _ in range(3)] == epochs


@pytest.mark.parametrize("seed", [None, 3])
def test_only_the_rows_that_were_asked_for(numbered: Path, seed: int | None) -> None:
    rows = np.array([2, 3, 5, 7, 11, 13])
    found = batches(numbered, rows, batch_size=4, seed=seed)
    assert len(found) == 2
    assert in_order(epoch(found)) == rows.tolist() == [2, 3, 5, 7, 11, 13]


def test_keras_can_train_on_them_and_the_file_is_then_free(numbered: Path) -> None:
    found = batches(numbered, batch_size=2, seed=0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(found, validation_data=batches(numbered), epochs=2, shuffle=False, verbose=0)
    with h5py.File(numbered, "r+") as file:  # HDF5 refuses this while it is open anywhere
        file.attrs["changed"] = True


def test_an_epoch_that_is_not_read_to_its_end_changes_no_other(numbered: Path) -> None:
    """As where `fit` is told to take some steps of an epoch only; batches are read ahead."""
    found = batches(numbered, batch_size=2, seed=0)
    begun = iter(found)
    next(begun)
    assert in_order(epoch(found)) == list(range(23))
    assert len(list(begun)) == 11
