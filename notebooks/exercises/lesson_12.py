"""Exercises of lesson 12: hidden notes, an old recurrent layer, and a tagger that is fooled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers.checks import Exercise

RATE = 12_000
NOTES = 370.0, 392.0, 587.3  # hertz: F sharp, G, and D an octave higher


def write_stand_in(path: Path) -> Path:
    """Write a file as MusicTaggerCRNN's author did in 2016 with Keras 1, but of random numbers."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype("float32")

    layers: dict[str, dict[str, np.ndarray]] = {}

    def batch_norm(name: str, size: int) -> None:
        arrays = [1 + normal(size), normal(size), normal(size), np.abs(normal(size)) + 0.5]
        names = ["gamma", "beta", "running_mean", "running_std"]
        layers[name] = {f"{name}_{n}_1:0": a for n, a in zip(names, arrays, strict=True)}

    batch_norm("bn_0_freq", 1440)
    channels = 1
    for number, filters in enumerate((64, 128, 128, 128), start=1):
        kernel = normal(filters, channels, 3, 3) / channels**0.5
        layers[f"conv{number}"] = {
            f"conv{number}_W_1:0": kernel,
            f"conv{number}_b_1:0": normal(filters),
        }
        batch_norm(f"bn{number}", filters)
        channels = filters
    for name, size in (("gru1", 128), ("gru2", 32)):
        layers[name] = {}
        for gate in "zrh":
            layers[name][f"{name}_W_{gate}:0"] = normal(size, 32)
            layers[name][f"{name}_U_{gate}:0"] = normal(32, 32)
            layers[name][f"{name}_b_{gate}:0"] = normal(32)
    layers["output"] = {"output_W_1:0": normal(32, 50), "output_b_1:0": normal(50)}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(list(layers), "S")
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array(list(arrays), "S")
            for key, array in arrays.items():
                group[key] = array
    return path


def mystery_sound() -> np.ndarray:
    """Return a second and a half in which three notes sound."""
    time = np.arange(int(1.5 * RATE)) / RATE
    sound = np.zeros(len(time))
    for place, hertz in enumerate(NOTES):
        sound += np.sin(2 * np.pi * hertz * time + place)
    return sound / 3


def judge_notes(notes: Any) -> str | None:
    """Right: the three frequencies, to within 3 Hz, in any order."""
    given = np.sort(np.asarray(notes, dtype=float).flatten())
    if len(given) == 2:
        return (
            "There are more than two. Two of the notes are so close together that a frame of 512 "
            "samples can't separate them. Take a longer one."
        )
    if len(given) != 3:
        return f"There are three notes. You gave {len(given)} frequencies."
    off = np.abs(given - np.sort(NOTES))
    if (off < 3).all():
        return None
    if given[1] < 200 or not np.isclose(given[2], NOTES[2], atol=40):
        return (
            "The highest of them should be a little below 600 Hz. Did you give the numbers of the "
            "rows? np.fft.rfftfreq says which frequency each row has."
        )
    return (
        f"You're off by up to {off.max():.0f} Hz. The longer the frame, the closer together are "
        "its frequencies. Take the whole sound as one frame."
    )


q1 = Exercise(
    judge_notes,
    hint="Multiply the sound by a window as long as the sound, and look for peaks of np.fft.rfft.",
    solution="""
        window = np.hanning(len(mystery))
        spectrum = np.abs(np.fft.rfft(mystery * window))
        frequencies = np.fft.rfftfreq(len(mystery), 1 / rate)
        notes = []
        for k in range(1, len(spectrum) - 1):
            peak = spectrum[k] > spectrum[k - 1] and spectrum[k] > spectrum[k + 1]
            if peak and spectrum[k] > 0.3 * spectrum.max():
                notes.append(frequencies[k])
    """,
    right="Two of them are 22 Hz apart, and in a frame of 512 samples they'd look like one.",
    wrong={
        "notes = [380, 587]": "more than two",
        "notes = [375.0, 398.4, 585.9]": "You're off",
        "notes = [16, 17, 25]": "numbers of the rows",
        "notes = [370]": "three notes",
    },
)


