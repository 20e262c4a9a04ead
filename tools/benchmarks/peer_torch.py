"""A peer for bench_extract.py, run in an environment that has PyTorch and timm."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import frame

BATCH = 32


def extract(folder: str) -> Callable[[], float]:
    """timm's MobileNet, channels_last, and a DataLoader: features to a file, pictures/s."""
    import numpy as np
    import timm
    import torch
    from torchvision import datasets, transforms

    model = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0).eval()
    model = model.to(memory_format=torch.channels_last)
    scaled = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    pictures = datasets.ImageFolder(folder, scaled)
    # With two cores one process to decode is the fastest; 0, 2 and 4 were tried.
    loader = torch.utils.data.DataLoader(pictures, BATCH, num_workers=1, persistent_workers=True)

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


if __name__ == "__main__":
    frame.serve({"extract": extract})
