"""The peers that need PyTorch and timm, run in an environment that has them."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import frame

BATCH = 32


def extract(
    folder: str, name: str = "mobilenetv1_100", crop: bool = False, workers: int = 1
) -> Callable[[], float]:
    """One of timm's networks, channels_last, and a DataLoader: features to a file, pictures/s.

    With two cores and pictures of 224 x 224, one process to decode is the fastest; 0, 2 and 4
    were tried.
    """
    import numpy as np
    import timm
    import torch
    from torchvision import datasets, transforms

    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    model = model.to(memory_format=torch.channels_last)
    cropped = [transforms.Resize(224), transforms.CenterCrop(224)] if crop else []
    scaled = [*cropped, transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    pictures = datasets.ImageFolder(folder, transforms.Compose(scaled))
    loader = torch.utils.data.DataLoader(
        pictures, BATCH, num_workers=workers, persistent_workers=True
    )

    def run() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            found = [
                model(batch.to(memory_format=torch.channels_last)).numpy() for batch, _ in loader
            ]
        np.save(Path(tempfile.gettempdir()) / "torch.npy", np.concatenate(found))
        assert sum(map(len, found)) == len(pictures)
        return len(pictures) / (time.perf_counter() - started)

    run()
    return run


def photographs(folder: str, name: str) -> Callable[[], float]:
    """The same with pictures of any size, and two processes to decode."""
    return extract(folder, name, crop=True, workers=2)


if __name__ == "__main__":
    frame.serve({"extract": extract, "photographs": photographs})
