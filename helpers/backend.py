"""Keras and TensorFlow, imported without TensorFlow's start-up messages, and with oneDNN in use.

oneDNN, Intel's library, makes training about twice as fast on processors without AVX-512, where it
is off by default. `TF_ENABLE_ONEDNN_OPTS=0` leaves it off.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import ArgumentError

SETTINGS = {
    "backend": "tensorflow",
    "image_data_format": "channels_last",
    "floatx": "float32",
    "nnx_enabled": False,
}
HOME = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras"))


@contextlib.contextmanager
def error_stream_held_back() -> Iterator[None]:
    """Hold back what C++ code writes to the error stream, and show it only after an exception.

    Nothing else stops all that TensorFlow writes while its libraries are loaded
    (https://github.com/tensorflow/tensorflow/issues/100442).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if sys.stderr is None:  # closed, as by `2>&-`
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # not Ctrl-C, which has nothing to do with it
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _check_settings() -> None:
    """Refuse settings that this package cannot work with, before Keras acts on them."""
    path, settings = HOME / "keras.json", {}
    with contextlib.suppress(OSError, ValueError):  # Keras takes its defaults then
        settings = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ArgumentError(f"{path}: expected a JSON object, got {settings!r:.40}. Remove it.")
    for key, expected in SETTINGS.items():
        found, where = settings.get(key, expected), f'"{key}" in {path}'
        if key == "backend" and os.environ.get("KERAS_BACKEND"):
            found, where = os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
        if found != expected:
            raise ArgumentError(f"{where}: expected {expected}, got {found}. Set it to {expected}.")


_check_settings()
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

with error_stream_held_back():
    try:
        import keras
    except ValueError as error:
        raise ArgumentError(
            f"Keras does not start: {error}. Its settings are in {HOME / 'keras.json'} and in the "
            "variables KERAS_…; remove that one."
        ) from error
    import tensorflow

    # It warns of retracing whenever several models predict, as they do in any lesson.
    tensorflow.get_logger().setLevel("ERROR")
    tensorflow.config.list_physical_devices()  # CUDA's message about a missing GPU comes here

__all__ = ["error_stream_held_back", "keras", "tensorflow"]
