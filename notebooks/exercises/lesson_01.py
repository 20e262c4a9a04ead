"""The exercises of lesson 01."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.checks import Exercise


def judge_last_layer_model(
    last_layer_model: Callable[..., Any], pretrained_weights: Sequence[np.ndarray]
) -> str | None:
    """Right: a new head on the pretrained base, of which only the last layer is trained."""
    model = last_layer_model(pretrained_weights)
    if model is None:
        return "last_layer_model returned None. Does it end with return?"
    if tuple(model.output_shape) != (None, 5):
        return f"The output is {tuple(model.output_shape)}. A head of five units is missing, Dense(5)."
    kept = model.get_weights()[: len(pretrained_weights)]
    if len(kept) < len(pretrained_weights) or not all(
        np.array_equal(a, b) for a, b in zip(kept, pretrained_weights, strict=True)
    ):
        return "The base doesn't start from the pretrained weights. There is base.set_weights."
    shapes = [tuple(weight.shape) for weight in model.trainable_weights]
    of_base = [tuple(array.shape) for array in pretrained_weights]
    head = [shape for shape in shapes if 5 in shape]
    if len(head) != 2:
        return "The head isn't trained. It has to be: its weights are random."
    trained = [shape for shape in shapes if shape not in head]
    if not trained:
        return (
            "Nothing of the base is trained: base.trainable = False freezes each of its layers. The "
            "last one has to be unfrozen again."
        )
    if len(trained) == len(of_base):
        return "All of the base is trained. Set layer.trainable = False for every layer but the last."
    if trained != of_base[-2:]:
        return f"These arrays of the base are trained: {trained}. The last layer has {of_base[-2:]}."
    return None


q1 = Exercise(
    judge_last_layer_model,
    hint="Each layer in base.layers has its own trainable. Set it in a loop over base.layers[:-1].",
    solution="""
        def last_layer_model(weights):
            base = make_base()
            base.set_weights(weights)
            for layer in base.layers[:-1]:
                layer.trainable = False
            return keras.Sequential([base, keras.layers.Dense(5)])
    """,
    right="Compile it and fit it as above. Over five seeds it lies between freezing and fine-tuning.",
    wrong={
        """
        def last_layer_model(weights):
            base = make_base()
            base.set_weights(weights)
            return keras.Sequential([base, keras.layers.Dense(5)])
        """: "All of the base",
        """
        def last_layer_model(weights):
            base = make_base()
            base.set_weights(weights)
            base.trainable = False
            return keras.Sequential([base, keras.layers.Dense(5)])
        """: "Nothing of the base",
        """
        def last_layer_model(weights):
            base = make_base()
            for layer in base.layers[:-1]:
                layer.trainable = False
            return keras.Sequential([base, keras.layers.Dense(5)])
        """: "set_weights",
        """
        def last_layer_model(weights):
            base = make_base()
            base.set_weights(weights)
            for layer in base.layers[:-1]:
                layer.trainable = False
            return base
        """: "head of five",
        """
        def last_layer_model(weights):
            base = make_base()
            base.set_weights(weights)
            for layer in base.layers[1:]:
                layer.trainable = False
            return keras.Sequential([base, keras.layers.Dense(5)])
        """: "The last layer has",
    },
)


def judge_he_kernel(he_kernel: Callable[..., Any]) -> str | None:
    """Right: zero mean and a standard deviation of sqrt(2 / inputs), of any distribution."""
    inputs, outputs = 800, 200
    kernel = he_kernel(inputs, outputs)
    if kernel is None:
        return "he_kernel returned None. Does it end with return?"
    kernel = np.asarray(kernel)
    if kernel.shape != (inputs, outputs):
        return f"For {inputs} inputs and {outputs} outputs the shape is {kernel.shape}."
    spread, mean = float(kernel.std()), float(kernel.mean())
    if np.unique(kernel, axis=1).shape[1] < outputs:
        return "Some units are equal, so they would stay equal. Each needs numbers of its own."
    if abs(mean) > 0.2 * spread:
        return f"The mean is {mean:.3f}. It should be zero: a ReLU layer needs both signs."
    plausible = {
        "He's": np.sqrt(2 / inputs),
        "1 / inputs": np.sqrt(1 / inputs),
        "2 / outputs": np.sqrt(2 / outputs),
        "Glorot's": np.sqrt(2 / (inputs + outputs)),
        "no root": 2 / inputs,
    }
    wanted = plausible["He's"]
    nearest = min(plausible, key=lambda name: abs(spread / plausible[name] - 1))
    if abs(spread / plausible["He's"] - 1) < 0.05:
        return None
    hints = {
        "1 / inputs": "That keeps the signal of a linear layer. ReLU sets half of it to zero, so "
        "the variance has to be twice as large.",
        "2 / outputs": "You divide by the outputs. A unit adds up its inputs.",
        "Glorot's": "That's Glorot's, which averages inputs and outputs and ignores ReLU.",
        "no root": "2 / inputs is the variance. The standard deviation is its square root.",
    }
    if nearest in hints and abs(spread / plausible[nearest] - 1) < 0.05:
        return hints[nearest]
    return f"The standard deviation is {spread:.4f}; wanted is {wanted:.4f}."


q2 = Exercise(
    judge_he_kernel,
    hint="rng.normal(0, standard_deviation, shape), with sqrt(2 / inputs) as standard deviation.",
    solution="""
        def he_kernel(inputs, outputs):
            rng = np.random.default_rng()
            return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))
    """,
    right="Keras calls it he_normal (and cuts off the rare values beyond two standard deviations).",
    wrong={
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().normal(0, np.sqrt(1 / inputs), (inputs, outputs))
        """: "twice as large",
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().normal(0, np.sqrt(2 / outputs), (inputs, outputs))
        """: "adds up its inputs",
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().normal(0, np.sqrt(2 / (inputs + outputs)), (inputs, outputs))
        """: "Glorot's",
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().normal(0, 2 / inputs, (inputs, outputs))
        """: "square root",
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().uniform(0, np.sqrt(2 / inputs), (inputs, outputs))
        """: "mean",
        "def he_kernel(inputs, outputs): return np.full((inputs, outputs), np.sqrt(2 / inputs))": "equal",
        """
        def he_kernel(inputs, outputs):
            return np.random.default_rng().normal(0, np.sqrt(2 / inputs), (outputs, inputs))
        """: "shape",
    },
)


