"""What the widgets show, without a browser; in one they are used by tests/test_browser.py."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from helpers import catalogue, widgets
from helpers.errors import ArgumentError
from helpers.finetune import FreezeCost
from helpers.zoo import Pretrained

EVIL = "<script>alert(1)</script>"
WORK = {"EfficientNetLite0": 0.4, "VGG16": 15.4}


def shown(widget: widgets.Touchable) -> tuple[np.ndarray, str]:
    """The picture that a widget shows, and its text for those who do not see it."""
    found = re.fullmatch(r'<img alt="([^"<>]*)" .*base64,(\S+)">', widget.figure.value)
    assert found, widget.figure.value[:300]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[2])))), found[1]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(widget: widgets.Predictor, name: str, content: bytes) -> None:
    """As the browser's half of a FileUpload sends a file."""
    file = {"name": name, "content": memoryview(content), "size": len(content)}
    more = {"type": "image/png", "last_modified": 0}
    widget.upload.set_state({"value": [{**file, **more}]})


# --- zoo -----------------------------------------------------------------------------------------


def test_limits_leave_the_models_that_fit() -> None:
    explorer = widgets.ZooExplorer(WORK)
    everything, text = shown(explorer)
    assert explorer.said.startswith(f"{len(catalogue.entries())} of 43 networks")
    explorer.top1.value, explorer.size.value = 0.75, 20
    assert explorer.said.startswith("1 of 43") and "EfficientNetLite0" in explorer.said
    fewer, text = shown(explorer)
    assert text == explorer.said
    assert not np.array_equal(everything, fewer)
    explorer.size.value, explorer.load.value = 2000, 0.3
    assert explorer.said == "0 of 43 networks are within the limits."


# --- predict -------------------------------------------------------------------------------------


