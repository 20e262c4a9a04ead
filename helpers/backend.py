"""Keras, imported with TensorFlow's start-up chatter held back, and with oneDNN in use.

oneDNN is Intel's library of convolutions and products of matrices, which TensorFlow brings along.
On processors without AVX-512 it is off unless it is asked for, before TensorFlow is imported. What
it gives depends on the network: seen there, training EfficientNet-Lite0 takes about half the time
(tools/benchmarks/RESULTS.md). `TF_ENABLE_ONEDNN_OPTS=0` leaves it off.

TensorFlow's C++ code writes a dozen lines to the error stream while it is imported ("Could not
find cuda drivers", "oneDNN custom operations are on"). They are no errors, no environment
variable stops them all (https://github.com/tensorflow/tensorflow/issues/100442), and in a notebook
they are a learner's first sight of Keras. If the import fails, everything held back is shown.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def error_stream_held_back() -> Iterator[None]:
    """Keeps what C++ code writes to the error stream, and shows it only if there is an error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # not Ctrl-C, which has nothing to do with it
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

with error_stream_held_back():
    import keras
    import tensorflow

    # It warns of retracing whenever several models predict, as they do in any lesson.
    tensorflow.get_logger().setLevel("ERROR")
    tensorflow.config.list_physical_devices()  # CUDA's complaint about a missing GPU comes here

__all__ = ["error_stream_held_back", "keras", "tensorflow"]
