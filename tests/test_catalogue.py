import dataclasses
import re

import pytest

from helpers import catalogue
from helpers.errors import ArgumentError


@pytest.mark.parametrize("name", ["ResNet50", "resnet50", "RESNET-50", "res_net_50"])
def test_a_model_is_found_however_it_is_spelt(name: str) -> None:
    assert catalogue.find(name).name == "ResNet50"


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"'ResNet51'.*Did you mean ResNet50\?"):
        catalogue.find("ResNet51")


def test_names_are_unique_and_the_bundled_one_is_among_them() -> None:
    names = catalogue.names()
    assert len({name.lower() for name in names}) == len(names)
    assert catalogue.BUNDLED in names


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)
def test_facts_are_possible(entry: catalogue.Entry) -> None:
    assert 0.5 < entry.top1 < 1
    assert entry.top5 is None or entry.top1 < entry.top5 < 1
    assert 2012 <= entry.year <= 2026
    assert entry.min_size <= entry.input_size
    assert entry.preprocessing in ("caffe", "tf", "torch", "lite", "none")
    assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}", entry.paper)
    megabytes = 4 * entry.parameters / 1e6  # float32; the table counts in units of 1024 × 1024
    assert megabytes / 1.08 < entry.size_mb < megabytes * 1.10


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)
def test_weight_files_come_in_pairs_from_keras_over_https(entry: catalogue.Entry) -> None:
    assert (entry.weights is None) == (entry.weights_notop is None)
    if entry.weights and entry.weights_notop:
        assert "notop" not in entry.weights.name
        assert re.search(r"_no_?top(_v2)?\.h5$", entry.weights_notop.name)
        for file in (entry.weights, entry.weights_notop):
            assert file.url.startswith("https://storage.googleapis.com/")
            assert file.name.endswith(".h5")
            assert file.hash is None or re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", file.hash)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalogue.entries()[0].top1 = 1.0  # type: ignore[misc]


def test_limits_leave_the_models_that_fit_the_most_accurate_first() -> None:
    assert len(catalogue.within()) == len(catalogue.entries())
    fitting = catalogue.within(top1=0.75, size_mb=100)
    assert {e.name for e in fitting} == {
        e.name for e in catalogue.entries() if e.top1 >= 0.75 and e.size_mb <= 100
    }
    assert [e.top1 for e in fitting] == sorted((e.top1 for e in fitting), reverse=True)


def test_what_is_not_counted_fits_no_limit_of_work() -> None:
    counted = {"VGG16": 15.4, "ResNet50": 3.9}
    assert [e.name for e in catalogue.within(work=10, counted=counted)] == ["ResNet50"]
    assert catalogue.within(work=10) == []
