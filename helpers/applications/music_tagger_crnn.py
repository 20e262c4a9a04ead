"""MusicTaggerCRNN: a Keras 1 network that tags music, in Keras 3 with its author's weights.

Choi and others 2016, arXiv:1609.04243; code, weights and tags of
https://github.com/keunwoochoi/music-auto_tagging-keras.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from helpers import h5files, zoo
from helpers import weights as weight_files
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
    include_top: bool = True,
    weights: str | Path | None = "msd",
    input_tensor: Any = None,
    input_shape: common.Shape | None = None,
    pooling: str | None = None,
    classes: int = len(TAGS),
    classifier_activation: Any = "sigmoid",
    name: str = "music_tagger_crnn",
) -> keras.Model:
    """Build MusicTaggerCRNN: four convolution blocks over a mel spectrogram, then two GRUs.

    Inputs are decibels, (N, 96, 1366, 1), as `preprocess_input` gives them. Outputs are the tags'
    probabilities, each by itself, or without the top 32 features. The author's weights give the
    tags that he published, with the file's `running_std` read as a variance, as Keras came to read
    it; `tests/test_music_tagger.py` shows that it is a standard deviation.

    Arguments are those of `EfficientNetLite0`, except for:

    Args:
        weights: `"msd"` for the author's, trained on the Million Song Dataset and downloaded
            once; the path of a weight file with this model's layers; or None.
        input_shape: (96, 1366, 1) or None; the network has no other.
        pooling: makes no difference, for the features have no positions left.

    Example:
        >>> MusicTaggerCRNN(weights=None, include_top=False).output_shape
        (None, 32)
    """
    common.check_arguments(
        include_top, weights, pooling, classes, classifier_activation, "msd", len(TAGS), "sigmoid"
    )
    shape = (MELS, FRAMES, 1)
    if input_shape is not None and tuple(input_shape) != shape:
        raise ArgumentError(f"input_shape: expected {shape}, got {input_shape}.")
    tensor = layers.Input(shape) if input_tensor is None else input_tensor
    inputs = common.check_tensor(tensor, shape)
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
    # Keras 1's: the reset gate comes before the recurrent matrix, not after it.
    gate: dict[str, Any] = {"recurrent_activation": keras1_hard_sigmoid, "reset_after": False}
    x = layers.GRU(32, return_sequences=True, name="gru1", **gate)(x)
    x = layers.GRU(32, name="gru2", **gate)(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    if include_top:
        x = layers.Dense(classes, activation=classifier_activation, name="output")(x)
    network = keras.Model(inputs, x, name=name)  # without layers that input_tensor came from
    if weights == "msd":
        weights = weight_files.fetch("MusicTaggerCRNN")
    if weights is not None:
        # By name, for the author's file has the top; its kernels are Theano's only in their order.
        report = h5files.load_weights(network, weights, by_name=True, trained_kernels="tf")
        extra = [each for each in report.unexpected if not each.startswith("output/")]
        if report.missing or extra:
            raise WeightsError(
                f"{Path(weights).name}: expected the layers of {name}, but in the file these are "
                f"missing: {list(report.missing)}, and these are unexpected: {extra}."
            )
    return common.from_source(inputs, x, name)


@keras.saving.register_keras_serializable("helpers")
def keras1_hard_sigmoid(x: Any) -> Any:
    """Compute Keras 1's hard sigmoid; Keras 3's has the slope 1 / 6.

    Example:
        >>> keras1_hard_sigmoid(np.array([-3.0, 1.0, 3.0])).numpy().round(2).tolist()
        [0.0, 0.7, 1.0]
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def preprocess_input(path: str | Path) -> np.ndarray:
    """Turn a sound file into the mel spectrogram, in decibels, (96, 1366, 1), of the network.

    It takes the 29.12 seconds in the middle, or a shorter sound and then silence; mono, 12 kHz.
    As in the author's `audio_processor.py`, decibels are of the *square* of the mel power, and the
    loudest 80 are kept.

    Raises:
        DataError: the file is no readable sound, or librosa isn't installed.
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
    """Read such a spectrogram from a file of `np.save`, with or without axes of length 1.

    Raises:
        DataError: the file holds no such array.
    """
    path = Path(path)
    try:  # mapped, for a header can claim any size
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        sides = tuple(side for side in stored.shape if side != 1)
        if sides != (MELS, FRAMES) or stored.dtype.kind not in "fiu":
            raise ValueError(f"got {stored.dtype} {stored.shape}")
        decibels = np.array(stored, "float32").reshape(MELS, FRAMES, 1)
        if not np.isfinite(decibels).all():
            raise ValueError("some are NaN or inf")
    except (OSError, ValueError, EOFError, AttributeError) as error:  # an archive has no shape
        raise DataError(
            f"{path.name}: expected a NumPy file of decibels, ({MELS}, {FRAMES}), bands by frames "
            f"({error}). `preprocess_input` makes such an array from a sound."
        ) from error
    return decibels


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, float]]]:
    """Name the `top` tags of each sound, (N, 50), with their probabilities, the best first.

    Example:
        >>> decode_predictions(np.eye(50)[[9]], top=1)
        [[('jazz', 1.0)]]
    """
    return zoo.decode(preds, [(tag,) for tag in TAGS], top)


def _bn(name: str, axis: int = -1) -> keras.layers.BatchNormalization:
    # The epsilon is Keras 1's: where the file's input never varied, it stores sqrt(1e-6).
    return layers.BatchNormalization(axis=axis, epsilon=1e-6, name=name)
