"""Extractions that are killed, or whose disk fails; test_bottlenecks.py runs this as a process.

`killed.py kills FOLDER WORK SEED KILLS` and, with the library of faultinjection preloaded,
`killed.py faults FOLDER WORK MODE [STICKY]` print what happened as JSON. Every extraction is a
process of its own, forked from this one, which imports no TensorFlow: forking is safe, and takes no
time.
"""

import collections
import json
import mmap
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

from helpers import bottlenecks
from helpers.engine import Engine
from helpers.errors import DataError

BATCH = 4
Work = Callable[[], object]


class Numbers:
    """A network as far as extraction looks at it: its features are some of the pixels."""

    name, input_size = "Numbers", 16
    entry = types.SimpleNamespace(preprocessing="none")
    model = types.SimpleNamespace(weights=[], output_shape=(None, 48))


def pixels(batch: np.ndarray) -> np.ndarray:
    return batch[:, ::4, ::4].reshape(len(batch), -1)


def extract(folder: Path, out: Path, **options: Any) -> bottlenecks.Extraction:
    """Without Keras, and without the bar."""
    usual = {"batch_size": BATCH, "progress": False, "engine": Engine("pixels", pixels)}
    network: Any = Numbers()
    merged: Any = usual | options
    return bottlenecks.extract(folder, out, network, **merged)


def arrays(path: Path) -> dict[str, Any]:
    """All that is in a file, to compare with what is in another one."""
    with h5py.File(path) as file:
        found = {name: (str(file[name].dtype), file[name][:].tolist()) for name in file}
        return found | dict(file.attrs)


class Computed:
    """How many pictures all processes together began to compute: in memory that they share."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 10_000)

    def __len__(self) -> int:
        return self.memory[:].count(b"x")

    def clear(self) -> None:
        self.memory[:] = bytes(len(self.memory))

    def run(self, batch: np.ndarray) -> np.ndarray:
        done = len(self)
        self.memory[done : done + len(batch)] = b"x" * len(batch)
        return pixels(batch)


def ended(work: Work, seconds: float | None = None, tidily: bool = False) -> int:
    """Do some work in a process of its own, killed after some seconds.

    If it ends tidily, which takes longer, libraries have their last word: HDF5 has crashed then.

    Returns:
        0; 3, it ended with a DataError; 4, with another error; or minus the signal that ended it.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            work()
        except DataError:
            code = 3
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = 4
        if tidily:
            sys.exit(code)
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at_line(work: Work, lines: int) -> Work:
    """The same work, which kills itself before so many lines of ours have run."""

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(("features.py", "bottlenecks.py")):
            return None
        lines -= event == "line"
        if lines == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def run() -> None:
        threading.settrace(trace)
        sys.settrace(trace)
        work()

    return run


def kills(folder: Path, work: Path, seed: str, count: int) -> dict[str, Any]:
    chance = random.Random(seed)
    whole, computed = work / "whole.h5", Computed()

    def extraction(out: Path, at_once: int = 1) -> Work:
        return lambda: extract(folder, out, engine=Engine("counting", computed.run, at_once))

    started = time.perf_counter()
    assert ended(extraction(whole)) == 0
    seconds = time.perf_counter() - started
    expected, pictures = arrays(whole), len(computed)
    lines = 1900  # about as many as an extraction of forty pictures runs
    done: collections.Counter[str] = collections.Counter()
    problems, trial = [], 0
    while done.total() < count:
        trial += 1
        out = work / f"{trial}.h5"
        once = extraction(out, at_once=1 + trial % 2)
        computed.clear()
        died = 0
        for _ in range(chance.randint(1, 3)):
            how = chance.choice(["any time", "at a line"])
            if how == "any time":
                code = ended(once, chance.uniform(0, seconds))
            else:
                code = ended(killed_at_line(once, chance.randint(1, lines)))
            if code == -signal.SIGKILL:
                died += 1
                done[how] += 1
            elif code:
                problems.append(f"{trial}: killed {how}: exit code {code}")
        if ended(once) != 0:
            problems.append(f"{trial}: cannot be taken up")
            continue
        if len(computed) > pictures + died * BATCH:
            problems.append(f"{trial}: {len(computed)} computed, with {died} kills")
        if arrays(out) != expected:
            problems.append(f"{trial}: other arrays")
        left = {path.name for path in work.glob(f"{trial}.*")} - {out.name}
        if left:
            problems.append(f"{trial}: left behind {left}")
    return {"kills": done, "pictures": pictures, "problems": problems}


def faults(folder: Path, work: Path, mode: str, sticky: bool) -> dict[str, Any]:
    """One extraction for each call that changes a file, in which this call fails or kills it.

    If sticky, all calls after it fail too.
    """
    computed = Computed()

    def extraction(out: Path, **environment: str) -> Work:
        def run() -> None:
            os.environ |= environment
            extract(folder, out, engine=Engine("counting", computed.run))

        return run

    out = work / "whole.h5"
    assert ended(extraction(out, KILL_COUNT=str(work / "calls")), tidily=True) == 0
    calls, expected, pictures = int((work / "calls").read_text()), arrays(out), len(computed)
    how = {"KILL_MODE": mode} | ({"KILL_STICKY": "1"} if sticky else {})
    ends: collections.Counter[str] = collections.Counter()
    problems = []
    for call in range(1, calls + 1):
        out = work / f"{call}.h5"
        computed.clear()
        code = ended(extraction(out, **how, KILL_N=str(call)), tidily=True)
        known = {0: "right", 3: "said", -signal.SIGKILL: "killed"}
        ends[known.get(code, f"exit code {code}")] += 1
        if (code == 0 or out.exists()) and arrays(out) != expected:
            problems.append(f"{call}: a wrong file, exit code {code}")
        if ended(extraction(out)) != 0:
            problems.append(f"{call}: cannot be taken up")
        elif arrays(out) != expected:
            problems.append(f"{call}: a wrong file, when taken up")
        if len(computed) > pictures + BATCH:
            problems.append(f"{call}: {len(computed)} computed")
        if left := {path.name for path in work.glob(f"{call}.*")} - {out.name}:
            problems.append(f"{call}: left behind {left}")
    return {"calls": calls, "ends": ends, "problems": problems}


if __name__ == "__main__":
    what, folder, work, *rest = sys.argv[1:]
    if what == "kills":
        found = kills(Path(folder), Path(work), rest[0], int(rest[1]))
    else:
        found = faults(Path(folder), Path(work), rest[0], sticky="sticky" in rest)
    print(json.dumps(found))
