"""Exercises of lesson 07: positions, four channels, and another front."""

from helpers.checks import Exercise, same


def positions_of_the_last_map(positions):
    if same(positions, 17 * 11 * 2048):
        return "That's all the numbers of the map. A position has 2048 of them."
    if same(positions, 8 * 8):
        return "That's the map for a picture of 299 × 299."
    if not same(positions, 11 * 17):
        return "open_size.compute_output_shape((1, 400, 600, 3)): rows times columns."


q1 = Exercise(
    judge=positions_of_the_last_map,
    hint="open_size.compute_output_shape((1, 400, 600, 3))",
    solution="""
        _, rows, columns, _ = open_size.compute_output_shape((1, 400, 600, 3))
        positions = rows * columns
    """,
    right="Without its top the network takes any size from 75 up.",
    wrong={
        "positions = 17 * 11 * 2048": "2048",
        "positions = 64": "299",
        "positions = 400 * 600": "rows times columns",
    },
)


def parameters_of_the_stem(parameters):
    if same(parameters, 4 * 3):
        return "Those are the weights. Each output has a bias."
    if same(parameters, (3 + 1) * 3):
        return "That's for three channels. The camera has four."
    if not same(parameters, 15):
        return "A weight for each pair of an input and an output channel, and a bias for each output."


q2 = Exercise(
    judge=parameters_of_the_stem,
    hint="A 1 × 1 convolution is a Dense layer at each position.",
    solution="parameters = (4 + 1) * 3",
    right="Three outputs, each with four weights and a bias.",
    wrong={"parameters = 4 * 3": "bias", "parameters = (4 + 1) * 4": "pair"},
)


def from_unit_to_minus_one(scale_and_offset):
    if len(scale_and_offset) != 2:
        return "Two numbers: (scale, offset)."
    if same(scale_and_offset, (1 / 127.5, -1), tolerance=1e-3):
        return "That's for pixels from 0 to 255. Yours go from 0 to 1."
    if not same(scale_and_offset, (2, -1)):
        return "0 * scale + offset must be -1, and 1 * scale + offset must be 1."


q3 = Exercise(
    judge=from_unit_to_minus_one,
    hint="What must become of 0, and what of 1?",
    solution="scale_and_offset = (2, -1)",
    right="0 becomes -1, so the offset is -1; 1 becomes 1, so the scale is 2.",
    wrong={
        "scale_and_offset = (1 / 127.5, -1)": "255",
        "scale_and_offset = (1, -1)": "must be 1",
        "scale_and_offset = (2,)": "Two numbers",
    },
)
