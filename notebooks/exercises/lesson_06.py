"""Exercises of lesson 06: one block more, seven classes, and freezing by hand."""

from helpers.checks import Exercise, same


def first_layer_of_three_blocks(begins_at, found):
    if isinstance(begins_at, str):
        return "Give the layer's number; found has it by name."
    if same(begins_at, found["mixed9"]):
        return "Those are the top two blocks. Count three from the end."
    if not same(begins_at, found["mixed8"]):
        return "finetune.blocks(inception) lists (name, first layer); count three from the end."


q1 = Exercise(
    judge=first_layer_of_three_blocks,
    hint="finetune.blocks(inception) lists (name, first layer); count three from the end.",
    solution="begins_at = finetune.blocks(inception)[-3][1]",
    right="It's mixed8; what comes before it stays frozen.",
    wrong={
        "begins_at = finetune.blocks(inception)[-2][1]": "top two",
        "begins_at = 'mixed8'": "number",
        "begins_at = 0": "three",
    },
)


def parameters_of_seven_classes(parameters):
    if same(parameters, (2048 + 1) * 1024 + (1024 + 1) * 200):
        return "That's the head for 200 classes."
    if same(parameters, (1024 + 1) * 7):
        return "That's the last layer. Phase 1 trains the Dense layer before it, too."
    if not same(parameters, (2048 + 1) * 1024 + (1024 + 1) * 7):
        return "Two Dense layers: 1024 units on 2048 features, then 7 on 1024, with biases."


q2 = Exercise(
    judge=parameters_of_seven_classes,
    hint="Only the last Dense layer changes: (1024 + 1) weights for each class.",
    solution="parameters = (2048 + 1) * 1024 + (1024 + 1) * 7",
    right="The Dense layer of 1024 units is the same for any number of classes.",
    wrong={
        "parameters = (2048 + 1) * 1024 + (1024 + 1) * 200": "200",
        "parameters = (1024 + 1) * 7": "before it",
        "parameters = 2048 * 1024 + 1024 * 7": "biases",
    },
)


def arrays_above_mixed8(arrays):
    if same(arrays, 0):
        return "The model itself is frozen since phase 1: begin with inception.trainable = True."
    if same(arrays, 48):
        return "The BatchNorm layers stay frozen, too."
    if not same(arrays, 24):
        return "One kernel for each convolution; the layers below mixed8 are frozen."


q3 = Exercise(
    judge=arrays_above_mixed8,
    hint="Loop over enumerate(inception.layers), and set trainable.",
    solution="""
        inception.trainable = True
        for place, layer in enumerate(inception.layers):
            batchnorm = isinstance(layer, layers.BatchNormalization)
            layer.trainable = place >= found["mixed8"] and not batchnorm
        arrays = len(inception.trainable_weights)
    """,
    right="InceptionV3's convolutions have no bias, since BatchNorm follows each.",
    wrong={
        """
        inception.trainable = True
        for place, layer in enumerate(inception.layers):
            layer.trainable = place >= found["mixed8"]
        arrays = len(inception.trainable_weights)
        """: "BatchNorm",
        "arrays = 0": "phase 1",
        "arrays = 188": "below mixed8",
    },
)
