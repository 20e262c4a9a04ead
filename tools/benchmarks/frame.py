"""The frame of the benchmarks: contenders take turns, and what counts is the ratio within a turn.

A machine is never quite quiet. Whoever measures one contender for a minute and then the other one
measures the machine's mood; here each runs once in every turn, and the medians of the turns' ratios
are compared with what was aimed at. A benchmark is a file `bench_NAME.py` beside this one:

    def measure(runs: int) -> list[frame.Table]: ...

    if __name__ == "__main__":
        frame.main(measure)

It prints its tables, and they replace the section of RESULTS.md that has the first line of the
file's docstring and the processor as its heading: what a ratio is depends on the processor, too.
`python tools/benchmarks/frame.py` runs all of them, as `make
bench` does. This file needs nothing but Python, for peers run it in an environment of their own.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
PEERS = HERE.parents[1] / ".venv-bench" / "bin" / "python"
PACKAGES = ("keras", "tensorflow", "onnxruntime", "numpy", "h5py", "pillow", "torch", "timm")

INTRODUCTION = """\
# What was measured

Written by `make bench`; each section says when and where. Contenders take turns in one run, and
the ratios are medians of the ratios within the turns: figures of two sections are not comparable.
The AMD EPYC has AVX2 and the Intel Xeon AVX-512, with which TensorFlow is twice as fast, too.
"""


@dataclass(frozen=True)
class Claim:
    """Something that was aimed at: a figure, and the least or the most that it may be."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the figure is what was aimed at."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    def __str__(self) -> str:
        aims = [f"at least {self.least:g}"] if self.least is not None else []
        aims += [f"at most {self.most:g}"] if self.most is not None else []
        said = f"{self.what}: {self.value:.2f}"
        return f"{said} ({' and '.join(aims)}: {'yes' if self.holds else '**no**'})"


@dataclass(frozen=True)
class Table:
    """One table: contender → its values, one a turn, all in one unit; and what is claimed of them.

    `ours` is the contender that the others are compared with, if one is.
    """

    title: str
    unit: str
    values: Mapping[str, Sequence[float]]
    ours: str = ""
    claims: Sequence[Claim] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        def line(*cells: str) -> str:
            return f"| {' | '.join(cells if self.ours else cells[:2])} |"

        heads = f"{self.unit}, median", "lowest … highest", f"{self.ours} ÷ this one"
        lines = [f"### {self.title}", "", line("", *heads), line("---", *["---:"] * 3)]
        for name, values in self.values.items():
            spread = f"{min(values):.4g} … {max(values):.4g}"
            compared = self.ours not in ("", name)
            by = f"{ratio(self.values, self.ours, name):.2f}" if compared else ""
            lines.append(line(name, f"{statistics.median(values):.4g}", spread, by))
        lines += ["", *(f"- {claim}" for claim in self.claims)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


def ratio(values: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """The median of the ratios one ÷ other within the turns."""
    pairs = zip(values[one], values[other], strict=True)
    return statistics.median(a / b for a, b in pairs)


def take_turns(
    contenders: Mapping[str, Callable[[], float]], runs: int = 5, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call each contender in turn, `runs` times; the value of a run is what the call returns.

    Each begins a turn as often as it can, so that none always runs after the same one. The turns
    of warming up come before, and do not count.
    """
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, runs):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            value = contenders[name]()
            if turn >= 0:
                values[name].append(value)
            print(f"turn {turn + 1}/{runs}  {name}: {value:.4g}", file=sys.stderr, flush=True)
    return values


def seconds(function: Callable[[], object]) -> Callable[[], float]:
    """The same function, but what it returns is how long it took."""

    def timed() -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return timed


class Worker:
    """A contender in a process of its own: its threads and its memory get in nobody's way.

    Args:
        script: a file that ends in `frame.serve`.
        name: which of its functions to run.
        python: the interpreter; `PEERS` for what is installed for benchmarks only.
        arguments: what the function is made from.
    """

    def __init__(
        self, script: str | Path, name: str, *arguments: str, python: str | Path = sys.executable
    ) -> None:
        self.name = name
        command = [str(python), str(script), "--serve", name, *arguments]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        # Not what helpers.backend may have set in this process: peers have TensorFlow as it comes.
        environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.versions = json.loads(self._answer())

    def __call__(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(json.loads(self._answer()))

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} stopped:\n{self.errors.read()[-4000:]}")
        return line

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.errors.close()


def once(script: str | Path, name: str, *arguments: str) -> float:
    """Run a contender once, in a fresh process: for the most memory that it takes."""
    worker = Worker(script, name, *arguments)
    try:
        return worker()
    finally:
        worker.close()


def serve(makers: Mapping[str, Callable[..., Callable[[], float]]]) -> bool:
    """Run the contender that the command line asks for with `--serve`; False if it asks for none.

    A maker gets the arguments of the `Worker`, prepares, and returns the function to be measured.
    """
    if sys.argv[1:2] != ["--serve"]:
        return False
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print as they like; answers go their own way
    run = makers[sys.argv[2]](*sys.argv[3:])
    print(json.dumps(versions()), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(run()), file=answers, flush=True)
    return True


def peak_memory_mb(process: int | str = "self") -> float:
    """The most memory that a process has had resident so far (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def versions() -> dict[str, str]:
    """Of the packages that matter here, as far as this environment has them."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(measure: Callable[[int], list[Table]]) -> None:
    """Measure, print the tables, put them into RESULTS.md; exit code 1 if a claim is not met."""
    what = str(sys.modules["__main__"].__doc__).splitlines()[0].rstrip(".")
    title = f"{what} ({_processor()})"
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--runs", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--only-print", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    busy, started = os.getloadavg()[0], time.perf_counter()
    tables = measure(options.runs)
    took = time.perf_counter() - started
    text = "\n\n".join([_where(busy, took), *(str(table) for table in tables)])
    print(f"## {title}\n\n{text}")
    if not options.only_print:
        _keep(title, text)
    sys.exit(0 if all(claim.holds for table in tables for claim in table.claims) else 1)


def _where(busy: float, took: float) -> str:
    said = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"{datetime.date.today()}, {os.cpu_count()} cores, "
        f"{platform.system()}; {said}. Load before it {busy:.1f}; took {took:.0f} s."
    )


def _processor() -> str:
    try:
        (name, *_) = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except (OSError, ValueError):
        return platform.processor() or platform.machine()
    return name.replace("(R)", "").removesuffix(" Processor")


def _keep(title: str, text: str) -> None:
    old = RESULTS.read_text("utf-8") if RESULTS.exists() else INTRODUCTION
    start, *sections = re.split(r"^## ", old, flags=re.MULTILINE)
    kept = {section.splitlines()[0]: section.split("\n", 1)[1].strip() for section in sections}
    kept[title] = text
    body = "".join(f"\n## {name}\n\n{kept[name]}\n" for name in sorted(kept))
    new = RESULTS.with_suffix(".new")
    new.write_text(start.rstrip() + "\n" + body, "utf-8")
    os.replace(new, RESULTS)


if __name__ == "__main__":
    failed = [
        script.stem
        for script in sorted(HERE.glob("bench_*.py"))
        if subprocess.run([sys.executable, str(script), *sys.argv[1:]], check=False).returncode
    ]
    sys.exit(f"not as aimed at: {', '.join(failed)}" if failed else 0)
