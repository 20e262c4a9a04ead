"""MusicTaggerCRNN: a Keras 1 network that tags music, revived in Keras 3 with its author's weights.

Choi and others 2016, arXiv:1609.04243; code, weights and tags of
https://github.com/keunwoochoi/music-auto_tagging-keras.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from helpers import catalogue, h5files
from helpers.applications import common
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError, WeightsError

layers, ops = keras.layers, keras.ops

SAMPLE_RATE = 12_000  # samples a second
SECONDS = 29.12  # which make 1366 frames
FFT, HOP = 512, 256  # samples
MELS, FRAMES = 96, 1366
PADDING = 37  # frames of zeros on both sides, so that 1440 can be divided by 2, 3, 4 and 4
BLOCKS = ((64, 2), (128, 3), (128, 4), (128, 4))  # filters, pooling

TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip


def MusicTaggerCRNN(  # noqa: N802 - a constructor's name, as in keras.applications
    weights: str | Path | None = "msd",
    input_tensor: Any = None,
    include_top: bool = True,
    classes: int = len(TAGS),
) -> keras.Model:
    """MusicTaggerCRNN: four convolution blocks over a mel spectrogram, then two GRUs over time.

    Inputs are (N, 96, 1366, 1), decibels, as `preprocess_input` gives them; outputs are the
    probabilities of the tags, each by itself, or without the top 32 features.

    The author's weights give the tags that he published: from decibels, and with the file's
    `running_std` read as a variance, as Keras came to read it. Measured, it is a standard
    deviation, and the network was trained on standardised spectrograms;
    `tests/test_music_tagger.py` shows both, and what the network says when it gets its due.

    Args:
        weights: `"msd"` for the author's, trained on the Million Song Dataset (from Keras's cache,
            or downloaded there; `weights.fetch` also asks mirrors), a weight file of any layout
            with this model's layers, or None for a random start.
        input_tensor: a Keras tensor to build on, instead of an input of its own.
        include_top: keep the classifier. The author's file serves both.
        classes: outputs of the classifier; 50 with the author's weights.

    Raises:
        ArgumentError: arguments that do not go together.
        WeightsError: the weights could not be had.
        WeightsError: the file does not fit.

    Example:
        >>> MusicTaggerCRNN(weights=None, include_top=False).output_shape
        (None, 32)
    """
    if weights == "msd" and include_top and classes != len(TAGS):
        raise ArgumentError(
            f'weights="msd" with the top: expected classes={len(TAGS)}, got {classes}. '
            "For other classes use include_top=False and add a head."
        )
    shape = (MELS, FRAMES, 1)
    inputs = layers.Input(shape) if input_tensor is None else common.on_tensor(input_tensor, shape)
    x = layers.ZeroPadding2D((0, PADDING), name="pad")(inputs)
    # By its name it normalises frequencies; its 1440 values in the file are one for each frame.
    x = _bn("bn_0_freq", axis=2)(x)
    for number, (filters, size) in enumerate(BLOCKS, start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = _bn(f"bn{number}")(x)
        x = layers.ELU(name=f"elu{number}")(x)
        x = layers.MaxPooling2D(size, name=f"pool{number}")(x)
        x = layers.Dropout(0.1, name=f"dropout{number}")(x)
    x = layers.Reshape((-1, BLOCKS[-1][0]), name="frames")(x)  # (15 steps in time, 128)
    x = _gru("gru1", return_sequences=True)(x)
    x = _gru("gru2")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    if include_top:
        x = layers.Dense(classes, activation="sigmoid", name="output")(x)
    model = common.model(inputs, x, "music_tagger_crnn")
    if weights is not None:
        path = common.published(catalogue.MUSIC_TAGGER) if weights == "msd" else weights
        _load(common.own(model, inputs), path)
    return model


@keras.saving.register_keras_serializable("helpers")
def keras1_hard_sigmoid(x: Any) -> Any:
    """Keras 1's hard sigmoid, clip(0.2 x + 0.5, 0, 1); Keras 3's has the slope 1 / 6.

    >>> keras1_hard_sigmoid(np.array([-3.0, 1.0, 3.0])).numpy().round(2).tolist()
    [0.0, 0.7, 1.0]
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def preprocess_input(path: str | Path) -> np.ndarray:
    """A sound file → the mel spectrogram, in decibels, that the network takes.

    The 29.12 seconds in the middle, or all of a shorter sound and then silence; mono, 12 kHz; 96
    mel bands of 512 samples every 256. The author took decibels of the *square* of the mel power,
    and kept the loudest 80.

    Args:
        path: what libsndfile reads: WAV, FLAC, Ogg, MP3 and others.

    Returns:
        (96, 1366, 1), float32: bands from low to high, frames from early to late.

    Raises:
        DataError: no readable sound, or librosa is not installed.

    Source:
        `audio_processor.py` of the author's repository.
    """
    path = Path(path)
    try:
        import librosa
        import soundfile
    except (ImportError, OSError) as error:  # OSError: soundfile found no libsndfile
        raise DataError(
            f"{path.name}: a sound file needs librosa, which is not installed ({error}). "
            "Run: pip install -e '.[audio]'"
        ) from None
    if not path.is_file():
        raise DataError(f"{path}: no such file. Expected a sound, such as WAV, FLAC or MP3.")
    try:
        # librosa.load would read the whole file, and try programs of the system on a bad one.
        with soundfile.SoundFile(path) as file:
            wanted = math.ceil(SECONDS * file.samplerate)
            file.seek(max(0, (file.frames - wanted) // 2))
            rate, sound = file.samplerate, file.read(wanted, "float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DataError(
            f"{path.name}: no readable sound ({error}). Expected WAV, FLAC, Ogg or MP3."
        ) from error
    if not len(sound) or not np.isfinite(sound).all():
        raise DataError(f"{path.name}: it holds {'no sound' if not len(sound) else 'NaN or inf'}.")
    mono = librosa.resample(sound.mean(axis=1), orig_sr=rate, target_sr=SAMPLE_RATE)
    mono = librosa.util.fix_length(mono, size=round(SECONDS * SAMPLE_RATE))
    power = librosa.feature.melspectrogram(
        y=mono, sr=SAMPLE_RATE, n_fft=FFT, hop_length=HOP, n_mels=MELS,
        pad_mode="reflect",  # as librosa did then; now it pads with zeros
    )  # fmt: skip
    return librosa.power_to_db(power**2)[..., None].astype("float32")


def read_spectrogram(path: str | Path) -> np.ndarray:
    """A mel spectrogram that was stored as .npy, in decibels.

    Args:
        path: a NumPy file of numbers, (96, 1366); axes of length 1 around them do not matter.

    Returns:
        (96, 1366, 1), float32.

    Raises:
        DataError: no such array.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Expected a mel spectrogram, ({MELS}, {FRAMES}).")
    try:  # mapped: a header can claim any size
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path.name}: expected a NumPy array of numbers, and it is none ({error})."
        ) from error
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "fiu":
        kind = getattr(stored, "dtype", type(stored).__name__)
        raise DataError(f"{path.name}: expected a NumPy array of numbers, got {kind}.")
    shape = tuple(side for side in stored.shape if side != 1)
    if shape != (MELS, FRAMES):
        raise DataError(
            f"{path.name}: expected a mel spectrogram ({MELS}, {FRAMES}), bands by frames, got "
            f"{stored.shape}. `preprocess_input` makes one from a sound."
        )
    decibels = np.array(stored, "float32").reshape(MELS, FRAMES, 1)
    if not np.isfinite(decibels).all():
        raise DataError(f"{path.name}: expected decibels, and some are NaN or inf.")
    return decibels


def decode_predictions(probabilities: Any, top: int = 5) -> list[list[tuple[str, float]]]:
    """Probabilities (N, 50) → each clip's `top` best (tag, probability).

    Raises:
        ArgumentError: not (N, 50).

    >>> decode_predictions(np.eye(50)[[9]], top=1)
    [[('jazz', 1.0)]]
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(TAGS):
        raise ArgumentError(
            f"decode_predictions: expected probabilities (N, {len(TAGS)}), "
            f"got {probabilities.shape}. Without the top the network gives features."
        )
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [(TAGS[i], float(row[i])) for i in indices]
        for row, indices in zip(probabilities, best, strict=True)
    ]


def _bn(name: str, axis: int = -1) -> keras.layers.BatchNormalization:
    # The epsilon is Keras 1's: where the file's input never varied, it stores sqrt(1e-6).
    return layers.BatchNormalization(axis=axis, epsilon=1e-6, name=name)


def _gru(name: str, return_sequences: bool = False) -> keras.layers.GRU:
    # Keras 1's: the reset gate comes before the recurrent matrix, not after it.
    return layers.GRU(
        32,
        recurrent_activation=keras1_hard_sigmoid,
        reset_after=False,
        return_sequences=return_sequences,
        name=name,
    )


def _load(model: keras.Model, path: str | Path) -> None:
    """By name, all layers of the model; a file's classifier may be left over.

    The author's kernels are stored as Theano orders them, (out, in, rows, columns), and were made
    for TensorFlow: transposed, not turned by 180°. `h5files` puts the gates in Keras 3's order.
    """
    report = h5files.load_weights(model, path, by_name=True, trained_kernels="tf")
    extra = [name for name in report.unexpected if not name.startswith("output/")]
    if report.missing or extra:
        raise WeightsError(
            f"{Path(path).name}: expected the layers of {model.name}; missing in the file: "
            f"{', '.join(report.missing) or 'none'}; unexpected: {', '.join(extra) or 'none'}."
        )
