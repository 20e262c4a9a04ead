"""Things to touch in a notebook: each a thin skin over a function that works without it.

A widget's controls are plain ipywidgets, reached by the Tab key and moved by the arrow keys. What
they show is a picture with a text that says the same in words. Names that come from files are
escaped, for an ipywidgets' HTML shows whatever it is given.

A notebook that is only read has no kernel, and no widget: so each widget's output holds its first
picture too, which is shown where the widget cannot be.
"""

import base64
import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from IPython.display import Image

from helpers import catalogue, finetune, images, layers, plots
from helpers.errors import ArgumentError, PictureError, printable
from helpers.zoo import Pretrained

WIDE = {"style": {"description_width": "11em"}, "layout": {"width": "34em"}}


class Touchable(ipywidgets.VBox):
    """Controls, a line that says in words what is to be seen, and a picture.

    `said` is that line, as plain text.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget]) -> None:
        self.figure, self.line = ipywidgets.HTML(), ipywidgets.HTML()
        self.said = self._first_said = ""
        self._first_picture = b""
        super().__init__([*controls, self.line, self.figure])
        for control in controls:
            for widget in (control, *getattr(control, "children", ())):
                _hear_while_busy(widget)

    def say(self, words: str) -> None:
        """Replaces the line; the words may hold names of files."""
        self.said = printable(words)
        self._first_said = self._first_said or self.said
        self.line.value = (
            f'<div role="status" style="line-height: 1.5">{html.escape(self.said)}</div>'
        )

    def show(self, picture: Image | None, words: str) -> None:
        """Replaces the picture, and says in words what it shows."""
        self.say(words)
        if picture is None:
            self.figure.value = ""
            return
        self._first_picture = self._first_picture or picture.data
        data = base64.b64encode(picture.data).decode()
        self.figure.value = (
            f'<img alt="{html.escape(self.said)}" style="max-width: 100%" '
            f'width="{picture.width}" src="data:image/jpeg;base64,{data}">'
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        bundle["text/plain"] = f"{type(self).__name__}: {self._first_said}"
        if self._first_picture:
            bundle["image/jpeg"] = base64.b64encode(self._first_picture).decode()
        return bundle


def _hear_while_busy(control: ipywidgets.Widget) -> None:
    """Lets a control be used while a cell runs.

    JupyterLab sends what is done to a control to a second thread of the kernel, a subshell.
    ipykernel 7.4.0 sends it back to the thread that last spoke to the control (`Comm` in
    ipykernel/comm/comm.py): to the one that made it, which is busy. It shall stay where it was
    sent. Where there are no subshells, this changes nothing.
    """
    if hasattr(control.comm, "_reply_subshell_for"):
        control.comm._reply_subshell_for = lambda data, sent_to: sent_to


class ZooExplorer(Touchable):
    """Limits of accuracy, size and work → the models within them (`catalogue.within`).

    Args:
        work: a model's name → billion multiply-adds a picture; a model without is within no limit.
    """

    def __init__(self, work: Mapping[str, float]) -> None:
        self.work = work
        sizes = [5, 10, 20, 30, 50, 100, 200, 500, 2000]
        loads = [0.1, 0.3, 0.5, 1, 2, 5, 10, 50, np.inf]
        self.top1 = ipywidgets.FloatSlider(
            0.65,
            min=0.65,
            max=0.9,
            step=0.01,
            continuous_update=False,
            description="top-1, at least",
            **WIDE,
        )
        self.size = ipywidgets.SelectionSlider(
            options=[(f"{mb} MB", mb) for mb in sizes],
            value=sizes[-1],
            description="file, at most",
            continuous_update=False,
            **WIDE,
        )
        self.load = ipywidgets.SelectionSlider(
            options=[
                ("any" if load == np.inf else f"{load} billion multiply-adds", load)
                for load in loads
            ],
            value=np.inf,
            description="work, at most",
            continuous_update=False,
            **WIDE,
        )
        controls = [self.top1, self.size, self.load]
        super().__init__(controls)
        for control in controls:
            control.observe(self.draw, "value")
        self.draw()

    def draw(self, _: object = None) -> None:
        """Shows the models within the limits as they stand."""
        limits = self.top1.value, self.size.value, self.load.value
        kept = catalogue.within(*limits, counted=self.work)
        entries = catalogue.entries()
        words = f"{len(kept)} of {len(entries)} networks are within the limits"
        if kept:
            words += f"; the most accurate: {', '.join(entry.name for entry in kept[:5])}"
        self.show(plots.zoo(kept, entries, "The zoo within limits"), f"{words}.")


class Predictor(Touchable):
    """A picture, chosen or uploaded → the best labels of one or more networks as bars.

    Args:
        networks: with their tops.
        pictures: a name → a picture as `images.read` gives it, or its file; to choose from.
    """

    def __init__(
        self, networks: Sequence[Pretrained], pictures: Mapping[str, np.ndarray | Path]
    ) -> None:
        if not networks or not pictures:
            raise ArgumentError("Predictor: expected one network and one picture or more.")
        self.networks, self.pictures = list(networks), dict(pictures)
        # No Dropdown: JupyterLab takes its arrow keys to go from cell to cell.
        self.choice = ipywidgets.SelectionSlider(
            options=list(self.pictures), description="picture", continuous_update=False, **WIDE
        )
        self.upload = ipywidgets.FileUpload(
            accept="image/*", description="Or one of yours (up to 9 MB)", layout={"width": "20em"}
        )
        super().__init__([self.choice, self.upload])
        self.choice.observe(self._chosen, "value")
        self.upload.observe(self._uploaded, "value")
        self._chosen()

    def answer(self, name: str, picture: np.ndarray) -> None:
        """Shows a picture with the networks' answers."""
        best = {
            network.name: network.decode(
                network.model.predict_on_batch(network.preprocess(picture))
            )[0]
            for network in self.networks
        }
        first = "; ".join(
            f"{network} says {labels[0][1].replace('_', ' ')}, {labels[0][2]:.2f}"
            for network, labels in best.items()
        )
        self.show(plots.top_bars(picture, best, "The five best labels"), f"{name}: {first}.")

    def _chosen(self, _: object = None) -> None:
        found = self.pictures[self.choice.value]
        try:
            self.answer(
                self.choice.value, found if isinstance(found, np.ndarray) else images.read(found)
            )
        except PictureError as error:
            self.show(None, str(error))

    def _uploaded(self, _: object = None) -> None:
        for file in self.upload.value:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "picture"  # never under the name that came with it
                path.write_bytes(file.content)
                try:
                    self.answer(file.name, images.read(path))
                except PictureError as error:
                    self.show(None, str(error).replace(str(path), file.name))


