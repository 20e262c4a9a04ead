"""Interactive panels for notebooks; each one shows what a function of this package computes.

The text of a panel says what its figure shows. The keyboard reaches all controls. On a page without
a kernel the panel's first figure is shown.
"""

import base64
import html
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets
import numpy as np
from IPython.display import Image

from helpers import images, plots, zoo
from helpers.errors import ArgumentError, PictureError, printable

if TYPE_CHECKING:
    from helpers.zoo import Network


class Panel(ipywidgets.VBox):
    """Controls, a line of text and a figure."""

    def __init__(self, controls: Sequence[ipywidgets.Widget]) -> None:
        self.figure, self.line = ipywidgets.HTML(), ipywidgets.HTML()
        self.said = self._first_said = ""
        self._first_picture: Image | None = None
        super().__init__([*controls, self.line, self.figure])
        for control in controls:
            control.observe(self._draw, "value")
        self._draw()

    def _draw(self, _: Any = None) -> None:
        pass

    def say(self, words: str) -> None:
        """Replace the line; names from files are safe in it."""
        self.said = printable(words)
        self._first_said = self._first_said or self.said
        self.line.value = (
            f'<div role="status" style="line-height: 1.5">{html.escape(self.said)}</div>'
        )

    def show(self, picture: Image | None, words: str) -> None:
        """Replace the figure, and the line with words that say the same."""
        self.say(words)
        if picture is None:
            self.figure.value = ""
            return
        self._first_picture = self._first_picture or picture
        data = base64.b64encode(picture.data).decode()
        self.figure.value = (
            f'<img alt="{html.escape(self.said)}" style="max-width: 100%" '
            f'width="{picture.width}" src="data:image/jpeg;base64,{data}">'
        )

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options), {}
        data["text/plain"] = f"{type(self).__name__}: {self._first_said}"
        if self._first_picture:
            picture, metadata = self._first_picture._repr_mimebundle_()
            data |= picture
        return data, metadata


def _slider(description: str, options: Sequence[Any], value: Any) -> ipywidgets.SelectionSlider:
    # No Dropdown: JupyterLab takes its arrow keys to go from cell to cell.
    return ipywidgets.SelectionSlider(
        options=options,
        value=value,
        description=description,
        continuous_update=False,
        style={"description_width": "11em"},
        layout={"width": "34em"},
    )


class ZooExplorer(Panel):
    """Set limits of accuracy, size and work, and see which networks are within them.

    Args:
        work: billions of multiply-adds per picture, by a network's name; one that is missing here
            is left out as soon as work is limited.
        size_mb: the limit of the file's size at the start: 5, 10, 20, 30, 50, 100, 200, 500, 2000.
    """

    def __init__(self, work: Mapping[str, float], size_mb: int = 2000) -> None:
        self.work = work
        accuracies = [percent / 100 for percent in range(65, 91)]
        sizes = [5, 10, 20, 30, 50, 100, 200, 500, 2000]
        loads = [(f"{n} billion multiply-adds", n) for n in (0.1, 0.3, 0.5, 1, 2, 5, 10, 50)]
        self.top1 = _slider("top-1, at least", accuracies, 0.65)
        self.size = _slider("file, at most", [(f"{mb} MB", mb) for mb in sizes], size_mb)
        self.load = _slider("work, at most", [*loads, ("any", np.inf)], np.inf)
        super().__init__([self.top1, self.size, self.load])

    def _draw(self, _: Any = None) -> None:
        kept = zoo.within(self.top1.value, self.size.value, self.load.value, counted=self.work)
        words = f"{len(kept)} of {len(zoo.entries())} networks are within the limits"
        if kept:
            words += f"; the most accurate: {', '.join(entry.name for entry in kept[:5])}"
        self.show(plots.zoo(kept, zoo.entries(), alt=words), f"{words}.")


