"""Count the multiply–adds of each network of the zoo, for one picture of its input size.

    python data/measure_multiply_adds.py       # a few minutes; writes data/multiply_adds.csv

Networks are built without values for their weights, so that the largest takes no memory. Counted
are convolutions and Dense layers: one multiply–add for each number of a kernel at each position of
the layer's output. Biases, BatchNorm, activations and pooling are left out, as is usual.
"""

import csv
from math import prod
from pathlib import Path

from tqdm import tqdm

from helpers import zoo
from helpers.backend import keras

PATH = Path(__file__).with_name("multiply_adds.csv")


def blueprint(name: str) -> keras.Model:
    """Build a network whose weights have shapes, and no values."""
    with keras.StatelessScope(initialize_variables=False):
        return zoo.build(name)


def multiply_adds(model: keras.Model) -> int:
    """Count for one picture; the model's input size must be known."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
            continue
        positions = prod(layer.output.shape[1:-1])  # 1 for a Dense layer on a vector
        for weight in layer.weights:
            if len(weight.shape) > 1:  # a kernel
                total += positions * prod(weight.shape)
    return total


def main() -> None:
    """Write the table."""
    rows = []
    for entry in tqdm(zoo.entries()):
        rows.append((entry.name, multiply_adds(blueprint(entry.name))))
        keras.backend.clear_session()
    with PATH.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "multiply_adds"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
