"""Fuzzing: damaged files go through a function in a process that is watched.

A target is "module:function", of which the function takes the path of one file. It may return, or
raise one of the course's own errors. Findings are: any other error, the death of the process, more
than `SECONDS` for one file, and more than `MEMORY` bytes on top of what the sound files take.
"""

import collections
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 10
MEMORY = 1_000_000_000
KEPT = Path(__file__).parents[2] / "build" / "fuzz"
EXTREMES = {
    1: (0, 1, 0x7F, 0x80, 0xFE, 0xFF),
    2: (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 10_000),
    4: (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 10_000, 1_000_000),
}


@dataclass
class Figures:
    """What a run has seen; a finding is (what went wrong, the file that did it)."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    megabytes: float = 0.0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: list[tuple[str, Path]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.target}: {self.inputs:,} inputs in {self.seconds:.0f} s "
            f"({self.inputs / self.seconds:.0f}/s), slowest {self.slowest:.2f} s, at most "
            f"{self.megabytes:.0f} MB on top; {len(self.outcomes)} distinct outcomes, "
            f"{len(self.findings)} findings"
        ]
        lines += [f"{count:9,}  {outcome}" for outcome, count in self.outcomes.most_common()]
        lines += [f"  FOUND  {what}  ({path})" for what, path in self.findings]
        return "\n".join(lines)


def mutants(
    sound: Sequence[bytes],
    count: int,
    seed: int,
    repair: Callable[[bytes, random.Random], bytes] = lambda data, _: data,
) -> Iterator[bytes]:
    """Damaged copies of sound files, always the same ones for a seed.

    `repair` may set right what a reader checks first, such as checksums, so that the damage is
    met further in.
    """
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            if data:
                data = chance.choice(DAMAGES)(data, chance, sound)
        yield repair(bytes(data), chance)


def run(target: str, sound: Sequence[bytes], inputs: Iterable[bytes], folder: Path) -> Figures:
    """Give every input to the target; files that lead to findings are kept in `KEPT`.

    `folder` is one to work in.

    Raises:
        ValueError: the target refuses one of the sound files, which would make a run worthless.
    """
    figures, worker = Figures(target), None
    started = time.perf_counter()
    path = folder / "input"
    try:
        for data in inputs:
            worker = worker or _Worker(target, sound, folder)
            path.write_bytes(data)
            answer = worker.ask(path)
            figures.inputs += 1
            figures.slowest = max(figures.slowest, answer["seconds"])
            figures.megabytes = max(figures.megabytes, answer["bytes"] / 1e6)
            if answer["bytes"] > MEMORY:
                answer["found"] = f"{answer['bytes'] / 1e6:.0f} MB on top"
            if answer["found"]:
                KEPT.mkdir(parents=True, exist_ok=True)
                kept = KEPT / hashlib.sha256(data).hexdigest()[:16]
                kept.write_bytes(data)
                figures.findings.append((answer["found"], kept))
                worker.close()  # what it did may have left something behind
                worker = None
            else:
                figures.outcomes[answer["outcome"]] += 1
    finally:
        if worker:
            worker.close()
        path.unlink(missing_ok=True)
    figures.seconds = time.perf_counter() - started
    return figures


class _Worker:
    """The process that has the target in it, and the talk with it: a path, an answer."""

    def __init__(self, target: str, sound: Sequence[bytes], folder: Path) -> None:
        self.errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, __file__, target, str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for i, data in enumerate(sound):
            path = folder / "sound"
            path.write_bytes(data)
            answer = self.ask(path, seconds=120)  # the first one waits for the imports
            if answer["found"] or answer["outcome"] != "accepted":
                self.close()
                raise ValueError(f"{target}: sound file {i}: {answer}")
        self.ask("limit")

    def ask(self, path: Path | str, seconds: float | None = None) -> dict[str, Any]:
        seconds = seconds or SECONDS
        assert self.process.stdin and self.process.stdout
        late = threading.Timer(seconds, self.process.kill)
        late.start()
        started = time.perf_counter()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        passed = time.perf_counter() - started
        late.cancel()
        if line:
            return json.loads(line) | {"seconds": passed}
        what = f"died with code {self.process.wait()}: {self._last_words()}"
        if passed >= seconds:
            what = f"more than {seconds} s"
        return {"found": what, "outcome": "", "bytes": 0, "seconds": passed}

    def _last_words(self) -> str:
        self.errors.seek(0)
        return " ".join(self.errors.read()[-500:].split())

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


def _flip(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    data[_somewhere(data, chance)] ^= 1 << chance.randrange(8)
    return data


def _noise(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    at = _somewhere(data, chance)
    data[at : at + chance.choice((1, 2, 4, 30))] = chance.randbytes(chance.choice((1, 2, 4, 30)))
    return data


def _extreme(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    size = chance.choice((1, 2, 4))
    number = chance.choice(EXTREMES[size])
    at = _somewhere(data, chance)
    data[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
    return data


def _truncate(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    return data[: _somewhere(data, chance)]


def _delete(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    at = _somewhere(data, chance)
    del data[at : at + chance.choice((1, 4, 40, 400))]
    return data


def _repeat(data: bytearray, chance: random.Random, _: Any) -> bytearray:
    at, size = _somewhere(data, chance), chance.choice((1, 4, 40, 400))
    return data[: at + size] + data[at : at + size] * chance.choice((1, 1, 20)) + data[at + size :]


def _splice(data: bytearray, chance: random.Random, sound: Sequence[bytes]) -> bytearray:
    other = chance.choice(sound)
    return data[: _somewhere(data, chance)] + other[_somewhere(other, chance) :]


DAMAGES = (_flip, _noise, _extreme, _extreme, _truncate, _delete, _repeat, _splice)


def _somewhere(data: bytes | bytearray, chance: random.Random) -> int:
    """A place in the file; places near its start, where the headers are, more often.

    The first eight bytes are mostly spared: readers look at them to see what kind of file it is.
    """
    end = min(len(data), chance.choice((32, 128, 1024, len(data)))) or 1
    return chance.randrange(min(8, end - 1) if chance.random() < 0.9 else 0, end)


def _work(target: str, memory: int) -> None:
    """What the process does: reads paths from its input, and answers a line of JSON to each."""
    from helpers.errors import HelpersError

    answers, sys.stdout = sys.stdout, sys.stderr
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    base = 0
    for line in sys.stdin:
        found = outcome = ""
        if line.strip() == "limit":
            base = _limit(memory)
        else:
            try:
                function(Path(line.strip()))
                outcome = "accepted"
            except HelpersError as error:
                text = str(error).replace(line.strip(), "FILE")
                outcome = f"{type(error).__name__}: {re.sub(r'[0-9]+', '#', text)[:100]}"
                if "Unable to allocate" in text:  # an array: only this process's limit stopped it
                    found = outcome
            except Exception:  # every other error is what is looked for here
                found = " | ".join(traceback.format_exc().strip().splitlines()[-3:])
        more = max(_peak() - base, 0) if base else 0
        print(json.dumps({"found": found, "outcome": outcome, "bytes": more}), file=answers)
        answers.flush()


def _limit(memory: int) -> int:
    """Twice `memory` on top is the end of it, for the machine's sake; tells what is used so far."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * memory, used + 2 * memory))
    # The peak begins anew: TensorFlow's import took more for a while, which would hide as much.
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    # Not `getrusage`, whose maximum begins with the memory of the process that started this one.
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]))
