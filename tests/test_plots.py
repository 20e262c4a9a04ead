import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import picture
from IPython.display import Image as Shown
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import plots

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


def test_no_figure_is_left_open() -> None:
    plots.gallery([picture(0)], ["x"], "x")
    assert not plt.get_fignums()
