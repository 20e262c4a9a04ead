"""Watching a training while it goes on: a widget that can stop it, and let it go on."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import ipywidgets

from helpers import plots
from helpers.backend import keras
from helpers.widgets import Touchable


class TrainingMonitor(Touchable):
    """Curves of a training while it goes on, with a button to stop it, and one to go on.

    The training runs in a thread of its own. So the cell that makes the monitor ends at once, and
    the buttons work while it trains; `wait` is for the cells that need the outcome.

    Args:
        fit: calls the model's own `fit` with all keywords that it is given (`callbacks`,
            `initial_epoch`, `epochs`) beside its own.
        epochs: to train; as many again where "Go on" is pressed after the last.
        title: over the curves.
    """

    _latest: ClassVar["TrainingMonitor | None"] = None

    def __init__(self, fit: Callable[..., Any], epochs: int, title: str = "Training") -> None:
        self.fit, self.epochs, self.target, self.title = fit, epochs, epochs, title
        self.history: dict[str, list[float]] = {"loss": []}
        self.stopping, self.thread = threading.Event(), threading.Thread()
        self.error: BaseException | None = None
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop")
        self.go_on_button = ipywidgets.Button(description="Go on", icon="play", disabled=True)
        super().__init__([ipywidgets.HBox([self.stop_button, self.go_on_button])])
        self.stop_button.on_click(lambda _: self.stop())
        self.go_on_button.on_click(lambda _: self.go_on())
        self.say("the training begins")
        if TrainingMonitor._latest:  # its cell was run again: two would train one model
            TrainingMonitor._latest.stop()
            TrainingMonitor._latest.thread.join()
        TrainingMonitor._latest = self
        self.go_on()

    @property
    def done(self) -> int:
        """Epochs that were trained to their end."""
        return len(self.history["loss"])

    def stop(self) -> None:
        """Stops after the batch at hand."""
        self.stopping.set()

    def go_on(self) -> None:
        """Trains on from where it was; after the last epoch, as many again."""
        if self.thread.is_alive():
            return
        self.stopping.clear()
        self.error = None
        self.target += self.epochs if self.done >= self.target else 0
        self.stop_button.disabled, self.go_on_button.disabled = False, True
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def wait(self) -> dict[str, list[float]]:
        """Waits until the training ends, or is stopped → its history, by epoch, as of `fit`.

        Raises:
            Whatever `fit` raised.
        """
        try:
            self.thread.join()
        except KeyboardInterrupt:
            self.stop()
            self.thread.join()
            raise
        if self.error:
            raise self.error
        return self.history

    def _train(self) -> None:
        try:
            self.fit(callbacks=[_Watch(self)], initial_epoch=self.done, epochs=self.target)
            state = "stopped" if self.done < self.target else "finished"
            self.say(f"{state} after {self.done} of {self.target} epochs{self._latest_values()}.")
        except Exception as error:  # `wait` raises it, where a learner sees all of it
            self.error = error
            self.say(f"{type(error).__name__}: {error}")
        finally:
            self.stop_button.disabled, self.go_on_button.disabled = True, False

    def _latest_values(self) -> str:
        pairs = [(name, values[-1]) for name, values in self.history.items() if values]
        return "".join(f", {name} {value:.3f}" for name, value in pairs)

    def add(self, values: Mapping[str, float]) -> None:
        """Draws the curves with an epoch more."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(float(value))
        words = f"epoch {self.done} of {self.target} is done{self._latest_values()}"
        self.show(plots.curves({"model": self.history}, self.title), words)


class _Watch(keras.callbacks.Callback):
    """Tells a monitor how far the training is, and stops it when that is asked for."""

    def __init__(self, monitor: TrainingMonitor) -> None:
        super().__init__()
        self.monitor, self.epoch, self.whole, self.told = monitor, 0, True, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        steps = self.params["steps"]
        if self.monitor.stopping.is_set():
            self.model.stop_training = True
            self.whole = batch + 1 == steps
        elif time.monotonic() > self.told + 0.3:
            self.told = time.monotonic()
            loss = (logs or {}).get("loss", float("nan"))
            where = f"epoch {self.epoch} of {self.monitor.target}, step {batch + 1} of {steps}"
            self.monitor.say(f"{where}, loss {loss:.3f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.whole:  # a part of an epoch is no point of a curve; its steps are not undone
            self.monitor.add(logs or {})
