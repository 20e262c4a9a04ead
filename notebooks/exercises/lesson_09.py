"""The exercises of lesson 09."""

from typing import Any

import numpy as np

from helpers.checks import Exercise

COLUMN_D = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool"]
COLUMN_D += [512, 512, 512, "pool", 512, 512, 512, "pool"]
COLUMN_E = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool"]
COLUMN_E += [512, 512, 512, 512, "pool", 512, 512, 512, 512, "pool"]


def judge_column_e(column_e: list[Any]) -> str | None:
    """Right: the entries of VGG19, from first to last."""
    if not isinstance(column_e, list | tuple):
        return f"Write a list like COLUMN_D. You gave {column_e!r}."
    column = list(column_e)
    strange = [entry for entry in column if entry != "pool" and entry not in (64, 128, 256, 512)]
    if strange:
        return f"Each entry is a number of filters or 'pool'. You have {strange[0]!r} in the list."
    if column == COLUMN_D:
        return "That's column D, VGG16."
    if column.count("pool") != 5:
        return f"There are five poolings, one at the end of each block. You have {column.count('pool')}."
    if column[-1] != "pool":
        return "The last block ends with a pooling, too."
    convolutions = len(column) - 5
    if convolutions != 16:
        return f"VGG19 has 16 convolutions and 3 dense layers. You have {convolutions} convolutions."
    if column != COLUMN_E:
        return "The number of layers is right, but not where they are. Each of the last three blocks has four."
    return None


q1 = Exercise(
    judge_column_e,
    hint="inspect.getsource(keras.applications.VGG19) names each layer by its block. Compare it with VGG16's source.",
    solution="""
        column_e = [64, 64, "pool", 128, 128, "pool"]
        column_e += [256, 256, 256, 256, "pool"]
        column_e += [512, 512, 512, 512, "pool"] * 2
    """,
    right="build_vgg(column_e) has 143,667,240 parameters, and the names and shapes of VGG19.",
    wrong={
        "column_e = COLUMN_D": "VGG16",
        "column_e = COLUMN_D[:9] + [256] + COLUMN_D[9:]": "16 convolutions",
        'column_e = COLUMN_D[:-1] + [512, 512, 512, "pool"]': "where they are",
        "column_e = COLUMN_D[:9] + [256] + COLUMN_D[9:13] + [512] + COLUMN_D[13:17] + [512]": "five poolings",
        'column_e = ["conv3-64"] + COLUMN_D[1:]': "number of filters",
        "column_e = 143_667_240": "list like",
    },
)


def two_networks() -> tuple[dict[str, Any], Any, Any]:
    """Make what a slim VGG's layers give for some pictures, a model with two faults, and the pictures."""
    import keras

    layers = keras.layers

    def build(name: str, faults: bool) -> Any:
        inputs = x = keras.Input((64, 64, 3))
        for block, filters in enumerate((8, 16, 24, 32), start=1):
            for number in (1, 2):
                convolution = layers.Conv2D(
                    filters, 3, padding="same", activation="relu", name=f"block{block}_conv{number}"
                )
                x = convolution(x)
            kind = layers.AveragePooling2D if faults and block == 3 else layers.MaxPooling2D
            x = kind(2, name=f"block{block}_pool")(x)
        x = layers.Flatten(name="flatten")(x)
        return keras.Model(inputs, layers.Dense(10, activation="softmax", name="predictions")(x), name=name)

    original, rebuilt = build("original", False), build("rebuilt", True)
    generator = np.random.default_rng(9)
    for weight in original.weights:
        scale = 0.1 if len(weight.shape) == 1 else np.sqrt(2 / np.prod(weight.shape[:-1]))
        weight.assign(generator.normal(0, scale, weight.shape))
    rebuilt.set_weights(original.get_weights())
    kernel = rebuilt.get_layer("block2_conv1").kernel
    kernel.assign(np.transpose(kernel, (1, 0, 2, 3)))
    probe = generator.normal(0, 1, (2, 64, 64, 3)).astype("float32")
    filled = [layer for layer in original.layers if layer.weights]
    outputs = keras.Model(original.inputs, [layer.output for layer in filled]).predict(probe, verbose=0)
    return {layer.name: output for layer, output in zip(filled, outputs, strict=True)}, rebuilt, probe


