"""What the panels show, without a browser; test_browser.py uses them in one."""

import base64
import dataclasses
import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, picture
from PIL import Image

from helpers import widgets, zoo
from helpers.backend import keras
from helpers.errors import ArgumentError
from helpers.zoo import Network

EVIL = "<script>alert(1)</script>"
WORK = {"EfficientNetLite0": 0.4, "VGG16": 15.4}


def shown(panel: widgets.Panel) -> np.ndarray:
    """The figure that a panel shows; its alternative text is the panel's line."""
    found = re.fullmatch(r'<img alt="([^"<>]*)" .*base64,(\S+)">', panel.figure.value)
    assert found, panel.figure.value[:300]
    assert found[1] == panel.said
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[2]))))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(predictor: widgets.Predictor, name: str, content: bytes) -> None:
    """As the browser's half of a FileUpload sends a file."""
    file = {"name": name, "content": memoryview(content), "size": len(content)}
    more = {"type": "image/png", "last_modified": 0}
    predictor.upload.set_state({"value": [{**file, **more}]})


# --- explorers -----------------------------------------------------------------------------------


def test_limits_leave_the_networks_that_fit() -> None:
    explorer, total = widgets.ZooExplorer(WORK), len(zoo.entries())
    everything = shown(explorer)
    assert explorer.said.startswith(f"{total} of {total} networks")
    explorer.top1.value, explorer.size.value = 0.75, 20
    assert explorer.said.startswith(f"1 of {total}") and "EfficientNetLite0" in explorer.said
    assert not np.array_equal(everything, shown(explorer))
    explorer.size.value, explorer.load.value = 2000, 0.3
    assert explorer.said.startswith(f"0 of {total}")
    assert shown(widgets.ZooExplorer(WORK, size_mb=20)).any()
    assert "EfficientNetLite0" in widgets.ZooExplorer(WORK, size_mb=20).said


# --- predictor -----------------------------------------------------------------------------------


def test_a_picture_is_chosen(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(png(picture(1)))
    predictor = widgets.Predictor([network], {"array": picture(0), "file": file})
    first = shown(predictor)
    assert predictor.said.startswith("array: EfficientNetLite0 says ")
    predictor.choice.value = "file"
    best = network.decode(network.model.predict_on_batch(network.preprocess(picture(1))))[0][0]
    assert f"{best[1].replace('_', ' ')}, {best[2]:.2f}" in predictor.said
    assert not np.array_equal(first, shown(predictor))


def test_networks_stand_side_by_side(network: Network) -> None:
    one = widgets.Predictor([network], {"a": picture(0)})
    other = dataclasses.replace(network, name="Other")
    two = widgets.Predictor([network, other], {"a": picture(0)})
    assert shown(two).shape[1] > shown(one).shape[1]
    assert "EfficientNetLite0 says" in two.said and "Other says" in two.said


@pytest.mark.parametrize("content", [png(picture(1)), png(picture(1))[:-100], b"<html>", b""])
def test_an_upload_is_answered_in_words(network: Network, content: bytes) -> None:
    predictor = widgets.Predictor([network], {"a": picture(0)})
    upload(predictor, f"{EVIL}.png", content)
    readable = content == png(picture(1))
    assert predictor.said.startswith(f"{EVIL}.png: ")
    assert ("EfficientNetLite0 says" in predictor.said) == bool(predictor.figure.value) == readable
    assert "/picture" not in predictor.said, "no path of a temporary file"
    assert "<script" not in predictor.figure.value + predictor.line.value


def test_a_chosen_file_that_is_no_picture_is_said_too(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "notes.png"
    file.write_bytes(b"text")
    predictor = widgets.Predictor([network], {"good": picture(0), EVIL: file})
    predictor.choice.value = EVIL
    assert predictor.said.startswith(EVIL) and predictor.figure.value == ""


def test_a_predictor_needs_networks_and_pictures(network: Network) -> None:
    for networks, pictures in (([], {"a": picture(0)}), ([network], {})):
        with pytest.raises(ArgumentError, match="one network and one picture"):
            widgets.Predictor(networks, pictures)


# --- all panels ----------------------------------------------------------------------------------


def test_a_page_without_a_kernel_shows_the_first_figure() -> None:
    """And the text is the same in every run: no addresses, no numbers of widgets."""
    explorer = widgets.ZooExplorer(WORK)
    data, metadata = before = explorer._repr_mimebundle_()
    explorer.top1.value = 0.85
    after = explorer._repr_mimebundle_()
    assert after == before
    assert data["text/plain"].startswith(f"ZooExplorer: {len(zoo.entries())} of")
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))).format == "JPEG"
    assert "networks are within the limits" in metadata["image/jpeg"]["alt"]


def test_control_characters_are_written_out() -> None:
    panel = widgets.Panel([])
    panel.say("a\x1b[31mb")
    assert panel.said == "a\\x1b[31mb"


