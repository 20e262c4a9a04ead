import re

import pytest

from helpers import errors
from helpers.errors import HelpersError, nearest


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ArgumentError, ValueError),
        (errors.PictureError, errors.DataError),
        (errors.DataError, ValueError),
        (errors.DownloadError, OSError),
        (errors.WeightsError, OSError),
    ],
)
def test_an_error_is_ours_and_of_a_common_kind(error: type, kind: type) -> None:
    assert issubclass(error, HelpersError)
    assert issubclass(error, kind)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    known = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, HelpersError)
    }
    assert known == set(re.findall(r"\w+Error\b", errors.__doc__ or "")) - {"OSError", "ValueError"}


def test_nearest_offers_one_name_whatever_its_case() -> None:
    assert nearest("resnet5", ["ResNet50", "VGG16"]) == "Did you mean ResNet50?"


def test_nearest_lists_all_when_none_is_near() -> None:
    assert nearest("zzz", ["ResNet50", "VGG16"]) == "Known: ResNet50, VGG16."


def test_nearest_lists_the_first_of_very_many() -> None:
    layers = [f"layer_{i}" for i in range(311)]
    assert nearest(42, layers, most=3) == "Known: layer_0, layer_1, layer_2 and 308 more."
    assert nearest("zzz", layers).endswith("layer_49 and 261 more.")
