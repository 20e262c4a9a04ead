"""Exercises of lesson 12: frames, an axis, and an old gate."""

from helpers.checks import Exercise, same


def frames_of_200_seconds(frames_of_a_song):
    if same(frames_of_a_song, 200 * 12_000 // 256):
        return "One more: the first frame is centred on the first sample."
    if same(frames_of_a_song, 200 * 12_000):
        return "Those are samples. A frame starts every 256 of them."
    if not same(frames_of_a_song, 1 + 200 * 12_000 // 256):
        return "One for the first sample, and one more for every full 256 samples after it."


q1 = Exercise(
    judge=frames_of_200_seconds,
    hint="How many samples has the song?",
    solution="frames_of_a_song = 1 + 200 * 12_000 // 256",
    right="Every full 256 samples after the first bring one more frame.",
    wrong={
        "frames_of_a_song = 200 * 12_000 // 256": "One more",
        "frames_of_a_song = 200 * 12_000": "samples",
        "frames_of_a_song = 1366": "full 256",
    },
)


def axis_of_1440_places(axis_of_bn_0_freq):
    if same(axis_of_bn_0_freq, 1):
        return "Axis 1 has 96 places. So its name says, and its 1440 values say otherwise."
    if same(axis_of_bn_0_freq, 3):
        return "Axis 3 is the channels: one place."
    if not same(axis_of_bn_0_freq, 2):
        return "One value for each place on the axis that it normalises. Which axis is 1440 long?"


q2 = Exercise(
    judge=axis_of_1440_places,
    hint="One value for each place on the axis that it normalises.",
    solution="axis_of_bn_0_freq = 1 + (96, 1440, 1).index(1440)",
    right="It normalises time, whatever its name says.",
    wrong={
        "axis_of_bn_0_freq = 1": "96",
        "axis_of_bn_0_freq = 3": "channels",
        "axis_of_bn_0_freq = 0": "1440 long",
    },
)


def old_hard_sigmoid(gate_at_one_and_a_half):
    if same(gate_at_one_and_a_half, 0.75, tolerance=1e-6):
        return "That's Keras 3's function. Keras 1's is 0.2 x + 0.5."
    if not same(gate_at_one_and_a_half, 0.8, tolerance=1e-6):
        return "0.2 x + 0.5, and then not below 0 and not above 1."


q3 = Exercise(
    judge=old_hard_sigmoid,
    hint="0.2 x + 0.5, and then not below 0 and not above 1.",
    solution="gate_at_one_and_a_half = min(max(0.2 * 1.5 + 0.5, 0), 1)",
    right="Keras 3's function of the same name gives 0.75: an old file needs the old one.",
    wrong={
        "gate_at_one_and_a_half = 1.5 / 6 + 0.5": "Keras 3",
        "gate_at_one_and_a_half = 1": "0.2 x",
    },
)