class Predictor(Panel):
    """Choose or upload a picture, and see the five best labels of one or more networks.

    Args:
        networks: of `zoo.load`, with their tops.
        pictures: to choose from, by name: (rows, columns, 3) uint8 each, or a file's path.
    """

    def __init__(
        self, networks: Sequence["Network"], pictures: Mapping[str, np.ndarray | Path]
    ) -> None:
        if not networks or not pictures:
            raise ArgumentError("Predictor: expected at least one network and one picture.")
        self.networks, self.pictures = list(networks), dict(pictures)
        self.choice = _slider("picture", list(self.pictures), next(iter(self.pictures)))
        self.upload = ipywidgets.FileUpload(
            accept="image/*", description="Or one of yours (up to 9 MB)", layout={"width": "20em"}
        )
        super().__init__([self.choice, self.upload])

    def _draw(self, change: Any = None) -> None:
        if not change or change.owner is self.choice:
            self._answer(self.choice.value, self.pictures[self.choice.value])
            return
        for file in self.upload.value:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "picture"  # the name that came with it may be any text
                path.write_bytes(file.content)
                self._answer(file.name, path)

    def _answer(self, shown: str, picture: np.ndarray | Path) -> None:
        try:
            pixels = picture if isinstance(picture, np.ndarray) else images.load(picture)
        except PictureError as error:
            self.show(None, str(error).replace(str(picture), shown))
            return
        best, said = [], []
        for network in self.networks:
            answer = network.model.predict_on_batch(network.preprocess(pixels))
            rows = network.decode(answer)[0]
            best.append(rows)
            said.append(f"{network.name} says {rows[0][1].replace('_', ' ')}, {rows[0][2]:.2f}")
        names = [network.name for network in self.networks]
        figure = plots.answers([pixels] * len(best), best, names)
        self.show(figure, f"{shown}: {'; '.join(said)}.")


class TrainingMonitor(Panel):
    """Watch a model's training while it runs in a thread, stop it, and let it go on.

    Args:
        fit: calls the model's `fit` with the keywords it is given (`callbacks`, `initial_epoch`,
            `epochs`) besides its own.
        epochs: to train; "Go on" after the last one trains as many again.

    Example:
        >>> def fit(**keywords):
        ...     model.fit(x, y, verbose=0, **keywords)
        >>> TrainingMonitor(fit, epochs=10)  # doctest: +SKIP
    """

    _latest: ClassVar["TrainingMonitor | None"] = None

    def __init__(self, fit: Callable[..., Any], epochs: int, title: str = "Training") -> None:
        self.fit, self.epochs, self.target, self.title = fit, epochs, epochs, title
        self.history: dict[str, list[float]] = {"loss": []}
        self.stopping, self.thread = threading.Event(), threading.Thread()
        self.error: Exception | None = None
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
        """The number of whole epochs so far."""
        return len(self.history["loss"])

    def stop(self) -> None:
        """Stop after the current batch."""
        self.stopping.set()

    def go_on(self) -> None:
        """Continue a stopped training; after the last epoch, train as many again."""
        if self.thread.is_alive():
            return
        self.stopping.clear()
        self.error = None
        self.target += self.epochs if self.done >= self.target else 0
        self.stop_button.disabled, self.go_on_button.disabled = False, True
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def wait(self) -> dict[str, list[float]]:
        """Wait until training ends or is stopped; return its history, or raise what `fit` did."""
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
        from helpers.backend import keras

        said_at, whole = 0.0, True

        def on_batch(batch: int, logs: Mapping[str, float]) -> None:
            nonlocal said_at, whole
            steps = watch.params["steps"]
            if self.stopping.is_set():
                watch.model.stop_training = True
                whole = batch + 1 == steps
            elif time.monotonic() > said_at + 0.3:
                said_at = time.monotonic()
                step = f"step {batch + 1} of {steps}" if steps else f"step {batch + 1}"
                epoch = f"epoch {self.done + 1} of {self.target}"
                self.say(f"{epoch}, {step}, loss {logs['loss']:.3f}")

        def on_epoch(epoch: int, logs: Mapping[str, float]) -> None:
            if not whole:  # part of an epoch is no point of a curve, but its steps are not undone
                return
            for name, value in logs.items():
                self.history.setdefault(name, []).append(float(value))
            words = f"epoch {self.done} of {self.target} is done{self._values()}"
            self.show(plots.curves({"model": self.history}, self.title), words)

        watch = keras.callbacks.LambdaCallback(on_train_batch_end=on_batch, on_epoch_end=on_epoch)
        try:
            self.fit(callbacks=[watch], initial_epoch=self.done, epochs=self.target)
            state = "stopped" if self.done < self.target else "finished"
            self.say(f"{state} after {self.done} of {self.target} epochs{self._values()}.")
        except Exception as error:  # `wait` raises it in a cell, with its traceback
            self.error = error
            self.say(f"{type(error).__name__}: {error}")
        finally:
            self.stop_button.disabled, self.go_on_button.disabled = True, False

    def _values(self) -> str:
        latest = {name: values[-1] for name, values in self.history.items() if values}
        return "".join(f", {name} {value:.3f}" for name, value in latest.items())