def test_a_picture_is_chosen(network: Pretrained, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(png(picture(1)))
    predictor = widgets.Predictor([network, network], {"array": picture(0), "file": file})
    first, _ = shown(predictor)
    assert predictor.said.startswith("array: EfficientNetLite0 says ")
    predictor.choice.value = "file"
    second, text = shown(predictor)
    best = network.decode(network.model.predict(network.preprocess(picture(1)), verbose=0))[0][0]
    assert text == predictor.said
    assert f"{best[1].replace('_', ' ')}, {best[2]:.2f}" in predictor.said
    assert not np.array_equal(first, second)


def test_networks_stand_side_by_side(network: Pretrained) -> None:
    one = widgets.Predictor([network], {"a": picture(0)})
    other = Pretrained(**{**vars(network), "name": "Other"})
    two = widgets.Predictor([network, other], {"a": picture(0)})
    assert shown(two)[0].shape[1] > shown(one)[0].shape[1]
    assert "EfficientNetLite0 says" in two.said and "Other says" in two.said


def test_an_uploaded_picture_is_read_and_answered(network: Pretrained) -> None:
    predictor = widgets.Predictor([network], {"a": picture(0)})
    upload(predictor, f"{EVIL}.png", png(picture(1)))
    assert predictor.said.startswith(f"{EVIL}.png: EfficientNetLite0 says")
    assert "<script" not in predictor.figure.value + predictor.line.value
    assert "&lt;script&gt;" in predictor.line.value


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", png(picture(1))[:-100]])
def test_an_upload_that_is_no_picture_is_said_in_words(
    network: Pretrained, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = widgets.Predictor([network], {"a": picture(0)})
    upload(predictor, EVIL, content)
    assert predictor.said.startswith(f"{EVIL}: ")
    assert re.search("an empty file|a web page|cannot be read", predictor.said)
    assert "picture:" not in predictor.said.replace(EVIL, ""), "no path of a temporary file"
    assert predictor.figure.value == ""
    assert "<script" not in predictor.line.value
    upload(predictor, "good.png", png(picture(1)))
    assert shown(predictor)[1].startswith("good.png: ")


def test_a_chosen_file_that_is_no_picture_is_said_too(network: Pretrained, tmp_path: Path) -> None:
    file = tmp_path / f"{EVIL.replace('/', '')}.png"
    file.write_bytes(b"text")
    predictor = widgets.Predictor([network], {"good": picture(0), EVIL: file})
    predictor.choice.value = EVIL
    assert "no picture" in predictor.said
    assert "<script" not in predictor.line.value


def test_without_networks_or_pictures_there_is_nothing_to_show(network: Pretrained) -> None:
    with pytest.raises(ArgumentError, match="one network and one picture"):
        widgets.Predictor([], {"a": picture(0)})
    with pytest.raises(ArgumentError, match="one network and one picture"):
        widgets.Predictor([network], {})


# --- layers --------------------------------------------------------------------------------------


def test_the_slider_over_the_depth_runs_no_network(
    network: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["stem_activation", "block3b_add", "top_activation"]
    explorer = widgets.LayerExplorer(network, names, picture(0))
    early, _ = shown(explorer)
    monkeypatch.setattr(widgets.layers, "tap", None)
    monkeypatch.setattr(type(network.model), "predict_on_batch", None)
    monkeypatch.setattr(type(network.model), "__call__", None)
    explorer.depth.value = "top_activation"
    late, text = shown(explorer)
    assert "top_activation: 7 × 7 positions, 1280 channels" in text
    assert not np.array_equal(early, late)


def test_a_layer_without_maps_is_refused(network: Pretrained) -> None:
    with pytest.raises(ArgumentError, match="expected a layer that gives maps"):
        widgets.LayerExplorer(network, ["predictions"], picture(0))


# --- freezing ------------------------------------------------------------------------------------


def test_the_slider_over_the_blocks_tells_what_each_costs() -> None:
    costs = [
        FreezeCost("block1", 0, 3_000_000, 900.0, 40.0),
        FreezeCost("block2", 1_000_000, 2_000_000, 500.0, 20.0),
        FreezeCost(None, 3_000_000, 0, 10.0, 5.0),
    ]
    explorer = widgets.FreezeExplorer(costs)
    assert "nothing, all is frozen; 0 parameters, 3,000,000 frozen" in explorer.said
    first, _ = shown(explorer)
    explorer.first.value = 1
    second, text = shown(explorer)
    assert "from block2 upwards; 2,000,000 parameters, 1,000,000 frozen" in text
    assert "≈ 500 MB" in text and "≈ 20.0 seconds" in text
    assert not np.array_equal(first, second)


# --- all of them ---------------------------------------------------------------------------------


def test_a_notebook_without_a_kernel_shows_the_first_picture() -> None:
    """And the text is the same in every run: no addresses, no numbers of widgets."""
    explorer = widgets.ZooExplorer(WORK)
    before = explorer._repr_mimebundle_()
    explorer.top1.value = 0.85
    after = explorer._repr_mimebundle_()
    assert before["text/plain"].startswith("ZooExplorer: 43 of 43 networks")
    assert after == before
    assert Image.open(io.BytesIO(base64.b64decode(before["image/jpeg"]))).format == "JPEG"
    assert "application/vnd.jupyter.widget-view+json" in before


def test_control_characters_are_written_out() -> None:
    explorer = widgets.ZooExplorer(WORK)
    explorer.say("a\x1b[31mb")
    assert explorer.said == "a\\x1b[31mb"


@pytest.mark.parametrize("sent_to", [None, "subshell"])
def test_what_is_done_to_a_control_stays_where_it_was_sent(sent_to: str | None) -> None:
    """ipykernel 7.4.0 would send it to the thread that made the control, which may be busy."""

    class Comm:
        def _reply_subshell_for(self, data: Any, default: str | None) -> str | None:
            return "the thread that made it"

    class Control:
        comm = Comm()

    control: Any = Control()
    widgets._hear_while_busy(control)
    assert control.comm._reply_subshell_for({}, sent_to) == sent_to


def test_every_control_has_a_description(network: Pretrained) -> None:
    costs = [FreezeCost("block1", 0, 3, 9.0, 4.0), FreezeCost(None, 3, 0, 1.0, 2.0)]
    for widget in (
        widgets.ZooExplorer(WORK),
        widgets.Predictor([network], {"a": picture(0)}),
        widgets.LayerExplorer(network, ["stem_activation"], picture(0)),
        widgets.FreezeExplorer(costs),
    ):
        controls = [c for c in widget.children if c not in (widget.line, widget.figure)]
        assert controls and all(control.description for control in controls)
