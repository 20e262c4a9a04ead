"""th and tf: weights of Theano's and TensorFlow's conventions, and Keras 1's recurrent ones.

Two things differ, and the published file names say both:

- `th_dim_ordering`: channels come first. A kernel is stored (out, in, rows, columns), not (rows,
  columns, in, out), and Flatten counts through the positions of one channel before the next, so
  the first dense layer's rows have another order.
- `th_kernels`: trained with Theano, whose convolution turns each kernel by 180° before it slides
  it over the picture, as the mathematical definition has it. TensorFlow slides it as it is (a
  cross-correlation), so it needs the turned one.
"""

from collections.abc import Sequence

import numpy as np

# The order of the gates in a Keras 1 file, and in Keras 3's matrices.
GATES = {"GRU": ("zrh", "zrh"), "LSTM": ("icfo", "ifco")}


def kernel(stored: np.ndarray, channels_first: bool = True, turn: bool = True) -> np.ndarray:
    """A convolution's kernel as TensorFlow wants it.

    Args:
        stored: (out, in, rows, columns), or with `channels_first=False` (rows, columns, in, out).
        channels_first: the file has th's dimension ordering.
        turn: the file has th's kernels, which are turned by 180°.

    Returns:
        (rows, columns, in, out)

    >>> kernel(np.arange(6.0).reshape(1, 1, 2, 3))[:, :, 0, 0].tolist()
    [[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    """
    turned = stored.transpose(2, 3, 1, 0) if channels_first else stored
    return turned[::-1, ::-1] if turn else turned


def dense(stored: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A dense kernel after a Flatten, from channels first to channels last.

    Args:
        stored: (channels * rows * columns, units).
        shape: (rows, columns, channels) of the map that is flattened.

    Returns:
        (rows * columns * channels, units)

    >>> dense(np.arange(8.0).reshape(8, 1), (2, 2, 2)).ravel().tolist()
    [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]
    """
    rows, columns, channels = shape
    maps = stored.reshape(channels, rows, columns, -1)
    return maps.transpose(1, 2, 0, 3).reshape(stored.shape)


def gates(kind: str, stored: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A Keras 1 recurrent layer's arrays, three for each gate → kernel, recurrent kernel, bias.

    Args:
        kind: `"GRU"` (9 arrays, gates z, r, h) or `"LSTM"` (12 arrays, gates i, c, f, o).
        stored: W (in, units), U (units, units) and b (units,) of the first gate, then of the next.

    Returns:
        (in, gates * units), (units, gates * units), (gates * units,): a GRU's are those of
        `keras.layers.GRU(reset_after=False)`.
    """
    order, wanted = GATES[kind]
    by_gate = {gate: stored[3 * k : 3 * k + 3] for k, gate in enumerate(order)}
    return [np.concatenate([by_gate[gate][part] for gate in wanted], -1) for part in range(3)]
