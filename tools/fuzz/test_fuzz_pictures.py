"""Damaged pictures: a short run with `pytest tools/fuzz`, a long one with `make fuzz`."""

import os
import sys
from pathlib import Path

import fuzzing
import pictures
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does it")

INPUTS = int(os.environ.get("FUZZ_INPUTS", "3000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


def test_damaged_pictures_give_a_picture_or_our_error(tmp_path: Path) -> None:
    sound = pictures.sound()
    inputs = fuzzing.mutants(sound, INPUTS, SEED, pictures.repair)
    figures = fuzzing.run("pictures:read", sound, inputs, tmp_path)
    print(f"\nseed {SEED}: {figures}")
    assert figures.inputs == INPUTS
    assert figures.outcomes["accepted"] > INPUTS / 10, "hardly any damage gets past the header"
    assert len(figures.outcomes) > min(10, INPUTS / 10)
    assert not figures.findings, str(figures)


# --- the fuzzer itself finds what it looks for ---------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"other error", "ZeroDivisionError"),
        (b"hang", "more than 2 s"),
        (b"die", "died with code -11"),
        (b"memory", "MB on top"),
        (b"far too much memory", "MemoryError"),
    ],
)
def test_every_kind_of_finding_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, found: str
) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 2)
    monkeypatch.setattr(fuzzing, "MEMORY", 50_000_000)
    monkeypatch.setattr(fuzzing, "KEPT", tmp_path / "kept")
    figures = fuzzing.run(
        "test_fuzz_pictures:fault", [b"sound"], [b"fine", data, b"ours"], tmp_path
    )
    assert figures.inputs == 3
    assert figures.outcomes == {"accepted": 1, "PictureError: # of FILE": 1}
    [(what, path)] = figures.findings
    assert found in what
    assert path.read_bytes() == data


def test_a_target_that_refuses_sound_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sound file 1: .*PictureError"):
        fuzzing.run("test_fuzz_pictures:fault", [b"sound", b"ours"], [b"x"], tmp_path)


def test_a_seed_stands_for_its_mutants() -> None:
    sound = pictures.sound()
    one, same, other = (list(fuzzing.mutants(sound, 50, seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert not set(one) & set(sound)


def fault(path: Path) -> None:
    """A target with every kind of fault."""
    from helpers.errors import PictureError

    data = path.read_bytes()
    if data == b"other error":
        raise ZeroDivisionError
    if data == b"hang":
        import time

        time.sleep(60)
    if data == b"die":
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"memory":
        path.write_bytes(b"x" * 70_000_000)
    if data == b"far too much memory":
        path.write_bytes(b"x" * 200_000_000)
    if data == b"ours":
        raise PictureError(f"12 of {path}")
