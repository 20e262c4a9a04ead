"""Extractions that are killed and taken up again; test_bottlenecks.py runs it in a new process.

`python killed.py FOLDER WORK SEED KILLS` prints what happened as JSON. Every extraction is a
process of its own, forked from this one, which imports no TensorFlow: forking is safe, and takes no
time. What is tested is what becomes of the files; so the network is a few numbers of each picture.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers import bottlenecks, images
from helpers.engine import Engine

BATCH = 4
ROOMS = ("partfile.py", "bottlenecks.py", "datasets.py")
GROUPS = {
    "start": ("held", "lay_out", "_lay_out", "_fingerprint", "_same", "__init__", "make"),
    "rows": ("read", "stats", "changed", "step", "look"),
    "flushes": ("keep", "write", "set_status"),
    "rename": ("finish", "_copy", "__exit__"),
}
Moment = tuple[str, int]


class Network:
    """As much of a `zoo.Network` as extraction asks for."""

    name, input_size = "Numbers", 16
    entry = types.SimpleNamespace(preprocessing="none")
    model = types.SimpleNamespace(weights=[], output_shape=(None, 48))

    def preprocess(self, pictures: list[np.ndarray]) -> np.ndarray:
        return np.stack([images.crop(picture, 16) for picture in pictures]).astype("float32")


def extraction(folder: Path, out: Path, at_once: int) -> None:
    """One extraction; notes beside the file how many pictures were computed, as it begins to."""
    notes = os.open(out.with_suffix(".computed"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def run(batch: np.ndarray) -> np.ndarray:
        os.write(notes, b"x" * len(batch))
        time.sleep(0.001)
        return batch[:, ::4, ::4].reshape(len(batch), -1)

    engine = Engine("numbers", run, at_once)
    bottlenecks.extract(folder, out, Network(), BATCH, progress=False, engine=engine)  # type: ignore[arg-type]


def forked(work: Callable[[], None]) -> int:
    """Begins some work in a process of its own."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    """Waits for a process; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def traced(work: Callable[[], None], at: Callable[[str], None]) -> Callable[[], None]:
    """The same work, with `at` called before each line of the rooms, with its function's name."""

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(ROOMS):
            return None
        if event == "line":
            at(frame.f_code.co_name)
        return trace

    def run() -> None:
        threading.settrace(trace)
        sys.settrace(trace)
        work()

    return run


def killed_at(work: Callable[[], None], moment: Moment) -> Callable[[], None]:
    """The same work, which kills itself before the n-th line that is of a group of functions."""
    group, left = moment

    def at(function: str) -> None:
        nonlocal left
        left -= function in GROUPS[group]
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return traced(work, at)


def killed_in_rename(work: Callable[[], None], out: Path) -> Callable[[], None]:
    """The same work, which kills itself instead of giving the file its name."""
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if target == out:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    def run() -> None:
        os.replace = stop  # type: ignore[assignment]
        work()

    return run


def arrays(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {name: (str(file[name].dtype), file[name][:].tolist()) for name in file}


def lines(work: Callable[[], None], notes: Path) -> dict[str, int]:
    """How many lines of each group an uninterrupted run goes through."""
    counts = dict.fromkeys(GROUPS, 0)

    def at(function: str) -> None:
        for group, functions in GROUPS.items():
            counts[group] += function in functions

    def run() -> None:
        traced(work, at)()
        notes.write_text(json.dumps(counts))

    assert ended(forked(run)) == 0
    return json.loads(notes.read_text())


def main() -> None:
    folder, work, seed, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    chance = random.Random(seed)
    whole = work / "whole.h5"
    started = time.perf_counter()
    assert ended(forked(lambda: extraction(folder, whole, 1))) == 0
    seconds = time.perf_counter() - started
    count = lines(lambda: extraction(folder, work / "lines.h5", 1), work / "lines.json")
    expected, pictures = arrays(whole), whole.with_suffix(".computed").stat().st_size
    done = dict.fromkeys([*GROUPS, "any time", "instead of the rename"], 0)
    problems = []
    trial = 0
    # How often a moment is hit depends on the machine: go on until each has been.
    while (sum(done.values()) < kills or min(done.values()) < 2) and trial < 10 * kills:
        trial += 1
        out = work / f"{trial}.h5"
        at_once = 1 + trial % 2

        def extract(out: Path = out, at_once: int = at_once) -> None:
            extraction(folder, out, at_once)

        died = 0
        for _ in range(chance.randint(1, 3)):
            how = chance.choice(list(done))
            if how == "any time":
                pid = forked(extract)
                time.sleep(chance.uniform(0, seconds))
                os.kill(pid, signal.SIGKILL)
            elif how == "instead of the rename":
                pid = forked(killed_in_rename(extract, out))
            else:
                pid = forked(killed_at(extract, (how, chance.randint(1, count[how]))))
            code = ended(pid)
            if code not in (0, -signal.SIGKILL):
                problems.append(f"{trial}: killed {how}: exit code {code}")
            if code == -signal.SIGKILL:
                died += 1
                done[how] += 1
        before = out.with_suffix(".computed").stat().st_size if died else 0
        if ended(forked(extract)) != 0:
            problems.append(f"{trial}: cannot be taken up")
            continue
        computed = out.with_suffix(".computed").stat().st_size
        if how == "instead of the rename" and code != 0 and computed != before:
            problems.append(
                f"{trial}: {computed - before} computed, where only the name was missing"
            )
        if computed > pictures + died * BATCH:
            problems.append(f"{trial}: {computed} computed, of {pictures}, with {died} kills")
        if arrays(out) != expected:
            problems.append(f"{trial}: other arrays")
        left = {path.name for path in work.glob(f"{trial}.*")} - {out.name, f"{trial}.computed"}
        if left:
            problems.append(f"{trial}: left behind {left}")
    print(json.dumps({"kills": done, "problems": problems, "pictures": pictures}))


if __name__ == "__main__":
    main()
