import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT

from helpers import partfile
from helpers.errors import DataError
from helpers.partfile import DONE, SKIPPED, TODO, Part, held, lay_out

ROWS = 10


def laid_out(part: Path, rows: int = ROWS, columns: int = 3) -> Path:
    names = [f"a/{number}.png".encode() for number in range(rows)]
    lay_out(part, (columns,), np.arange(rows), names, {"classes": ["a"], "fingerprint": {"n": 1}})
    return part


def features(rows: np.ndarray) -> np.ndarray:
    return np.repeat(rows, 3).reshape(-1, 3).astype("float32")


def completed(part: Path, skipped: tuple[int, ...] = ()) -> Path:
    with Part(laid_out(part)) as open_part:
        rows = np.setdiff1d(np.arange(ROWS), skipped)
        open_part.write(rows, features(rows), np.array(skipped, "int64"))
    return part


def read(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {name: file[name][:].tolist() for name in file} | {
            name: value if isinstance(value, str) else value.tolist()
            for name, value in file.attrs.items()
        }


def expected(rows: list[int]) -> dict[str, Any]:
    return {
        "features": [[row] * 3 for row in rows],
        "labels": rows,
        "filenames": [f"a/{row}.png".encode() for row in rows],
        "classes": ["a"],
        "fingerprint": '{"n": 1}',
    }


# --- the right to make a file --------------------------------------------------------------------


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which is making f.h5."""
    script = (
        "import sys; from pathlib import Path; from helpers.partfile import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "f.h5")]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **streams) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_is_making_the_file(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    said = rf"f\.h5: process {holder.pid} on \S+ is making it now"
    for _ in range(2):  # asking does no harm
        with pytest.raises(DataError, match=said), held(tmp_path / "f.h5"):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["f.part.lock"]
    with held(tmp_path / "other.h5") as part:
        assert part == tmp_path / "other.part.h5"


def test_the_lock_of_a_dead_process_frees_itself(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "f.part.lock").exists(), "it could not clean up"
    with held(tmp_path / "f.h5"):
        assert str(os.getpid()) in (tmp_path / "f.part.lock").read_text()
    assert not list(tmp_path.iterdir())


def test_of_many_threads_one_at_a_time_makes_the_file(tmp_path: Path) -> None:
    inside, most, refused, held_ones = 0, 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, refused, held_ones
        for _ in range(50):
            try:
                with held(tmp_path / "f.h5"):
                    with counting:
                        inside += 1
                        most = max(most, inside)
                        held_ones += 1
                    with counting:
                        inside -= 1
            except DataError:
                with counting:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, held_ones + refused) == (1, 200)
    assert held_ones > 0


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "f.h5"):
        raise ZeroDivisionError
    with held(tmp_path / "f.h5"):
        pass


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    said = "missing: no such folder to write f.h5 to"
    with pytest.raises(DataError, match=said), held(tmp_path / "missing" / "f.h5"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_where_a_file_was_meant_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, expected the name"), held(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_said(mounted: Callable[[str], Path]) -> None:
    folder = mounted("ro")
    said = r"cannot be written to \(Read-only file system\)\. Give another place for f\.h5"
    with pytest.raises(DataError, match=said), held(folder / "f.h5"):
        pass


# --- laying out ----------------------------------------------------------------------------------


def test_a_new_file_has_its_rows_and_none_is_done(tmp_path: Path) -> None:
    found = read(laid_out(tmp_path / "f.part.h5"))
    assert found.pop("status") == [TODO] * ROWS
    assert found == expected(list(range(ROWS))) | {"features": [[0.0] * 3] * ROWS}
    assert [path.name for path in tmp_path.iterdir()] == ["f.part.h5"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much disk a file has taken")
def test_a_new_file_has_taken_its_disk(tmp_path: Path) -> None:
    found = laid_out(tmp_path / "f.part.h5", columns=100_000).stat()
    assert found.st_blocks * 512 >= ROWS * 100_000 * 4
    assert found.st_blocks * 512 >= found.st_size - 4096


def test_the_file_does_not_grow_when_it_is_filled(tmp_path: Path) -> None:
    before = laid_out(tmp_path / "f.part.h5").stat().st_size
    assert completed(tmp_path / "f.part.h5").stat().st_size == before


@pytest.mark.parametrize("known", [True, False])
def test_a_disk_that_is_too_small_is_said(
    mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Known beforehand; or only as HDF5 writes, where there are quotas, or others write too."""
    folder = mounted("size=2m")
    real = partfile.shutil.disk_usage(folder)
    if not known:
        monkeypatch.setattr(partfile.shutil, "disk_usage", lambda _: real._replace(free=10**9))
    free = real.free if known else 10**9
    said = (
        rf"(?s)f\.part\.h5: .*it needs 40,\d\d\d,\d\d\d bytes, and {free:,} are free on that disk"
    )
    with pytest.raises(DataError, match=said) as caught:
        laid_out(folder / "f.part.h5", columns=1_000_000)
    assert "Nothing was computed" in str(caught.value)
    assert ("No space left on device" in str(caught.value)) == (not known)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 100_000), (3000, 1), (3000, 1000)])
