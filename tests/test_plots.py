import io
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, picture
from IPython.display import Image as Shown
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import plots, zoo

BEST = [("n1", "Egyptian_cat", 0.5), ("n2", "tabby", 0.25)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved as images."""
    figures: list[Figure] = []
    real = Figure.savefig

    def savefig(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        real(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def opened(shown: Shown) -> Image.Image:
    image = Image.open(io.BytesIO(shown.data))
    assert image.format == "JPEG"
    return image


def test_answers_show_each_picture_over_its_labels(drawn: list[Figure]) -> None:
    shown = plots.answers([picture(0), picture(1)], [BEST, BEST[:1]], ["One", "Other"], "Two")
    assert np.asarray(opened(shown)).std() > 10
    one, other, labels, _ = drawn[0].axes
    assert drawn[0].get_suptitle() == "Two"
    assert (one.get_title(), other.get_title()) == ("One", "Other")
    assert [text.get_text() for text in labels.texts] == ["Egyptian cat 0.50", "tabby 0.25"]
    assert [bar.get_width() for bar in labels.patches if isinstance(bar, Rectangle)] == [0.5, 0.25]
    assert labels.yaxis_inverted()


def test_answers_in_rows_keep_the_order_of_the_pictures(drawn: list[Figure]) -> None:
    names = ["One", "Two", "Three"]
    plots.answers([picture(i) for i in range(3)], [BEST] * 3, names, columns=2)
    one, two, first, second, three, nothing, third, _ = drawn[0].axes
    assert [axis.get_title() for axis in (one, two, three)] == names
    assert all(axis.texts for axis in (first, second, third)) and not nothing.images
    np.testing.assert_array_equal(three.images[0].get_array(), picture(2))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_gallery_shows_every_picture_with_its_caption(drawn: list[Figure], count: int) -> None:
    captions = [f"no. {i}" for i in range(count)]
    plots.gallery([picture(i) for i in range(count)], captions, columns=3)
    with_picture = [axis for axis in drawn[0].axes if axis.images]
    assert [axis.get_xlabel() for axis in with_picture] == captions
    for i, axis in enumerate(with_picture):
        np.testing.assert_array_equal(axis.images[0].get_array(), picture(i))
        assert not axis.get_xticks().size and not axis.get_frame_on()


def test_captions_have_their_colours(drawn: list[Figure]) -> None:
    plots.gallery([picture(0)] * 2, ["right", "wrong"], colours=[plots.GREEN, plots.RED])
    colours = [axis.xaxis.label.get_color() for axis in drawn[0].axes]
    assert colours == [plots.GREEN, plots.RED]


def test_a_gallery_of_photographs_is_small() -> None:
    import skimage.data

    photographs = [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.astronaut()] * 5
    squares = [photograph[:300, :300] for photograph in photographs]
    assert len(plots.gallery(squares, ["caption"] * 15, "Fifteen").data) < 150_000


def test_names_that_no_font_has_are_written_out(drawn: list[Figure]) -> None:
    """A byte that is not UTF-8, which Matplotlib refuses; a control character; no formula."""
    plots.gallery([picture(0)], ["caf\udce9 \x1b[1m $\\frac$ <b>"], "t\udce9")
    assert drawn[0].axes[0].get_xlabel() == r"caf\udce9 \x1b[1m $\frac$ <b>"
    assert drawn[0].get_suptitle() == r"t\udce9"


def test_curves_tell_training_from_validation(drawn: list[Figure]) -> None:
    plain = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.4]}
    full = {**plain, "val_loss": [3.0, 2.0], "val_accuracy": [0.1, 0.3]}
    plots.curves({"a": full, "b": plain}, "Training")
    loss, accuracy = drawn[0].axes
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-"]
    assert np.asarray(loss.lines[0].get_xdata()).tolist() == [1, 2]
    assert np.asarray(accuracy.lines[1].get_ydata()).tolist() == [0.1, 0.3]
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert texts == ["a, training", "a, validation", "b, training"]


def test_a_training_without_accuracy_has_its_loss_drawn(drawn: list[Figure]) -> None:
    plots.curves({"a": {"loss": [2.0]}})
    (loss,) = drawn[0].axes
    assert loss.lines[0].get_marker() == ".", "one epoch alone can be seen"


def test_the_zoo_names_the_networks_that_none_beats(drawn: list[Figure]) -> None:
    kept = zoo.within(top1=0.75, size_mb=30)
    plots.zoo(kept, zoo.entries())
    (axis,) = drawn[0].axes
    outside, within = (np.asarray(dots.get_offsets()) for dots in axis.collections)
    assert sorted(within.tolist()) == sorted([e.size_mb, e.top1] for e in kept)
    assert len(outside) + len(within) == len(zoo.entries())
    named = {text.get_text() for text in axis.texts}
    assert named == {"EfficientNetLite0", "EfficientNetB0", "EfficientNetV2B0"}


def test_the_alternative_text_goes_into_the_notebook() -> None:
    def alt(shown: Shown) -> str:
        return str(shown._repr_mimebundle_()[1]["image/jpeg"]["alt"])

    assert alt(plots.gallery([picture(0)], ["x"], "title", alt="A cat\x1b.")) == r"A cat\x1b."
    assert alt(plots.gallery([picture(0)], ["x"], "title")) == "title"


def test_the_style_is_that_of_the_lessons_and_stays_in_the_figure(drawn: list[Figure]) -> None:
    with plt.style.context("helpers.lessons"):
        lessons = plt.rcParams.copy()
    assert lessons["axes.prop_cycle"].by_key()["color"] == list(plots.PALETTE)
    plt.switch_backend("agg")
    before = plt.rcParams.copy()
    plots.curves({"a": {"loss": [2.0]}})
    assert plt.rcParams == before
    assert not drawn[0].axes[0].spines["top"].get_visible()
    assert not plt.get_fignums(), "pyplot would show it a second time"


def test_importing_it_loads_no_keras() -> None:
    code = "import sys, helpers.plots; print({'keras', 'tensorflow'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert run.stdout.strip() == "set()", run.stderr
