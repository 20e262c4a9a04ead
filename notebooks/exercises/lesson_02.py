"""Exercises of lesson 02: VGG16 on smaller pictures, a choice, and the dearest layer."""

from helpers.checks import Exercise, same


def fc1_on_smaller_pictures(parameters_of_fc1):
    if same(parameters_of_fc1, (7 * 7 * 512 + 1) * 4096):
        return "That's fc1 for pictures of 224 × 224. At 160 the map is smaller."
    if same(parameters_of_fc1, 5 * 5 * 512 * 4096):
        return "Each of the 4096 outputs has a bias, too."
    if not same(parameters_of_fc1, (5 * 5 * 512 + 1) * 4096):
        return "Five poolings make 160 to 5, and the map has 512 channels."


q1 = Exercise(
    judge=fc1_on_smaller_pictures,
    hint="How large is the map after five poolings, and how many numbers does it have?",
    solution="parameters_of_fc1 = ((160 // 32) ** 2 * 512 + 1) * 4096",
    right="That is half of what it has at 224, where the map is 7 × 7.",
    wrong={
        "parameters_of_fc1 = (7 * 7 * 512 + 1) * 4096": "smaller",
        "parameters_of_fc1 = 5 * 5 * 512 * 4096": "bias",
        "parameters_of_fc1 = (160 * 160 * 3 + 1) * 4096": "poolings",
    },
)


def most_accurate_within(name_of_network, choose):
    if not isinstance(name_of_network, str):
        return "Give the network's name, as a text."
    if same(name_of_network, choose(most_mb=50).name):
        return "It was trained on larger pictures than yours: choose has most_pixels, too."
    if not same(name_of_network, choose(most_mb=50, most_pixels=260).name):
        return "choose(…) takes most_mb and most_pixels."


q2 = Exercise(
    judge=most_accurate_within,
    hint="choose(…) takes most_mb and most_pixels.",
    solution="name_of_network = choose(most_mb=50, most_pixels=260).name",
    right="It was trained at exactly 260 pixels.",
    wrong={
        "name_of_network = choose(most_mb=50).name": "larger pictures",
        "name_of_network = choose(most_mb=50, most_pixels=260)": "name",
        "name_of_network = 'VGG16'": "most_mb",
    },
)


def work_of_the_second_layer(million_multiply_adds):
    right = 224 * 224 * 3 * 3 * 64 * 64 / 1e6
    if same(million_multiply_adds, right * 1e6, tolerance=1e6):
        return "That's the number itself. How many millions are that?"
    if same(million_multiply_adds, right / 64, tolerance=1):
        return "Each output reads all 64 input channels."
    if not same(million_multiply_adds, right, tolerance=1):
        return "Weights of the kernel, without biases, times positions, divided by a million."


q3 = Exercise(
    judge=work_of_the_second_layer,
    hint="How many products has one output number, and how many output numbers are there?",
    solution="million_multiply_adds = 224 * 224 * 64 * (3 * 3 * 64) / 1e6",
    right="This one layer costs three times as much as the whole of MobileNet.",
    wrong={
        "million_multiply_adds = 224 * 224 * 64 * (3 * 3 * 64)": "millions",
        "million_multiply_adds = 224 * 224 * 64 * 3 * 3 / 1e6": "64 input channels",
        "million_multiply_adds = 3 * 3 * 64 * 64 / 1e6": "positions",
    },
)
