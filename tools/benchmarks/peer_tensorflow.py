"""A peer for bench_finetune.py: TensorFlow as it comes, without oneDNN on some processors."""

from collections.abc import Callable

import frame


def whole(*arguments: str) -> Callable[[], float]:
    """An epoch of the whole network, arrays to fit; seconds."""
    import tensorflow  # before helpers.backend, which asks for oneDNN

    tensorflow.get_logger().setLevel("ERROR")
    import bench_finetune

    return bench_finetune.whole(*arguments)


if __name__ == "__main__":
    frame.serve({"whole": whole})
