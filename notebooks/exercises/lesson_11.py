"""Exercises of lesson 11: gigabytes, chunks, and half the bytes."""

import numpy as np

from helpers.checks import Exercise, same


def size_of_all_maps(gigabytes_of_maps):
    right = 1.2e6 * 7 * 7 * 512 * 4 / 1e9
    if same(gigabytes_of_maps, right / 4, tolerance=0.5):
        return "A number has four bytes."
    if same(gigabytes_of_maps, right * 1e9, tolerance=1e9):
        return "Those are bytes. Divide by 1e9."
    if not same(gigabytes_of_maps, right, tolerance=0.5):
        return "Numbers in a map, times 4 bytes, times pictures, divided by 1e9."


q1 = Exercise(
    judge=size_of_all_maps,
    hint="How many bytes has one map?",
    solution="gigabytes_of_maps = 7 * 7 * 512 * 4 * 1.2e6 / 1e9",
    right="No laptop holds that in memory.",
    wrong={
        "gigabytes_of_maps = 7 * 7 * 512 * 1.2e6 / 1e9": "four bytes",
        "gigabytes_of_maps = 7 * 7 * 512 * 4 * 1.2e6": "1e9",
        "gigabytes_of_maps = 512 * 4 * 1.2e6 / 1e9": "Numbers in a map",
    },
)


def unpacked_for_wanted(times_as_many):
    if same(times_as_many, 32 * 100):
        return "That's how many rows are unpacked. How many times the 32 is that?"
    if same(times_as_many, 1):
        return "A compressed chunk is unpacked as a whole, for one row of it, too."
    if not same(times_as_many, 100):
        return "Each of the 32 rows is in another chunk, and each chunk is unpacked as a whole."


q2 = Exercise(
    judge=unpacked_for_wanted,
    hint="In how many chunks are the 32 rows?",
    solution="times_as_many = 32 * 100 / 32",
    right="32 wanted rows cost 32 × 100 rows.",
    wrong={
        "times_as_many = 32 * 100": "times",
        "times_as_many = 1": "whole",
        "times_as_many = 100 / 32": "another chunk",
    },
)


def error_of_float16(largest_error, x):
    difference = np.abs(x - x.astype("float16").astype("float32")).max()
    if not same(largest_error, difference / x.max(), tolerance=1e-5):
        if same(largest_error, difference, tolerance=1e-4):
            return "That's the error itself. Divide it by x.max()."
        return "The differences' absolute values, their maximum, divided by x.max()."


q3 = Exercise(
    judge=error_of_float16,
    hint="Go to float16 and back, and take the difference.",
    solution="""
        halved = x.astype("float16").astype("float32")
        largest_error = np.max(np.abs(x - halved)) / x.max()
    """,
    right="float16 keeps eleven binary digits: an error of a part in 2,000 at most.",
    wrong={
        "largest_error = np.max(np.abs(x - x.astype('float16').astype('float32')))": "Divide",
        "largest_error = 0.5": "maximum",
    },
)
