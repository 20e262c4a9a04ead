import csv
import hashlib
import sys
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SHARED

from helpers import datasets, weights, zoo
from helpers.applications import music_tagger_crnn
from helpers.applications.music_tagger_crnn import (
    TAGS,
    MusicTaggerCRNN,
    decode_predictions,
    keras1_hard_sigmoid,
    preprocess_input,
    read_spectrogram,
)
from helpers.backend import keras
from helpers.errors import ArgumentError, DataError, WeightsError

AUTHORS = SHARED / "weights" / "music_tagger_crnn_weights_tensorflow.h5"
CLIPS = SHARED / "audio"
needs_the_authors_file = pytest.mark.skipif(
    not (AUTHORS.is_file() and CLIPS.is_dir()),
    reason="the author's weights and clips are not beside the project",
)
PUBLISHED = {
    "cute": "jazz 0.444, instrumental 0.151, folk 0.103, Hip-Hop 0.103, ambient 0.077",
    "actionable": "jazz 0.416, instrumental 0.181, Hip-Hop 0.085, folk 0.085, rock 0.081",
}
RATE, LENGTH = 12_000, 349_440  # 29.12 s

Arrays = dict[str, dict[str, np.ndarray]]


def said(model: keras.Model, clip: np.ndarray) -> str:
    best = decode_predictions(model.predict_on_batch(clip[None]))[0]
    return ", ".join(f"{tag} {probability:.3f}" for tag, probability in best)


def clip(name: str) -> np.ndarray:
    return read_spectrogram(CLIPS / f"bensound-{name}.npy")


# --- the author's file ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authors() -> keras.Model:
    return MusicTaggerCRNN(weights=AUTHORS)


