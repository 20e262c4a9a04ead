"""Tag two clips with MusicTaggerCRNN, as published and misread in several ways: old_tagger.csv.

    python data/measure_old_tagger.py WEIGHTS CLIPS    # half a minute

WEIGHTS is the author's music_tagger_crnn_weights_tensorflow.h5, and CLIPS a folder with his
spectrograms, bensound-cute.npy and bensound-actionable.npy; all are in the folder `data` of
https://github.com/keunwoochoi/music-auto_tagging-keras. A row for each reading, clip and tag.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.applications.music_tagger_crnn import (
    MELS,
    TAGS,
    MusicTaggerCRNN,
    read_spectrogram,
)
from helpers.backend import keras

FILE = Path(__file__).with_name("old_tagger.csv")
GRUS = ("gru1", "gru2")
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")
BATCH_NORMS = ("bn_0_freq", "bn1", "bn2", "bn3", "bn4")


def turned_kernels(model: keras.Model) -> None:
    """Turn each kernel by 180 degrees, as Theano's must be."""
    for name in CONVOLUTIONS:
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel[::-1, ::-1], bias])


def todays_hard_sigmoid(model: keras.Model) -> None:
    """Let the gates use Keras 3's function of that name."""
    for name in GRUS:
        model.get_layer(name).cell.recurrent_activation = keras.activations.hard_sigmoid


def alphabetical_gates(model: keras.Model) -> None:
    """Join the gates in the order of an HDF5 group's keys: h, r, z."""
    for name in GRUS:
        arrays = []
        for array in model.get_layer(name).get_weights():
            z, r, h = np.split(array, 3, axis=-1)
            arrays.append(np.concatenate([h, r, z], axis=-1))
        model.get_layer(name).set_weights(arrays)


def todays_reset(model: keras.Model) -> keras.Model:
    """Apply the reset gate after the recurrent kernel, as Keras 3 does by default."""

    def built_anew(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in GRUS:
            config["reset_after"] = True
        return layer.__class__.from_config(config)

    clone = keras.models.clone_model(model, clone_function=built_anew)
    for layer in model.layers[1:]:
        arrays = layer.get_weights()
        if layer.name in GRUS:  # a second bias, which was not there
            arrays[2] = np.stack([arrays[2], np.zeros_like(arrays[2])])
        clone.get_layer(layer.name).set_weights(arrays)
    return clone


def deviations(model: keras.Model) -> None:
    """Read running_std as what its name says."""
    for name in BATCH_NORMS:
        variance = model.get_layer(name).moving_variance
        variance.assign(variance**2)


def unchanged(model: keras.Model) -> None:
    """Read the file as it was read when the tags were published."""


def upside_down(clip: np.ndarray) -> np.ndarray:
    """Mirror the frequencies."""
    assert len(clip) == MELS
    return clip[::-1].copy()


def standardised(clip: np.ndarray) -> np.ndarray:
    """Return the clip with mean 0 and deviation 1."""
    return (clip - clip.mean()) / clip.std()


def as_is(clip: np.ndarray) -> np.ndarray:
    """Return the clip."""
    return clip


READINGS: dict[str, tuple[Callable[..., keras.Model | None], Callable[..., np.ndarray]]] = {
    "as published": (unchanged, as_is),
    "today's hard_sigmoid": (todays_hard_sigmoid, as_is),
    "reset_after=True": (todays_reset, as_is),
    "gates in alphabetical order": (alphabetical_gates, as_is),
    "kernels turned by 180°": (turned_kernels, as_is),
    "spectrogram upside down": (unchanged, upside_down),
    "as it was trained": (deviations, standardised),
}


def main() -> None:
    """Measure, and write old_tagger.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("clips", type=Path)
    options = parser.parse_args()
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["reading", "clip", "tag", "probability"])
        for reading, (change, prepare) in READINGS.items():
            model = MusicTaggerCRNN(weights=options.weights)
            model = change(model) or model
            for name in ("cute", "actionable"):
                clip = prepare(read_spectrogram(options.clips / f"bensound-{name}.npy"))
                tags = model.predict(clip[np.newaxis], verbose=0)[0]
                for tag, probability in zip(TAGS, tags, strict=True):
                    writer.writerow([reading, name, tag, f"{probability:.6f}"])
                best = ", ".join(f"{TAGS[k]} {tags[k]:.3f}" for k in np.argsort(-tags)[:5])
                print(f"{reading}, {name}: {best}", flush=True)


if __name__ == "__main__":
    main()
