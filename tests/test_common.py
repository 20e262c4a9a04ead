import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Server

from helpers.applications import common
from helpers.backend import keras
from helpers.catalogue import WeightFile
from helpers.errors import ArgumentError, WeightsError

BODY = b"weights"


def weight_file(url: str, body: bytes = BODY) -> WeightFile:
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}.h5"  # Keras's cache lasts all session
    return WeightFile(name, f"{url}/some.h5", hashlib.sha256(body).hexdigest(), 1)


def test_a_published_file_is_fetched_once(serve: Callable[..., Server]) -> None:
    server = serve({"some.h5": BODY})
    file = weight_file(server.url)
    for _ in range(2):
        with open(common.published(file), "rb") as stream:
            assert stream.read() == BODY
    assert server.requests == ["some.h5"]


def test_another_file_than_the_published_is_refused(serve: Callable[..., Server]) -> None:
    server = serve({"some.h5": b"other"})
    file = weight_file(server.url)
    with pytest.raises(WeightsError, match=f"{file.name} could not be had: .*weights=PATH"):
        common.published(file)


def test_no_server_is_an_error_of_ours(closed_port: str) -> None:
    with pytest.raises(WeightsError, match=r"could not be had: .*weights=None"):
        common.published(weight_file(closed_port))


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (np.zeros((1, 32, 32, 3)), r"expected a Keras tensor.*got ndarray"),
        (keras.Input((32, 32, 1)), r"\(None, None, None, 3\), got \(None, 32, 32, 1\)"),
        (keras.Input((32, 3)), r"got \(None, 32, 3\)"),
        (keras.Input((32, 32, None)), r"got \(None, 32, 32, None\)"),
    ],
    ids=["an array", "one channel", "no rows", "any channels"],
)
def test_tensors_that_nothing_is_built_on(tensor: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=f"input_tensor: .*{reason}"):
        common.picture_input(False, None, tensor, None, None, 1000)


def test_a_tensor_is_built_on_as_it_is() -> None:
    for tensor in (keras.Input((32, 40, 3)), keras.Input((None, None, 3))):
        assert common.picture_input(False, None, tensor, None, None, 1000) is tensor
