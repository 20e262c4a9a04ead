"""Exercises of lesson 09: table E, a longer part, and back to the pixel."""

from helpers.checks import Exercise, same


def parameters_of_table_e(of_table_e):
    more = (9 * 256 + 1) * 256 + 2 * (9 * 512 + 1) * 512
    if same(of_table_e, 138_357_544):
        return "That's column D, VGG16."
    if same(of_table_e, 138_357_544 + more - 256 - 2 * 512):
        return "Each of the three new layers has biases."
    if not same(of_table_e, 138_357_544 + more):
        return "One more layer of 256 filters on 256 channels, and two of 512 on 512, with biases."


q1 = Exercise(
    judge=parameters_of_table_e,
    hint="Which three layers does it have that VGG16 does not have?",
    solution="""
        more = (3 * 3 * 256 + 1) * 256 + 2 * (3 * 3 * 512 + 1) * 512
        of_table_e = 138_357_544 + more
    """,
    right="A filter has 3 × 3 weights for each input channel, and a bias.",
    wrong={
        "of_table_e = 138_357_544": "column D",
        "of_table_e = 138_357_544 + 9 * 256 * 256 + 2 * 9 * 512 * 512": "biases",
        "of_table_e = 138_357_544 + 3 * (9 * 512 + 1) * 512": "256",
    },
)


def arrays_of_a_longer_part(loaded_and_unexpected):
    if same(loaded_and_unexpected, (9, 7)):
        return "Those are layers. Each has two arrays, a kernel and a bias."
    if same(loaded_and_unexpected, (14, 18)):
        return "The other way round: loaded first."
    if not same(loaded_and_unexpected, (18, 14)):
        return "Count the layers with weights up to the cut, of 16; each has a kernel and a bias."


q2 = Exercise(
    judge=arrays_of_a_longer_part,
    hint="Count the layers with weights up to the cut, of 16.",
    solution="loaded_and_unexpected = (2 * 9, 2 * 16 - 2 * 9)",
    right="Up to conv4_2 there are 2 + 2 + 3 + 2 layers; the file has 16.",
    wrong={
        "loaded_and_unexpected = (9, 7)": "two arrays",
        "loaded_and_unexpected = (14, 18)": "round",
        "loaded_and_unexpected = (20, 12)": "up to the cut",
    },
)


def pixel_before_preprocessing(red_green_blue):
    if same(red_green_blue, (0, 255, 255), tolerance=0.01):
        return "Those are blue, green, red. Turn the order round."
    if not same(red_green_blue, (255, 255, 0), tolerance=0.01):
        return "Add the mean of each channel, in the order blue, green, red, then turn it round."


q3 = Exercise(
    judge=pixel_before_preprocessing,
    hint="Add the mean, then turn the order round: the first of the three is blue.",
    solution="""
        mean_of_bgr = np.array([103.939, 116.779, 123.68])
        red_green_blue = (np.array([-103.939, 138.221, 131.32]) + mean_of_bgr)[::-1]
    """,
    right="It is yellow.",
    wrong={
        "red_green_blue = (0, 255, 255)": "order round",
        "red_green_blue = (131.32, 138.221, -103.939)": "mean",
    },
)
