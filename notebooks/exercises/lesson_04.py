"""Exercises of lesson 04: a picture that is no square, flattening, and what is like a cat."""

import numpy as np

from helpers import datasets
from helpers.checks import Exercise, same


def shape_of_the_map(shape):
    if len(shape) == 4:
        return "Leave out the number of pictures: rows, columns, channels."
    if same(shape, (7, 10, 512)):
        return "Rows come first, then columns."
    if same(shape, (10, 8, 512)):
        return "A pooling drops what is left over: 15 becomes 7."
    if not same(shape, (10, 7, 512)):
        return "Halve each side five times, and drop what is left over each time."


q1 = Exercise(
    judge=shape_of_the_map,
    hint="How often does VGG16 halve a side?",
    solution="shape = (320 // 2**5, 240 // 2**5, 512)",
    right="Each of the five poolings halves both sides: 240, 120, 60, 30, 15, 7.",
    wrong={
        "shape = (7, 10, 512)": "Rows",
        "shape = (10, 8, 512)": "left over",
        "shape = (1, 10, 7, 512)": "number of pictures",
        "shape = (7, 7, 512)": "Halve",
    },
)


def parameters_after_flatten(parameters):
    if same(parameters, (512 + 1) * 4096):
        return "That's fc1 on the averaged map. Flatten keeps all 10 × 7 positions."
    if not same(parameters, (10 * 7 * 512 + 1) * 4096):
        return "Every unit has a weight for each number of the map, and a bias."


q2 = Exercise(
    judge=parameters_after_flatten,
    hint="How many numbers does Flatten make of the map?",
    solution="parameters = (10 * 7 * 512 + 1) * 4096",
    right="147 million, more than all the rest of VGG16.",
    wrong={
        "parameters = (512 + 1) * 4096": "positions",
        "parameters = 10 * 7 * 512 * 4096": "bias",
    },
)


def elephants_near_the_cat(elephants, net, index, labels, collection):
    cat = net.model.predict(net.preprocess(datasets.photographs()["chelsea"]), verbose=0)
    vector = cat.mean(axis=(1, 2))[0]
    nearest = np.argsort(-index @ vector)[:10]
    is_elephant = np.array(collection.classes)[labels] == "elephant"
    if same(elephants, int(is_elephant[nearest[:5]].sum())):
        return "That's the number among five. Take ten."
    if not same(elephants, int(is_elephant[nearest].sum())):
        return "Features of the cat, averaged over positions, and their cosines with index."


q3 = Exercise(
    judge=elephants_near_the_cat,
    hint="Features of the cat, averaged over positions, made a unit vector; then as for the tests.",
    solution="""
        picture = net.preprocess(datasets.photographs()["chelsea"])
        vector = unit(net.model.predict(picture, verbose=0).mean(axis=(1, 2)))[0]
        nearest_to_cat = np.argsort(-(index @ vector))[:10]
        elephants = sum(collection.classes[labels[i]] == "elephant" for i in nearest_to_cat)
    """,
    right="The cat must come into the index in the way that the drawings did.",
    wrong={"elephants = -1": "cosines"},
)