@needs_the_authors_file
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_tags(authors: keras.Model, name: str) -> None:
    assert said(authors, clip(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_lessons_table_has_the_published_tags(name: str) -> None:
    with (datasets.DATA / "old_tagger.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            r for r in csv.DictReader(file) if (r["reading"], r["clip"]) == ("as published", name)
        ]
    assert tuple(row["tag"] for row in rows) == TAGS
    best = sorted(rows, key=lambda row: -float(row["probability"]))[:5]
    found = ", ".join(f"{row['tag']} {float(row['probability']):.3f}" for row in best)
    assert found == PUBLISHED[name]


@needs_the_authors_file
def test_the_file_is_the_zoos() -> None:
    file = zoo.MUSIC_TAGGER
    assert hashlib.sha256(AUTHORS.read_bytes()).hexdigest() == file.hash
    assert AUTHORS.name == file.name
    assert MusicTaggerCRNN(weights=None).count_params() == file.parameters


@needs_the_authors_file
def test_without_the_top_the_same_file_gives_the_features(authors: keras.Model) -> None:
    features = MusicTaggerCRNN(weights=AUTHORS, include_top=False)
    found = features.predict_on_batch(clip("cute")[None])
    assert found.shape == (1, 32)
    kernel, bias = authors.get_layer("output").get_weights()
    expected = authors.predict_on_batch(clip("cute")[None])
    np.testing.assert_allclose(1 / (1 + np.exp(-(found @ kernel + bias))), expected, atol=1e-5)


@needs_the_authors_file
def test_the_files_running_std_is_a_deviation_of_standardised_clips(authors: keras.Model) -> None:
    """The published tags come from reading it as a variance, and from clips in decibels.

    Given what it was trained on, the network sees in each layer what it saw in training. In the
    second clip it then hears rock, as the author's README says of his first network, not jazz.
    """
    model = keras.models.clone_model(authors)
    model.set_weights(authors.get_weights())
    names = [f"bn{number}" for number in range(1, 5)]
    stored = {name: model.get_layer(name).moving_variance.numpy() for name in names}
    for name in ("bn_0_freq", *names):
        variance = model.get_layer(name).moving_variance
        variance.assign(variance**2)
    clips = np.stack([clip(name) for name in PUBLISHED])
    mean, deviation = clips.mean((1, 2, 3), keepdims=True), clips.std((1, 2, 3), keepdims=True)
    standardised = (clips - mean) / deviation

    inner = keras.Model(model.inputs, [model.get_layer(name).input for name in names])
    for name, maps in zip(names, inner.predict_on_batch(standardised), strict=True):
        assert np.median(maps.std((0, 1, 2)) / stored[name]) == pytest.approx(1, abs=0.15), name
    for name, maps in zip(names, inner.predict_on_batch(clips), strict=True):
        assert np.median(maps.std((0, 1, 2)) / stored[name]) > 5, name

    assert [said(model, one) for one in standardised] == [
        "jazz 0.242, instrumental 0.151, folk 0.088, guitar 0.084, rock 0.071",
        "rock 0.408, classic rock 0.258, Progressive rock 0.160, instrumental 0.124, "
        "hard rock 0.109",
    ]


# --- the network ---------------------------------------------------------------------------------


def test_shapes_and_names() -> None:
    model = MusicTaggerCRNN(weights=None, input_shape=(96, 1366, 1), name="mine")
    assert model.name == "mine"
    assert model.input_shape == (None, 96, 1366, 1)
    assert model.output_shape == (None, 50)
    assert model.get_layer("frames").output.shape == (None, 15, 128)
    logits = MusicTaggerCRNN(weights=None, classes=7, classifier_activation=None)
    assert logits.output_shape == (None, 7)
    assert logits.layers[-1].activation is keras.activations.linear


def test_it_builds_on_another_models_output(tmp_path: Path) -> None:
    path = tmp_path / "own.weights.h5"
    own = MusicTaggerCRNN(weights=None, include_top=False, pooling="avg")
    assert own.output_shape == (None, 32)
    own.save_weights(path)
    stereo = keras.Input((96, 1366, 2))
    mono = keras.layers.Conv2D(1, 1, name="mine")(stereo)
    model = MusicTaggerCRNN(weights=path, input_tensor=mono, include_top=False)
    assert model.input_shape == (None, 96, 1366, 2)
    for name in ("bn_0_freq", "conv3", "gru1", "gru2"):
        for one, other in zip(
            own.get_layer(name).get_weights(), model.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"classes": 7}, "classes=50, got 7"),
        ({"weights": "imagenet"}, '"msd".*imagenet'),
        ({"classifier_activation": "softmax"}, '"sigmoid".*softmax'),
        ({"weights": None, "input_shape": (96, 1300, 1)}, r"\(96, 1366, 1\), got \(96, 1300, 1\)"),
        ({"weights": None, "input_tensor": keras.Input((96, None, 1))}, r"\(None, 96, None, 1\)"),
    ],
    ids=["classes", "weights", "activation", "shape", "tensor"],
)
def test_arguments_that_do_not_go_together(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(ArgumentError, match=fact):
        MusicTaggerCRNN(**arguments)


def test_msd_is_the_published_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tmp_path / "random.weights.h5"

    MusicTaggerCRNN(weights=None).save_weights(tmp_path / "random.weights.h5")
    monkeypatch.setattr(weights, "fetch", fetch)
    MusicTaggerCRNN()
    assert asked == ["MusicTaggerCRNN"]


def test_a_saved_model_is_loaded_again(tmp_path: Path) -> None:
    model = MusicTaggerCRNN(weights=None, include_top=False)
    model.save(tmp_path / "tagger.keras")
    loaded = keras.models.load_model(tmp_path / "tagger.keras")
    assert loaded.get_layer("gru2").cell.recurrent_activation is keras1_hard_sigmoid


# --- a Keras 1 file, by hand ---------------------------------------------------------------------


def keras1_arrays() -> Arrays:
    """Random weights in Keras 1's form: th kernels, three arrays for each gate."""
    rng = np.random.default_rng(0)
    found: Arrays = {}

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(0, scale, shape).astype("float32")

    def bn(name: str, size: int) -> None:
        found[name] = {
            f"{name}_gamma_1:0": 1 + normal(size, scale=0.1),
            f"{name}_beta_1:0": normal(size),
            f"{name}_running_mean_1:0": normal(size),
            f"{name}_running_std_1:0": rng.uniform(0.5, 2, size).astype("float32"),
        }

    bn("bn_0_freq", 1440)
    channels = 1
    for number, filters in enumerate((64, 128, 128, 128), start=1):
        found[f"conv{number}"] = {
            f"conv{number}_W_1:0": normal(filters, channels, 3, 3, scale=1 / 3 / channels**0.5),
            f"conv{number}_b_1:0": normal(filters),
        }
        bn(f"bn{number}", filters)
        channels = filters
    for name, size in (("gru1", 128), ("gru2", 32)):
        found[name] = {}
        for gate in "zrh":
            found[name][f"{name}_W_{gate}:0"] = normal(size, 32, scale=2 / size**0.5)
            found[name][f"{name}_U_{gate}:0"] = normal(32, 32, scale=0.4)
            found[name][f"{name}_b_{gate}:0"] = normal(32)
    found["output"] = {"output_W_1:0": normal(32, 50), "output_b_1:0": normal(50)}
    return found


def write_keras1(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["input_2", *arrays], "S")
        file.create_group("input_2").attrs["weight_names"] = np.array([], "S")
        for name, weights in arrays.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array(list(weights), "S")
            for key, array in weights.items():
                group[key] = array
    return path


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return keras1_arrays()


@pytest.fixture(scope="module")
def random_model(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    path = write_keras1(tmp_path_factory.mktemp("keras1") / "random.h5", arrays)
    return MusicTaggerCRNN(weights=path)


def between(model: keras.Model, first: str, last: str) -> Callable[[np.ndarray], np.ndarray]:
    part = keras.Model(model.get_layer(first).input, model.get_layer(last).output)
    return lambda batch: part.predict_on_batch(batch.astype("float32"))


@pytest.mark.parametrize(("name", "inputs"), [("gru1", 128), ("gru2", 32)])
def test_a_gru_by_hand(random_model: keras.Model, arrays: Arrays, name: str, inputs: int) -> None:
    steps = np.random.default_rng(1).normal(size=(2, 15, inputs))
    w = {key.removeprefix(f"{name}_")[:3]: array for key, array in arrays[name].items()}

    def gate(which: str, step: np.ndarray, state: np.ndarray) -> np.ndarray:
        return step @ w[f"W_{which}"] + state @ w[f"U_{which}"] + w[f"b_{which}"]

    def hard(values: np.ndarray) -> np.ndarray:  # Keras 1's
        return np.where(values < -2.5, 0, np.where(values > 2.5, 1, 0.2 * values + 0.5))

    state, states = np.zeros((2, 32)), []
    for time in range(15):
        step = steps[:, time]
        update, reset = hard(gate("z", step, state)), hard(gate("r", step, state))
        candidate = np.tanh(gate("h", step, reset * state))
        state = update * state + (1 - update) * candidate
        states.append(state)
    expected = np.stack(states, 1) if name == "gru1" else state
    found = between(random_model, name, name)(steps)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.1


def test_a_convolution_over_channels_by_hand(random_model: keras.Model, arrays: Arrays) -> None:
    maps = np.random.default_rng(3).normal(size=(48, 720, 64))
    found = between(random_model, "conv2", "conv2")(maps[None])[0]
    around = np.pad(maps, ((1, 1), (1, 1), (0, 0)))
    kernel, bias = arrays["conv2"].values()
    for row, column in [(0, 0), (10, 300), (47, 719)]:
        window = around[row : row + 3, column : column + 3]
        expected = bias + np.einsum("oijk,jki->o", kernel, window)
        np.testing.assert_allclose(found[row, column], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda arrays: arrays.pop("gru2"), "gru2"),
        (lambda arrays: arrays.update(extra=arrays["bn1"]), "extra"),
        (lambda arrays: arrays["bn3"].update({"bn3_beta_1:0": np.zeros(127, "float32")}), "127"),
    ],
    ids=["a layer missing", "a layer too many", "another shape"],
)
def test_a_file_that_does_not_fit(change: Any, fact: str, tmp_path: Path) -> None:
    arrays = keras1_arrays()
    change(arrays)
    with pytest.raises(WeightsError, match=fact):
        MusicTaggerCRNN(weights=write_keras1(tmp_path / "other.h5", arrays))


