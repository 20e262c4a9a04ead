"""BatchNorm averages for networks with random weights, which serve as controls."""

from typing import Any

from helpers.backend import keras


def calibrate_batch_norm(model: keras.Model, batch: Any) -> None:
    """Set all BatchNorm averages to those that one preprocessed batch has in the model.

    A new network's averages are 0 and 1, with which the signal dies out on its way up. Afterwards
    each layer's momentum is 0.

    Args:
        model: the network.
        batch: pictures as the network wants them, (N, rows, columns, 3).
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the averages become those of the next batch
    model(batch, training=True)
