import csv
import sys

import numpy as np
import pytest

from helpers import datasets

sys.path.insert(0, str(datasets.DATA))
import measure_riddle as riddle


def sampled(scale: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is right about its labels when they're divided by `scale`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, 5))
    powers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (powers.cumsum(1) < rng.random((count, 1))).sum(1)
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.5, 1, 12])
def test_the_temperature_that_inflated_logits_need_is_found(scale: float) -> None:
    logits, labels = sampled(scale)
    temperature, loss = riddle.cooled(logits, labels)
    assert temperature == pytest.approx(scale, rel=0.1)
    assert loss == pytest.approx(riddle.loss_of(logits / scale, labels), abs=0.01)


def test_the_loss_of_large_logits_is_finite() -> None:
    assert riddle.loss_of(np.array([[0.0, 5000.0]]), np.array([0])) == 5000
    assert riddle.loss_of(np.zeros((3, 5)), np.array([0, 1, 2])) == pytest.approx(np.log(5))


def test_halves_have_as_much_of_each_class() -> None:
    labels = np.array([0] * 6 + [1] * 4)
    first, second = riddle.halved(labels)
    assert sorted([*first, *second]) == list(range(10))
    assert np.bincount(labels[first]).tolist() == np.bincount(labels[second]).tolist() == [3, 2]


def test_the_summary_counts_what_stays_wrong() -> None:
    labels = np.array([0, 0, 1, 1])
    right = np.array([[3.0, 0], [3, 0], [0, 3], [0, 3]])
    first, last = right.copy(), right.copy()
    first[[0, 2]] *= -1
    last[[0, 3]] *= -9
    logits = np.stack([right[:, ::-1] * 9, first, last])
    run = {"logits": logits, "labels": labels, "epochs": np.array([1, 20, 25])}
    said = riddle.summary(run)
    assert (said["epoch_least"], said["wrong_least"], said["same_least"]) == (20, 2, 1)
    assert (said["epoch_last"], said["wrong_last"], said["same_last"]) == (25, 2, 2)
    assert said["cost_last"] == pytest.approx(27) and said["sure_last"] == pytest.approx(1)


def test_the_stored_runs_are_those_of_the_script() -> None:
    with (datasets.DATA / "riddle_runs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == set(riddle.RUNS)
    for row in rows:
        assert int(row["epoch_last"]) == riddle.RUNS[row["run"]].epochs, row
