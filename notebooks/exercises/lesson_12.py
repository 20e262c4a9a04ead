"""Exercises of lesson 12: hidden notes, a score by hand, and a tagger that is fooled."""

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


def _wins(has_tag: np.ndarray, scores: np.ndarray, tie: float = 0.5) -> float:
    """Return the share of pairs in which the clip that has the tag gets the higher score."""
    with_tag, without = scores[has_tag == 1], scores[has_tag == 0]
    higher = with_tag[:, np.newaxis] > without
    equal = with_tag[:, np.newaxis] == without
    return float((higher + tie * equal).mean())


def judge_auc(auc: Callable[..., Any]) -> str | None:
    """Right: the area under the ROC curve, with ties as half."""
    rng = np.random.default_rng(1)
    for round_to in (6, 1):  # without ties, then with many
        has_tag = (rng.random(60) < 0.4).astype("float32")
        scores = np.round(np.clip(0.2 * has_tag + rng.normal(0.3, 0.15, 60), 0, 1), round_to)
        result = auc(has_tag, scores)
        if result is None:
            return "Your function returns nothing. Return a number from 0 to 1."
        given, wanted = float(result), _wins(has_tag, scores)
        if np.isclose(given, wanted, atol=1e-6):
            continue
        if np.isclose(given, _wins(has_tag, scores, tie=0)):
            return "Ties are missing: when both scores are equal, that's half a win."
        if np.isclose(given, _wins(has_tag, scores, tie=1)):
            return "A tie counts as half a win. You count it as a whole one."
        if np.isclose(given, 1 - wanted, atol=1e-6):
            return "The other way round: a win is when the clip that *has* the tag scores higher."
        if given > 1:
            return "That's a number of wins. Divide by the number of pairs."
        if np.isclose(given, ((scores > 0.5) == (has_tag == 1)).mean()):
            return "That's the accuracy at 0.5. The AUC has no threshold: it compares pairs."
        return (
            "Compare each clip that has the tag with each that hasn't, and with no other: the share "
            f"of wins should be {wanted:.3f} here, you return {given:.3f}."
        )
    return None


q2 = Exercise(
    judge_auc,
    hint="Two loops will do: for each score in scores[has_tag == 1], for each in scores[has_tag == 0].",
    solution="""
        def auc(has_tag, scores):
            with_tag = scores[has_tag == 1]
            without = scores[has_tag == 0]
            wins = 0
            for high in with_tag:
                for low in without:
                    if high > low:
                        wins += 1
                    elif high == low:
                        wins += 0.5
            return wins / (len(with_tag) * len(without))
    """,
    right="No threshold is in it. So a tagger can have a fine AUC, and still need another threshold than 0.5.",
    wrong={
        """
        def auc(has_tag, scores):
            with_tag = scores[has_tag == 1]
            return (with_tag[:, np.newaxis] > scores[has_tag == 0]).mean()
        """: "Ties are missing",
        """
        def auc(has_tag, scores):
            with_tag = scores[has_tag == 1]
            return (with_tag[:, np.newaxis] >= scores[has_tag == 0]).mean()
        """: "half a win",
        """
        def auc(has_tag, scores):
            with_tag = scores[has_tag == 1]
            return (with_tag[:, np.newaxis] < scores[has_tag == 0]).mean()
        """: "other way round",
        """
        def auc(has_tag, scores):
            with_tag = scores[has_tag == 1]
            return (with_tag[:, np.newaxis] > scores[has_tag == 0]).sum()
        """: "number of pairs",
        """
        def auc(has_tag, scores):
            return ((scores > 0.5) == (has_tag == 1)).mean()
        """: "accuracy",
        """
        def auc(has_tag, scores):
            return (scores[:, np.newaxis] > scores).mean()
        """: "with no other",
        """
        def auc(has_tag, scores):
            wins = 0
        """: "returns nothing",
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
    found = hear(my_sound if isinstance(my_sound, str | Path) else samples)
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