def _hard_sigmoid(x: np.ndarray, slope: float = 0.2) -> np.ndarray:
    return np.clip(slope * x + 0.5, 0, 1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _step(
    x: np.ndarray,
    state: np.ndarray,
    w: dict[str, np.ndarray],
    u: dict[str, np.ndarray],
    b: dict[str, np.ndarray],
    gate: Callable[[np.ndarray], np.ndarray] = _hard_sigmoid,
    reset_after: bool = False,
    keep: bool = True,
) -> np.ndarray:
    z = gate(x @ w["z"] + state @ u["z"] + b["z"])
    r = gate(x @ w["r"] + state @ u["r"] + b["r"])
    recurrent = r * (state @ u["h"]) if reset_after else (r * state) @ u["h"]
    candidate = np.tanh(x @ w["h"] + recurrent + b["h"])
    return z * state + (1 - z) * candidate if keep else (1 - z) * state + z * candidate


def judge_gru_step(gru_step: Callable[..., Any]) -> str | None:
    """Right: a step of Keras 1's GRU, for one sound or for a batch."""
    rng = np.random.default_rng(1)
    w, u, b = ({g: rng.normal(size=shape) for g in "zrh"} for shape in ((5, 4), (4, 4), (4,)))
    x, state = rng.normal(size=5), rng.normal(size=4)
    given = np.asarray(gru_step(x, state, w, u, b), dtype=float)
    if given.shape != state.shape:
        return f"The new state must have the shape of the old one, {state.shape}, got {given.shape}."
    if np.allclose(given, _step(x, state, w, u, b)):
        return None
    if np.allclose(given, _step(x, state, w, u, b, gate=lambda x: _hard_sigmoid(x, 1 / 6))):
        return "That's Keras 3's hard_sigmoid, with a slope of 1/6. Keras 1's was 0.2."
    if np.allclose(given, _step(x, state, w, u, b, gate=lambda x: 0.2 * x + 0.5)):
        return "Your gates go below 0 and above 1. Clip them."
    if np.allclose(given, _step(x, state, w, u, b, gate=_sigmoid)):
        return "You used the sigmoid for the gates. Keras 1's default is the hard sigmoid."
    if np.allclose(given, _step(x, state, w, u, b, reset_after=True)):
        return "You applied r after multiplying by u['h']. Keras 1 multiplied the state by r first."
    if np.allclose(given, _step(x, state, w, u, b, keep=False)):
        return "Where z is 1, the old state is kept. You keep it where z is 0."
    return "Compare each line with the formulas: w with x, u with the state, b on its own."


q2 = Exercise(
    judge_gru_step,
    hint='Begin with z = np.clip(0.2 * (x @ w["z"] + state @ u["z"] + b["z"]) + 0.5, 0, 1).',
    solution="""
        def gru_step(x, state, w, u, b):
            z = np.clip(0.2 * (x @ w["z"] + state @ u["z"] + b["z"]) + 0.5, 0, 1)
            r = np.clip(0.2 * (x @ w["r"] + state @ u["r"] + b["r"]) + 0.5, 0, 1)
            candidate = np.tanh(x @ w["h"] + (r * state) @ u["h"] + b["h"])
            return z * state + (1 - z) * candidate
    """,
    right="This is all that a GRU of Keras 1 does, once for each step in time.",
    wrong={
        """
        def gru_step(x, state, w, u, b):
            z = np.clip((x @ w["z"] + state @ u["z"] + b["z"]) / 6 + 0.5, 0, 1)
            r = np.clip((x @ w["r"] + state @ u["r"] + b["r"]) / 6 + 0.5, 0, 1)
            candidate = np.tanh(x @ w["h"] + (r * state) @ u["h"] + b["h"])
            return z * state + (1 - z) * candidate
        """: "1/6",
        """
        def gru_step(x, state, w, u, b):
            z = 0.2 * (x @ w["z"] + state @ u["z"] + b["z"]) + 0.5
            r = 0.2 * (x @ w["r"] + state @ u["r"] + b["r"]) + 0.5
            candidate = np.tanh(x @ w["h"] + (r * state) @ u["h"] + b["h"])
            return z * state + (1 - z) * candidate
        """: "Clip",
        """
        def gru_step(x, state, w, u, b):
            z = 1 / (1 + np.exp(-(x @ w["z"] + state @ u["z"] + b["z"])))
            r = 1 / (1 + np.exp(-(x @ w["r"] + state @ u["r"] + b["r"])))
            candidate = np.tanh(x @ w["h"] + (r * state) @ u["h"] + b["h"])
            return z * state + (1 - z) * candidate
        """: "hard sigmoid",
        """
        def gru_step(x, state, w, u, b):
            z = np.clip(0.2 * (x @ w["z"] + state @ u["z"] + b["z"]) + 0.5, 0, 1)
            r = np.clip(0.2 * (x @ w["r"] + state @ u["r"] + b["r"]) + 0.5, 0, 1)
            candidate = np.tanh(x @ w["h"] + r * (state @ u["h"]) + b["h"])
            return z * state + (1 - z) * candidate
        """: "first",
        """
        def gru_step(x, state, w, u, b):
            z = np.clip(0.2 * (x @ w["z"] + state @ u["z"] + b["z"]) + 0.5, 0, 1)
            r = np.clip(0.2 * (x @ w["r"] + state @ u["r"] + b["r"]) + 0.5, 0, 1)
            candidate = np.tanh(x @ w["h"] + (r * state) @ u["h"] + b["h"])
            return (1 - z) * state + z * candidate
        """: "kept",
    },
)


def judge_no_bass(my_sound: Any, hear: Callable[..., dict[str, float]]) -> str | None:
    """Right: a sound that is tagged "bass" and has hardly any energy below 200 Hz."""
    if isinstance(my_sound, str | Path):
        import librosa

        samples = librosa.load(my_sound, sr=RATE, duration=3)[0]
    else:
        samples = np.asarray(my_sound, dtype=float)
        if samples.ndim != 1:
            return f"Give one row of samples. The shape of yours is {samples.shape}."
        samples = samples[: 3 * RATE]
    if len(samples) < RATE / 10 or np.abs(samples).max() < 1e-4:
        return "There's nothing to hear in it."
    power = np.abs(np.fft.rfft(samples)) ** 2
    low = np.fft.rfftfreq(len(samples), 1 / RATE) < 200
    share = power[low].sum() / power.sum()
    if share > 0.05:
        return f"Your sound has low tones in it: {share:.0%} of its energy is below 200 Hz."
    found = hear(my_sound)
    said = ", ".join(f"{tag} {probability:.2f}" for tag, probability in found.items())
    print(f"It hears: {said}")
    if found["bass"] <= 0.5:
        return (
            "It doesn't say bass. On its picture, a bass is a bright line or dash that lies flat. "
            "What else would lie flat, higher up?"
        )
    return None


q3 = Exercise(
    judge_no_bass,
    hint="Look at the picture of a bass again. Make the same shape higher up.",
    solution="""
        my_sound = tone(np.full(3 * rate, 1000.0))
    """,
    right=(
        "A long note of 1000 Hz is a flat line, as a bass is. The features were averaged over all "
        "positions, so the head can hardly know how high the line is."
    ),
    wrong={
        "my_sound = bass(np.random.default_rng(0))": "low tones",
        "my_sound = siren(np.random.default_rng(0))": "say bass",
        "my_sound = np.zeros(3 * rate)": "nothing to hear",
        "my_sound = tone(np.full(3 * rate, 1000.0))[np.newaxis]": "one row",
    },
)