def judge_faulty_layers(faulty_layers: list[str]) -> str | None:
    """Right: both layers, in any order."""
    if isinstance(faulty_layers, str):
        return "There are two. Give both names in a list."
    given = {getattr(layer, "name", layer) for layer in faulty_layers}
    if given == {"block2_conv1", "block3_pool"}:
        return None
    if "block4_conv1" in given:
        return (
            "block4_conv1 is the first layer with weights that differs then, but it's as it should be. Look at what "
            "comes before it."
        )
    if "block2_conv1" not in given:
        return "One is missing: the first layer of rebuilt whose output differs. every_output and differences find it."
    if "block2_conv2" in given:
        return "block2_conv2 only passes on the fault of block2_conv1. Repair that one, and compare again."
    if len(given) == 1:
        return "That's the first. Repair it (look at its kernel), compare again, and you'll see the second."
    return "block2_conv1 is one of them. The other is somewhere else: repair the first, and compare again."


q2 = Exercise(
    judge_faulty_layers,
    hint=(
        "Find the first layer that differs. Its input is right, so what's left: kernel, bias, activation, padding? Try "
        "one change after another on it until it agrees, then look for the next."
    ),
    solution="""
        names = list(published)
        first = differences(published.values(), every_output(rebuilt, probe))
        print(dict(zip(names, first)))
        # The first difference is in block2_conv1. It isn't the activation; it's the kernel's rows and columns:
        kernel = rebuilt.get_layer("block2_conv1").kernel
        kernel.assign(keras.ops.transpose(kernel, (1, 0, 2, 3)))
        second = differences(published.values(), every_output(rebuilt, probe))
        print(dict(zip(names, second)))
        # Now it's in block4_conv1, which is as it should be. The layer before it is block3_pool:
        print(type(rebuilt.get_layer("block3_pool")).__name__)
        faulty_layers = ["block2_conv1", "block3_pool"]
    """,
    right="A kernel with rows and columns exchanged, and an average pooling. No shape and no count shows either.",
    wrong={
        'faulty_layers = ["block2_conv1", "block4_conv1"]': "comes before it",
        'faulty_layers = ["block2_conv1", "block2_conv2"]': "passes on",
        'faulty_layers = "block2_conv1"': "two",
        'faulty_layers = ["block2_conv1"]': "That's the first",
        'faulty_layers = ["block1_conv2", "block3_pool"]': "One is missing",
        'faulty_layers = ["block2_conv1", "block4_pool"]': "somewhere else",
    },
)


def judge_four(four: Any, network: Any) -> str | None:
    """Right: answers of the three first channels, whatever is in the fourth."""
    shape = tuple(getattr(four, "input_shape", ()))
    if shape[-1:] != (4,):
        return f"Make a model for pictures of four channels. Yours takes {shape}."
    generator = np.random.default_rng(0)
    pictures = generator.uniform(-1, 1, (2, *network.input_shape[1:3], 4)).astype("float32")
    other = pictures.copy()
    other[..., 3] = generator.uniform(-1, 1, other.shape[:3])
    wanted = np.asarray(network(pictures[..., :3], training=False))  # faster than predict, this once
    given, again = (np.asarray(four(batch, training=False)) for batch in (pictures, other))
    if given.shape != wanted.shape:
        return f"The answers of network have the shape {wanted.shape}, and yours {given.shape}."
    if np.abs(given - again).max() > 1e-5:
        return (
            "Your network's answers change with the fourth channel. Which numbers must stand in the kernel so that "
            "it makes no difference?"
        )
    if np.abs(given - wanted).max() > 1e-4:
        return (
            "The fourth channel makes no difference, but the answers aren't those of network. Are all other layers "
            "copied, and are the first three channels of the kernel in their places?"
        )
    return None


q3 = Exercise(
    judge_four,
    hint="Build it with weights=None, use copy_by_name, and fill the first kernel yourself: (3, 3, 4, 32).",
    solution="""
        four = Network(weights=None, input_shape=(224, 224, 4))
        (name,) = copy_by_name(network, four)
        kernel = four.get_layer(name).get_weights()[0]
        kernel[:, :, :3] = network.get_layer(name).get_weights()[0]
        kernel[:, :, 3] = 0
        four.get_layer(name).set_weights([kernel])
    """,
    right="In training the zeros change, if this layer is trainable. Frozen, they stay zero, and "
    "the network never uses the fourth channel.",
    wrong={
        """
        four = Network(weights=None, input_shape=(224, 224, 4))
        copy_by_name(network, four)
        """: "change with the fourth",
        """
        four = Network(weights=None, input_shape=(224, 224, 4))
        (name,) = copy_by_name(network, four)
        old = network.get_layer(name).get_weights()[0]
        four.get_layer(name).set_weights([np.concatenate([old, old.mean(axis=2, keepdims=True)], axis=2)])
        """: "change with the fourth",
        """
        four = Network(weights=None, input_shape=(224, 224, 4))
        kernel = four.get_layer("stem_conv").get_weights()[0]
        kernel[:, :, 3] = 0
        four.get_layer("stem_conv").set_weights([kernel])
        """: "aren't those of network",
        "four = network": "four channels",
    },
)