# --- sounds --------------------------------------------------------------------------------------

# soundfile is imported by librosa too, and neither is to be imported when tests are collected.


def tone(hertz: float, seconds: float, rate: int = RATE, loudness: float = 0.4) -> np.ndarray:
    return loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_wave(path: Path, *channels: np.ndarray, rate: int = RATE) -> Path:
    samples = np.stack(channels, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def to_mel(hertz: float) -> float:
    """Slaney's scale: 3 mel for 200 Hz up to 1000 Hz, then 27 for each factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def to_hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


EDGES = [to_hertz(mel) for mel in np.linspace(0, to_mel(RATE / 2), 96 + 2)]


def band_of(hertz: float) -> int:
    return int(np.argmin([abs(edge - hertz) for edge in EDGES[1:-1]]))


def test_two_tones_peak_at_their_bands(tmp_path: Path) -> None:
    sound = tone(700, 29.12) + tone(3000, 29.12)
    found = preprocess_input(write_wave(tmp_path / "tones.wav", sound))
    assert found.shape == (96, 1366, 1)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.max() - found.min() == pytest.approx(80, abs=1e-3)
    spectrum = found[:, 600, 0]
    inner = spectrum[1:-1]
    peaks = 1 + np.flatnonzero((inner > spectrum[:-2]) & (inner > spectrum[2:]) & (inner > 0))
    assert peaks.tolist() == [band_of(700), band_of(3000)]


def test_a_frame_by_hand(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, LENGTH)
    path = write_wave(tmp_path / "noise.wav", sound)
    found = preprocess_input(path)[:, :, 0]
    samples = np.round(sound * 32767) / 32768
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    bins = np.arange(257) * RATE / 512
    reflected = np.concatenate([samples[256:0:-1], samples])  # a frame is centred at its time
    for frame in (0, 1, 700):
        power = np.abs(np.fft.rfft(window * reflected[frame * 256 :][:512])) ** 2
        for band in (0, 20, 95):
            low, centre, high = EDGES[band : band + 3]
            triangle = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
            mel = (np.maximum(triangle, 0) * power).sum() * 2 / (high - low)
            assert found[band, frame] == pytest.approx(10 * np.log10(mel**2), abs=0.01)


def test_a_short_sound_is_followed_by_silence(tmp_path: Path) -> None:
    found = preprocess_input(write_wave(tmp_path / "short.wav", tone(700, 10)))[:, :, 0]
    last = 10 * RATE // 256
    assert found[band_of(700), last - 5] > 20
    assert (found[:, last + 3 :] == found.min()).all()


def test_of_a_long_sound_the_middle_is_taken(tmp_path: Path) -> None:
    sound = np.concatenate([tone(700, 10), tone(3000, 29.12), tone(700, 10)])
    found = preprocess_input(write_wave(tmp_path / "long.wav", sound))[:, 2:-2, 0]
    assert (found.argmax(0) == band_of(3000)).all()


def test_channels_are_averaged_and_rates_made_the_same(tmp_path: Path) -> None:
    left, right = tone(700, 29.12, 44_100), tone(3000, 29.12, 44_100)
    found = preprocess_input(write_wave(tmp_path / "stereo.wav", left, right, rate=44_100))
    expected = preprocess_input(
        write_wave(tmp_path / "mono.wav", (tone(700, 29.12) + tone(3000, 29.12)) / 2)
    )
    loud = expected[:, 5:-5] > 0
    np.testing.assert_allclose(found[:, 5:-5][loud], expected[:, 5:-5][loud], atol=0.5)
    assert loud.any(axis=0).all()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no sound")


def no_frames(path: Path) -> None:
    write_wave(path, np.zeros(0))


def not_a_number(path: Path) -> None:
    import soundfile

    soundfile.write(path, np.array([0.1, np.nan, 0.1] * 1000), RATE, "FLOAT", format="WAV")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "no such file"),
        (empty, "no readable sound"),
        (text, "no readable sound"),
        (no_frames, "holds no sound"),
        (not_a_number, "holds NaN"),
    ],
    ids=["missing", "a folder", "empty", "text", "no frames", "NaN"],
)
def test_no_sound(write: Callable[[Path], Any], reason: str, tmp_path: Path) -> None:
    write(tmp_path / "sound.wav")
    with pytest.raises(DataError, match=f"sound.wav: .*{reason}"):
        preprocess_input(tmp_path / "sound.wav")


@pytest.mark.parametrize("missing", ["librosa", "soundfile"])
def test_without_librosa(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    path = write_wave(tmp_path / "tone.wav", tone(700, 1))
    with pytest.raises(DataError, match=r"needs librosa.*pip install -e '\.\[audio\]'"):
        preprocess_input(path)


def test_only_a_sound_needs_librosa() -> None:
    assert not {"librosa", "soundfile"} & set(vars(music_tagger_crnn))


# --- stored spectrograms -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 1366), (1, 96, 1366, 1)])
@pytest.mark.parametrize("dtype", ["float64", "int16"])
def test_stored_spectrograms(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    decibels = np.random.default_rng(0).integers(-40, 40, (96, 1366)).astype(dtype)
    np.save(tmp_path / "clip.npy", decibels.reshape(shape))
    found = read_spectrogram(tmp_path / "clip.npy")
    assert found.dtype == np.float32
    assert found.shape == (96, 1366, 1)
    np.testing.assert_array_equal(found[..., 0], decibels)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        header: dict[str, Any] = {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**9)}
        np.lib.format.write_array_header_1_0(file, header)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("clip.npy", b"")


@pytest.mark.parametrize(
    ("write", "fact"),
    [
        (lambda path: None, "No such file"),
        (empty, "expected a NumPy file"),
        (text, "expected a NumPy file"),
        (huge, "expected a NumPy file"),
        (archive, "expected a NumPy file"),
        (lambda path: np.save(path, np.array([Bomb()]), allow_pickle=True), "objects"),
        (lambda path: np.save(path, np.zeros((96, 1366), complex)), "complex128"),
        (lambda path: np.save(path, np.zeros((1366, 96))), r"\(1366, 96\)"),
        (lambda path: np.save(path, np.zeros((2, 96, 1366))), r"\(2, 96, 1366\)"),
        (lambda path: np.save(path, np.full((96, 1366), np.nan)), "NaN"),
    ],
    ids=[
        "missing", "empty", "text", "huge", "archive", "objects", "complex", "transposed",
        "two clips", "NaN",
    ],
)  # fmt: skip
def test_no_spectrogram(
    write: Callable[[Path], Any], fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "clip.npy")
    with pytest.raises(DataError, match=f"clip.npy: .*{fact}"):
        read_spectrogram(tmp_path / "clip.npy")
    assert not Path("harm").exists()


# --- tags ----------------------------------------------------------------------------------------


def test_tags_are_decoded_by_their_probabilities() -> None:
    probabilities = np.full((2, 50), 0.1)
    probabilities[0, [9, 49, 0]] = 0.9, 0.5, 0.2
    probabilities[1, 1] = 0.3
    first, second = decode_predictions(probabilities, top=3)
    assert first == [("jazz", 0.9), ("happy", 0.5), ("rock", 0.2)]
    assert second == [("pop", 0.3), ("rock", 0.1), ("alternative", 0.1)]
    assert len(set(TAGS)) == 50
    with pytest.raises(ArgumentError, match=r"\(N, 50\), got \(1, 32\)"):
        decode_predictions(np.zeros((1, 32)))
