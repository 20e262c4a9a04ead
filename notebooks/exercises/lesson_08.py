"""Exercises of lesson 08: a head's size, the largest layer, and a kernel that may be turned."""

import h5py
import numpy as np

from helpers.checks import Exercise, same


def size_of_the_head(megabytes_of_head):
    numbers = 2048 * 1000 + 1000
    if same(megabytes_of_head, numbers / 2**20, tolerance=0.1):
        return "Those are millions of numbers. A float32 has four bytes."
    if same(megabytes_of_head, numbers * 4, tolerance=5000):
        return "Those are bytes. A MB has 2**20 of them here."
    if not same(megabytes_of_head, numbers * 4 / 2**20, tolerance=0.1):
        return "(2048 × 1000 + 1000) numbers, four bytes each, divided by 2**20."


q1 = Exercise(
    judge=size_of_the_head,
    hint="How many numbers are they, and how many bytes has each?",
    solution="megabytes_of_head = (2048 * 1000 + 1000) * 4 / 2**20",
    right="That is about a thirteenth of the file.",
    wrong={
        "megabytes_of_head = (2048 * 1000 + 1000) / 2**20": "four bytes",
        "megabytes_of_head = (2048 * 1000 + 1000) * 4": "2**20",
        "megabytes_of_head = 98": "2048",
    },
)


def layer_with_most_numbers(largest_layer, trained):
    with h5py.File(trained) as file:
        sizes = {
            layer.decode(): sum(file[layer][name].size for name in file[layer].attrs["weight_names"])
            for layer in file.attrs["layer_names"]
        }
    name = largest_layer.decode() if isinstance(largest_layer, bytes) else largest_layer
    if name not in sizes:
        return "The file has no layer of this name."
    if sizes[name] < max(sizes.values()):
        return f"{name} has {sizes[name]:,} numbers, and another layer has more."


q2 = Exercise(
    judge=layer_with_most_numbers,
    hint="For each layer: sum(group[name].size for name in group.attrs['weight_names']); then max.",
    solution="""
        with h5py.File(trained) as file:
            sizes_of_layers = {}
            for layer in file.attrs["layer_names"]:
                group = file[layer]
                sizes_of_layers[layer] = sum(group[n].size for n in group.attrs["weight_names"])
        largest_layer = max(sizes_of_layers, key=sizes_of_layers.get).decode()
    """,
    right="Names in such a file are bytes, of which decode makes text.",
    wrong={
        "largest_layer = order[-1]": "another layer has more",
        "largest_layer = 'fc1'": "no layer",
    },
)


def kernel_that_may_be_turned(my_kernel):
    if np.shape(my_kernel) != (3, 3):
        return f"A kernel of 3 × 3, and not of shape {np.shape(my_kernel)}."
    if np.ptp(my_kernel) == 0:
        return "All its numbers are equal. Find one where they are not."
    if same(my_kernel, np.fliplr(my_kernel)) and not same(my_kernel, np.rot90(my_kernel, 2)):
        return "Left and right are the same in yours. A turn by 180° exchanges top and bottom, too."
    if not same(my_kernel, np.rot90(my_kernel, 2)):
        return "Turn it by 180°: the first number goes to the last place. Which must be equal?"


q3 = Exercise(
    judge=kernel_that_may_be_turned,
    hint="Turn it by 180°: the first number goes to the last place.",
    solution="my_kernel = np.array([[1, 2, 3], [4, 5, 4], [3, 2, 1]])",
    right="Its nine numbers are the same read forwards and backwards.",
    wrong={
        "my_kernel = np.ones((3, 3))": "equal",
        "my_kernel = np.array([[1, 2, 1], [3, 4, 3], [5, 6, 5]])": "top and bottom",
        "my_kernel = np.arange(9).reshape(3, 3)": "last place",
        "my_kernel = np.eye(2)": "3 × 3",
    },
)