class LayerExplorer(Touchable):
    """A slider over the depth → a layer's feature maps of one picture.

    All maps are computed at the start, in one pass: moving the slider runs no network.

    Args:
        network: any.
        names: of layers that give maps, in order.
        picture: as `images.read` gives it.
    """

    def __init__(self, network: Pretrained, names: Sequence[str], picture: np.ndarray) -> None:
        tapped = layers.tap(network.model, list(names))
        found = tapped.predict_on_batch(network.preprocess(picture))
        self.maps = {name: np.asarray(found[name])[0] for name in names}
        for name, maps in self.maps.items():
            if maps.ndim != 3:
                raise ArgumentError(f"{name}: expected a layer that gives maps, got {maps.shape}.")
        self.depth = ipywidgets.SelectionSlider(
            options=list(names), description="layer", continuous_update=False, **WIDE
        )
        super().__init__([self.depth])
        self.depth.observe(self.draw, "value")
        self.draw()

    def draw(self, _: object = None) -> None:
        """Shows the maps of the layer at which the slider stands."""
        name = self.depth.value
        rows, columns, channels = self.maps[name].shape
        words = f"{name}: {rows} × {columns} positions, {channels} channels; the liveliest six."
        self.show(plots.feature_maps(self.maps[name], name), words)


class FreezeExplorer(Touchable):
    """A slider over a network's blocks → what is trained, memory, time (`finetune.freeze_costs`).

    It only shows: the network stays as it is.

    Args:
        costs: of `finetune.freeze_costs`.
    """

    def __init__(self, costs: Sequence[finetune.FreezeCost]) -> None:
        self.costs = list(costs)
        options = [(cost.block or "none", i) for i, cost in enumerate(self.costs)]
        self.first = ipywidgets.SelectionSlider(
            options=options,
            value=len(options) - 1,
            description="train from block",
            continuous_update=False,
            **WIDE,
        )
        super().__init__([self.first])
        self.first.observe(self.draw, "value")
        self.draw()

    def draw(self, _: object = None) -> None:
        """Shows what training from the chosen block upwards costs."""
        cost = self.costs[self.first.value]
        what = f"from {cost.block} upwards" if cost.block else "nothing, all is frozen"
        words = (
            f"trained: {what}; {cost.trainable:,} parameters, {cost.frozen:,} frozen; "
            f"memory ≈ {cost.memory_mb:.0f} MB; an epoch ≈ {cost.seconds:.1f} seconds."
        )
        self.show(plots.freeze_costs(self.costs, self.first.value), words)
