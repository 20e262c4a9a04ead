"""Damaged weight files: a short run with `pytest tools/fuzz`, a long one with `make fuzz`."""

import itertools
import os
import sys
from pathlib import Path

import fuzzing
import numpy as np
import pytest
import weight_files

from helpers import h5files
from helpers.errors import WeightsError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does it")

# A twentieth of the pictures' number: a file is opened three times here, and loaded into a model.
INPUTS = int(os.environ.get("FUZZ_INPUTS", "3000")) // 20
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.fixture(autouse=True)
def small_files_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MEMORY", 250_000_000)


def test_damaged_weight_files_load_or_give_our_error_and_change_nothing(tmp_path: Path) -> None:
    sound = [*weight_files.sound().values()]
    damaged = fuzzing.mutants(sound, INPUTS // 2, SEED)
    lying = weight_files.lies(sound, INPUTS - INPUTS // 2, SEED)
    inputs = itertools.chain(damaged, lying)
    figures = fuzzing.run("weight_files:read", sound, inputs, tmp_path)
    print(f"\nseed {SEED}: {figures}")
    assert figures.inputs == INPUTS
    assert figures.outcomes["accepted"] > INPUTS / 10, "hardly any damage gets past the header"
    assert len(figures.outcomes) > min(10, INPUTS / 10)
    assert not figures.findings, str(figures)


@pytest.mark.parametrize("layout", weight_files.LAYOUTS)
def test_one_other_byte(tmp_path: Path, layout: str) -> None:
    sound = weight_files.sound()[layout]
    inputs = weight_files.flips(sound, INPUTS, SEED)
    figures = fuzzing.run("weight_files:read", [sound], inputs, tmp_path)
    read = figures.outcomes["accepted"]
    print(
        f"\n{layout}: {read:,} read, {figures.inputs - read:,} refused, "
        f"slowest {figures.slowest:.2f} s, {figures.megabytes:.0f} MB"
    )
    assert not figures.findings, str(figures)


class Model:
    """As much of a model as the target asks for."""

    def __init__(self) -> None:
        self.weights = [np.zeros(3)]

    def get_weights(self) -> list[np.ndarray]:
        return self.weights

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = weights


def test_a_model_that_a_refused_file_has_changed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(model: Model, _: Path, **__: bool) -> None:
        model.set_weights([np.ones(3)])
        raise WeightsError("found too late")

    (tmp_path / "x.h5").write_bytes(weight_files.sound()["numbers"])
    model = Model()
    monkeypatch.setattr(weight_files, "_model", lambda: (model, model.get_weights()))
    monkeypatch.setattr(h5files, "load_weights", careless)
    with pytest.raises(AssertionError, match="was refused, and the model was changed"):
        weight_files.read(tmp_path / "x.h5")
