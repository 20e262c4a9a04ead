"""A training that is watched, stopped, and goes on; in a browser see tests/test_browser.py."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers import plots
from helpers.backend import keras
from helpers.monitor import TrainingMonitor

STEPS, ROWS = 20, 160


class Tiny:
    """A model whose steps take a while, and a record of how `fit` was called."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        self.x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype("float32")
        self.y = (self.x[:, 0] > 0).astype(int)
        self.calls: list[tuple[int, int]] = []
        self.seconds = 0.0
        self.at_step: Callable[[int], None] = lambda step: None
        self.steps = 0

    def fit(self, **how: Any) -> Any:
        self.calls.append((how["initial_epoch"], how["epochs"]))
        wait = keras.callbacks.LambdaCallback(on_train_batch_end=self._step)
        how["callbacks"] = [wait, *how["callbacks"]]
        return self.model.fit(self.x, self.y, batch_size=ROWS // STEPS, verbose=0, **how)

    def _step(self, batch: int, logs: Any) -> None:
        self.steps += 1
        self.at_step(self.steps)
        time.sleep(self.seconds)


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


def test_it_trains_beside_the_cell_and_draws_each_epoch(tiny: Tiny) -> None:
    monitor = TrainingMonitor(tiny.fit, epochs=3)
    history = monitor.wait()
    assert sorted(history) == ["accuracy", "loss"]
    assert len(history["loss"]) == monitor.done == 3
    assert history["loss"][-1] < history["loss"][0]
    assert monitor.said.startswith("finished after 3 of 3 epochs, loss ")
    assert 'alt="epoch 3 of 3 is done' in monitor.figure.value
    assert monitor.stop_button.disabled and not monitor.go_on_button.disabled


def test_it_stops_after_the_batch_at_hand_and_goes_on_with_the_epoch(tiny: Tiny) -> None:
    reached = threading.Event()

    def stop_in_the_second_epoch(step: int) -> None:
        if step == STEPS + 3:
            monitor.stop_button.click()
            reached.set()

    tiny.at_step = stop_in_the_second_epoch
    monitor = TrainingMonitor(tiny.fit, epochs=3)
    assert len(monitor.wait()["loss"]) == 1
    assert reached.is_set()
    assert tiny.steps == STEPS + 3, "no batch more, and the part of an epoch is not on the curve"
    assert monitor.said.startswith("stopped after 1 of 3 epochs")
    middle = tiny.model.get_weights()
    monitor.go_on_button.click()
    assert len(monitor.wait()["loss"]) == 3
    assert tiny.calls == [(0, 3), (1, 3)]
    assert not np.array_equal(middle[0], tiny.model.get_weights()[0])
    monitor.go_on_button.click()
    assert len(monitor.wait()["loss"]) == 6, "after the last epoch, as many again"
    assert tiny.calls[-1] == (3, 6)


def test_stopped_in_the_first_epoch_it_has_no_curve_yet(tiny: Tiny) -> None:
    tiny.at_step = lambda step: monitor.stop()
    monitor = TrainingMonitor(tiny.fit, epochs=1)
    assert monitor.wait() == {"loss": []}
    assert monitor.said == "stopped after 0 of 1 epochs."
    assert plots.curves({"model": monitor.history}, "None yet").data


def test_it_says_how_far_it_is(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    said, now = set(), [100.0]

    def listen(step: int) -> None:
        said.add(monitor.said)
        now[0] += 0.05

    clock = SimpleNamespace(monotonic=lambda: now[0])  # a step takes as long on every machine
    monkeypatch.setattr("helpers.monitor.time", clock)
    tiny.at_step, tiny.seconds = listen, 0.05
    monitor = TrainingMonitor(tiny.fit, epochs=1)
    assert not monitor.stop_button.disabled and monitor.go_on_button.disabled
    monitor.wait()
    assert any(f"epoch 1 of 1, step {n} of {STEPS}" in words for n in (7, 8, 9) for words in said)


def test_what_fit_raises_is_shown_and_raised_to_who_waits() -> None:
    def fit(**how: Any) -> None:
        raise ValueError("<script>no</script>")

    monitor = TrainingMonitor(fit, epochs=1)
    with pytest.raises(ValueError, match="<script>no"):
        monitor.wait()
    assert monitor.said == "ValueError: <script>no</script>"
    assert "<script" not in monitor.line.value
    assert not monitor.go_on_button.disabled


def test_a_cell_that_is_run_again_stops_the_training_before(tiny: Tiny) -> None:
    tiny.seconds = 0.02
    first = TrainingMonitor(tiny.fit, epochs=50)
    second = TrainingMonitor(tiny.fit, epochs=1)
    assert not first.thread.is_alive()
    assert first.said.startswith("stopped")
    assert len(second.wait()["loss"]) == 1


def test_an_interrupted_wait_stops_the_training(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.seconds = 0.02
    monitor = TrainingMonitor(tiny.fit, epochs=50)
    real = monitor.thread.join

    def join() -> None:
        monkeypatch.setattr(monitor.thread, "join", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor.thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        monitor.wait()
    assert not monitor.thread.is_alive()
    assert monitor.done < 50
