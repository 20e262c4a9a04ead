"""Convert weights that were trained with Theano ("th"), and those of Keras 1's recurrent layers.

`th_dim_ordering` in a file's name: channels come first, in kernels and where a map is flattened.
`th_kernels`: Theano turns each kernel by 180° before it slides it over the picture (a convolution);
TensorFlow does not (a cross-correlation).
"""

from collections.abc import Sequence

import numpy as np

# The order of the gates in a Keras 1 file, and in Keras 3's matrices.
GATES = {"GRU": ("zrh", "zrh"), "LSTM": ("icfo", "ifco")}


def kernel(stored: np.ndarray, channels_first: bool = True, turn: bool = True) -> np.ndarray:
    """Convert a convolution's kernel to TensorFlow's (rows, columns, in, out).

    Args:
        stored: (out, in, rows, columns), or with `channels_first=False` (rows, columns, in, out).
        turn: by 180°, for kernels that Theano trained.

    >>> kernel(np.arange(6.0).reshape(1, 1, 2, 3))[:, :, 0, 0].tolist()
    [[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    """
    moved = stored.transpose(2, 3, 1, 0) if channels_first else stored
    return moved[::-1, ::-1] if turn else moved


def dense(stored: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Reorder the rows of a dense kernel after a Flatten, from channels first to channels last.

    Args:
        shape: (rows, columns, channels) of the feature map that is flattened.

    >>> dense(np.arange(8.0).reshape(8, 1), (2, 2, 2)).ravel().tolist()
    [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]
    """
    rows, columns, channels = shape
    maps = stored.reshape(channels, rows, columns, -1)
    return maps.transpose(1, 2, 0, 3).reshape(stored.shape)


def gates(kind: str, stored: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join a Keras 1 GRU's (reset_after=False) or LSTM's W, U, b of each gate into three arrays."""
    order, wanted = GATES[kind]
    by_gate = {gate: stored[3 * k : 3 * k + 3] for k, gate in enumerate(order)}
    return [np.concatenate([by_gate[gate][part] for gate in wanted], -1) for part in range(3)]