def test_every_control_has_a_description(network: Network) -> None:
    for panel in (
        widgets.ZooExplorer(WORK),
        widgets.Predictor([network], {"a": picture(0)}),
    ):
        controls = [child for child in panel.children if child not in (panel.line, panel.figure)]
        assert controls and all(control.description for control in controls)


def test_importing_it_loads_no_keras() -> None:
    code = "import sys, helpers.widgets; print({'keras', 'tensorflow'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert run.stdout.strip() == "set()", run.stderr


# --- training monitor ----------------------------------------------------------------------------

STEPS, ROWS = 20, 160


class Tiny:
    """A model, and a record of how its `fit` was called; `at_step` is called after each batch."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        self.x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype("float32")
        self.y = (self.x[:, 0] > 0).astype(int)
        self.calls: list[tuple[int, int]] = []
        self.at_step: Callable[[int], None] = lambda step: None
        self.steps = 0

    def fit(self, callbacks: list[Any], initial_epoch: int, epochs: int) -> Any:
        self.calls.append((initial_epoch, epochs))
        own = keras.callbacks.LambdaCallback(on_train_batch_end=self._step)
        return self.model.fit(
            self.x,
            self.y,
            batch_size=ROWS // STEPS,
            callbacks=[own, *callbacks],
            initial_epoch=initial_epoch,
            epochs=epochs,
            verbose=0,
        )

    def _step(self, batch: int, logs: Any) -> None:
        self.steps += 1
        self.at_step(self.steps)


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


def test_it_trains_in_a_thread_and_draws_each_epoch(tiny: Tiny) -> None:
    may_end = threading.Event()
    said = set()

    def listen(step: int) -> None:
        said.add(monitor.said)
        may_end.wait(30)

    tiny.at_step = listen
    monitor = widgets.TrainingMonitor(tiny.fit, epochs=3)
    assert monitor.thread.is_alive() and not monitor.stop_button.disabled
    may_end.set()
    history = monitor.wait()
    assert sorted(history) == ["accuracy", "loss"]
    assert len(history["loss"]) == monitor.done == 3
    assert history["loss"][-1] < history["loss"][0]
    assert any(f"epoch 1 of 3, step 1 of {STEPS}, loss" in words for words in said)
    assert monitor.said.startswith("finished after 3 of 3 epochs, loss ")
    assert 'alt="epoch 3 of 3 is done' in monitor.figure.value
    assert monitor.stop_button.disabled and not monitor.go_on_button.disabled


def test_it_stops_after_the_current_batch_and_goes_on_with_the_epoch(tiny: Tiny) -> None:
    def stop_in_the_second_epoch(step: int) -> None:
        if step == STEPS + 3:
            monitor.stop_button.click()

    tiny.at_step = stop_in_the_second_epoch
    monitor = widgets.TrainingMonitor(tiny.fit, epochs=3)
    assert len(monitor.wait()["loss"]) == 1, "part of an epoch is not on the curve"
    assert tiny.steps == STEPS + 3
    assert monitor.said.startswith("stopped after 1 of 3 epochs")
    monitor.go_on_button.click()
    assert len(monitor.wait()["loss"]) == 3
    monitor.go_on_button.click()
    assert len(monitor.wait()["loss"]) == 6, "after the last epoch, as many again"
    assert tiny.calls == [(0, 3), (1, 3), (3, 6)]


def test_stopped_in_the_first_epoch_it_has_no_curve_yet(tiny: Tiny) -> None:
    tiny.at_step = lambda step: monitor.stop()
    monitor = widgets.TrainingMonitor(tiny.fit, epochs=1)
    assert monitor.wait() == {"loss": []}
    assert monitor.said.startswith("stopped after 0 of 1")


def test_what_fit_raises_is_shown_and_raised_by_wait() -> None:
    def fit(**keywords: Any) -> None:
        raise ValueError(EVIL)

    monitor = widgets.TrainingMonitor(fit, epochs=1)
    with pytest.raises(ValueError, match="<script>"):
        monitor.wait()
    assert monitor.said == f"ValueError: {EVIL}"
    assert "<script" not in monitor.line.value
    assert not monitor.go_on_button.disabled


def test_a_cell_that_is_run_again_stops_the_training_before(tiny: Tiny) -> None:
    tiny.at_step = lambda step: time.sleep(0.02)
    first = widgets.TrainingMonitor(tiny.fit, epochs=50)
    second = widgets.TrainingMonitor(tiny.fit, epochs=1)
    assert not first.thread.is_alive() and first.said.startswith("stopped")
    assert len(second.wait()["loss"]) == 1


def test_an_interrupted_wait_stops_the_training(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.at_step = lambda step: time.sleep(0.02)
    monitor = widgets.TrainingMonitor(tiny.fit, epochs=50)
    real = monitor.thread.join

    def interrupted() -> None:
        monkeypatch.setattr(monitor.thread, "join", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor.thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        monitor.wait()
    assert not monitor.thread.is_alive()
    assert monitor.done < 50
