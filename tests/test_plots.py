import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import picture
from IPython.display import Image as Shown
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import catalogue, plots
from helpers.finetune import FreezeCost

BEST = [("n1", "Egyptian_cat", 0.5), ("n2", "tabby", 0.25)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they were drawn, before they became images."""
    figures: list[Figure] = []
    real = plots._image

    def image(figure: Figure) -> Shown:
        figures.append(figure)
        return real(figure)

    monkeypatch.setattr(plots, "_image", image)
    return figures


def opened(shown: Shown) -> np.ndarray:
    with Image.open(io.BytesIO(shown.data)) as image:
        assert image.format == "JPEG"
        return np.asarray(image)


def test_bars_show_the_answers_best_first(drawn: list[Figure]) -> None:
    shown = plots.top_bars(picture(0), {"One": BEST, "Other": BEST[:1]}, "Two networks")
    assert opened(shown).std() > 10
    _, one, other = drawn[0].axes
    assert drawn[0].get_suptitle() == "Two networks"
    assert (one.get_title(), other.get_title()) == ("One", "Other")
    assert (one.get_xlabel(), one.get_ylabel()) == ("probability", "label")
    assert [label.get_text() for label in one.get_yticklabels()] == ["Egyptian cat", "tabby"]
    assert [bar.get_width() for bar in one.patches if isinstance(bar, Rectangle)] == [0.5, 0.25]
    assert one.yaxis_inverted()


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_gallery_shows_every_picture_with_its_caption(drawn: list[Figure], count: int) -> None:
    captions = [f"no. {i}" for i in range(count)]
    plots.gallery([picture(i) for i in range(count)], captions, "All", columns=3)
    with_picture = [axis for axis in drawn[0].axes if axis.images]
    assert [axis.get_xlabel() for axis in with_picture] == captions
    for i, axis in enumerate(with_picture):
        np.testing.assert_array_equal(axis.images[0].get_array(), picture(i))
    assert len(drawn[0].axes) == 3 * (1 + count // 4)


def test_names_that_no_font_has_are_written_out(drawn: list[Figure]) -> None:
    """A byte that is not UTF-8, which Matplotlib refuses, and a control character."""
    plots.gallery([picture(0)], ["caf\udce9 \x1b[1m $x_1$ <b>"], "t\udce9")
    assert drawn[0].axes[0].get_xlabel() == r"caf\udce9 \x1b[1m $x_1$ <b>"
    assert drawn[0].get_suptitle() == r"t\udce9"


def test_captions_have_their_colours(drawn: list[Figure]) -> None:
    plots.gallery([picture(0)] * 2, ["right", "wrong"], "x", colours=[plots.GREEN, plots.RED])
    colours = [axis.xaxis.label.get_color() for axis in drawn[0].axes[:2]]
    assert colours == [plots.GREEN, plots.RED]


def test_curves_tell_training_from_validation(drawn: list[Figure]) -> None:
    plain = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.4]}
    full = {**plain, "val_loss": [3.0, 2.0], "val_accuracy": [0.1, 0.3]}
    plots.curves({"a": full, "b": plain}, "Training")
    loss, accuracy = drawn[0].axes
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-"]
    assert np.asarray(loss.lines[0].get_xdata()).tolist() == [1, 2]
    assert np.asarray(loss.lines[1].get_ydata()).tolist() == [3.0, 2.0]
    assert np.asarray(accuracy.lines[1].get_ydata()).tolist() == [0.1, 0.3]
    legend = accuracy.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["a, training", "a, validation", "b, training"]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")


def test_no_figure_is_left_open_for_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor opened at all: pyplot's list is not for threads, and a cell shows what is on it."""
    monkeypatch.setattr(plt, "figure", None)
    plots.gallery([picture(0)], ["x"], "x")
    assert not plt.get_fignums()


def test_the_zoo_shows_who_is_within_and_names_who_is_not_beaten(drawn: list[Figure]) -> None:
    entries = catalogue.entries()
    kept = catalogue.within(top1=0.75, size_mb=30)
    plots.zoo(kept, entries, "Zoo")
    (axis,) = drawn[0].axes
    outside, within = (np.asarray(dots.get_offsets()) for dots in axis.collections)
    assert sorted(within.tolist()) == sorted([e.size_mb, e.top1] for e in kept)
    assert len(outside) + len(within) == len(entries)
    named = {text.get_text() for text in axis.texts}
    assert named == {"EfficientNetLite0", "EfficientNetB0", "EfficientNetV2B0"}


def test_the_liveliest_maps_come_first(drawn: list[Figure]) -> None:
    maps = np.random.default_rng(0).normal(size=(7, 7, 5)) * [1, 0, 3, 2, 0.5]
    plots.feature_maps(maps, "layer", count=3)
    shown = [axis.get_title() for axis in drawn[0].axes]
    assert shown == ["channel 2", "channel 3", "channel 0"]
    np.testing.assert_array_equal(drawn[0].axes[0].images[0].get_array(), maps[..., 2])


def test_what_is_frozen_is_grey(drawn: list[Figure]) -> None:
    costs = [
        FreezeCost("one", 0, 9_000_000, 30.0, 3.0),
        FreezeCost("two", 4_000_000, 5_000_000, 20.0, 2.0),
        FreezeCost(None, 9_000_000, 0, 10.0, 1.0),
    ]
    plots.freeze_costs(costs, 1)
    bars, memory, time = drawn[0].axes
    heights = [bar.get_height() for bar in bars.patches if isinstance(bar, Rectangle)]
    assert heights == [4, 5]
    assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == [plots.GREY, plots.BLUE]
    for axis, value in ((memory, 20.0), (time, 2.0)):
        assert np.asarray(axis.lines[1].get_ydata()).tolist() == [value]
    assert drawn[0].get_suptitle() == "The first block that is trained: two"


def test_a_name_with_dollars_is_no_formula(drawn: list[Figure]) -> None:
    plots.gallery([picture(0)], [r"$\frac$ cat"], r"$\frac$")
    assert drawn[0].axes[0].get_xlabel() == r"$\frac$ cat"


def test_a_training_without_accuracy_has_its_loss_drawn(drawn: list[Figure]) -> None:
    plots.curves({"a": {"loss": [2.0]}}, "Training")
    (loss,) = drawn[0].axes
    assert loss.lines[0].get_marker() == ".", "a single epoch is to be seen"