def judge_labels_with(labels_with: Callable[..., Any], imagenet_labels: Sequence[str]) -> str | None:
    """Right: the labels of which the word is a whole word, in any case of letters."""
    found = labels_with("bus", imagenet_labels)
    if isinstance(found, str) or not hasattr(found, "__len__"):
        return f"Return a list of labels. You returned {found!r}."
    found = [str(label) for label in found]
    if "trolleybus" in found or "colobus" in found:
        return "For 'bus' you also found trolleybus or colobus, which is a monkey. Compare whole words."
    if found != ["school_bus"]:
        if not found:
            return "For 'bus' you found nothing. There is school_bus: split the label at '_'."
        return f"For 'bus' you found {found}. There is one label with this word, school_bus."
    if len(list(labels_with("egyptian", imagenet_labels))) != 1 or len(list(labels_with("Cat", imagenet_labels))) < 5:
        return "Some labels have capitals, such as Egyptian_cat, and so may the word. Ignore that."
    if len(list(labels_with("giraffe", imagenet_labels))) != 0:
        return "There's no class for giraffes, so the list should be empty."
    return None


q3 = Exercise(
    judge_labels_with,
    hint='label.lower().split("_") is the list of a label\'s words.',
    solution="""
        def labels_with(word, labels):
            found = []
            for label in labels:
                if word.lower() in label.lower().split("_"):
                    found.append(label)
            return found
    """,
    right="Now try the words for what's in your own pictures.",
    wrong={
        "def labels_with(word, labels): return [label for label in labels if word in label]": "whole words",
        "def labels_with(word, labels): return [label for label in labels if word == label]": "school_bus",
        """
        def labels_with(word, labels):
            return [label for label in labels if word in label.split("_")]
        """: "capitals",
        """
        def labels_with(word, labels):
            return len([label for label in labels if word in label.split("_")])
        """: "list of labels",
    },
)