def test_what_a_file_needs_is_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    part = tmp_path / "f.part.h5"
    size = laid_out(part, rows, columns).stat().st_size
    none = partfile.shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(partfile.shutil, "disk_usage", lambda _: none)
    with pytest.raises(DataError) as caught:
        laid_out(part, rows, columns)
    needed = int(str(caught.value).split("needs ")[1].split(" bytes")[0].replace(",", ""))
    assert size <= needed <= size + 65536 + 60 * rows


# --- rows ----------------------------------------------------------------------------------------


def test_steps_are_the_same_whatever_is_done_already(tmp_path: Path) -> None:
    with Part(laid_out(tmp_path / "f.part.h5")) as part:
        assert [rows.tolist() for rows in part.steps(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        part.write(np.array([4, 5, 6, 7]), features(np.array([4, 5, 6, 7])), np.array([], int))
        part.write(np.array([0]), features(np.array([0])), np.array([2]))
        assert [rows.tolist() for rows in part.steps(4)] == [[1, 2, 3], [8, 9]]
    assert read(tmp_path / "f.part.h5")["status"] == [1, 0, 2, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("rows", [[2, 3, 4], [0, 3, 9], [7]])
def test_rows_go_where_they_belong(tmp_path: Path, rows: list[int]) -> None:
    with Part(laid_out(tmp_path / "f.part.h5")) as part:
        part.write(np.array(rows), features(np.array(rows)), np.array([], int))
    found = read(tmp_path / "f.part.h5")
    for row in range(ROWS):
        assert found["features"][row] == [row if row in rows else 0] * 3
        assert found["status"][row] == (DONE if row in rows else TODO)


def test_a_status_never_speaks_of_rows_that_are_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill at each flush would leave."""
    part = laid_out(tmp_path / "f.part.h5")
    real, states = h5py.File.flush, list[bytes]()

    def flush(file: h5py.File) -> None:
        real(file)
        states.append(part.read_bytes())

    with Part(part) as open_part, monkeypatch.context() as patch:
        patch.setattr(h5py.File, "flush", flush)
        open_part.write(np.arange(4), features(np.arange(4)) + 1, np.array([5]))
        states.append(part.read_bytes())
    assert len(states) == 3
    for state, done in zip(states, (0, 4, 4), strict=True):
        part.write_bytes(state)
        found = read(part)
        assert found["features"][:4] == [[row + 1.0] * 3 for row in range(4)]
        assert found["status"].count(DONE) == done


# --- finishing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("skipped", [(), (0,), (3, 4, 9)])
@pytest.mark.parametrize("at_once", [1, 3, 1024])
def test_the_finished_file_has_the_rows_that_are_done(
    tmp_path: Path, skipped: tuple[int, ...], at_once: int
) -> None:
    with Part(completed(tmp_path / "f.part.h5", skipped)) as part:
        part.finish(tmp_path / "f.h5", at_once)
    assert read(tmp_path / "f.h5") == expected([row for row in range(10) if row not in skipped])
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


class Recorder(io.BytesIO):
    """A file that notes what is written to it, piece by piece."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.states: list[bytes] = [content]

    def write(self, piece: Any) -> int:
        written = super().write(piece)
        self.states.append(self.getvalue())
        return written


def test_whatever_a_kill_leaves_of_the_status_the_finished_file_is_the_same(
    tmp_path: Path,
) -> None:
    """HDF5 takes the status out of the file in several writes, and a kill can come between."""
    content = completed(tmp_path / "f.part.h5").read_bytes()
    recorder = Recorder(content)
    with h5py.File(recorder, "r+") as file:
        del file["status"]
    assert len(recorder.states) > 3
    names = set()
    for state in recorder.states:
        (tmp_path / "f.part.h5").write_bytes(state)
        with Part(tmp_path / "f.part.h5") as part:
            names.add(tuple(part.file))
            assert not list(part.steps(3)), "nothing is computed again"
            part.finish(tmp_path / "f.h5")
        assert read(tmp_path / "f.h5") == expected(list(range(ROWS)))
        (tmp_path / "f.h5").unlink()
    assert len(names) > 2, "there is a state between having a status and having none"


def test_no_room_for_the_copy_without_skipped_rows_loses_nothing(
    mounted: Callable[[str], Path],
) -> None:
    folder = mounted("size=1m")
    part = laid_out(folder / "f.part.h5", columns=15_000)
    with Part(part) as open_part:
        rows = np.arange(1, ROWS)
        open_part.write(rows, np.ones((9, 15_000), "float32"), np.array([0]))
        with pytest.raises(DataError, match="1 files were skipped, and there is no room"):
            open_part.finish(folder / "f.h5")
    assert [path.name for path in folder.iterdir()] == ["f.part.h5"]
    found = read(part)
    assert found["status"] == [SKIPPED] + [DONE] * 9
    assert found["features"][1:] == [[1.0] * 15_000] * 9
