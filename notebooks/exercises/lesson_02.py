"""The exercises of lesson 02."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import diagrams

from helpers import images
from helpers.checks import Exercise
from helpers.errors import ArgumentError


def judge_choose(choose: Callable[..., Any], table: pd.DataFrame) -> str | None:
    """Right: the most accurate within both limits, which themselves are allowed."""
    cases = [(50, 5), (2000, 100), (30, 0.4), (100, 0.6), (20, 50), (16, 1), (1, 1)]
    for size_mb, billions in cases:
        inside = table[(table["size_mb"] <= size_mb) & (table["multiply_adds"] <= billions * 1e9)]
        expected = inside["top1"].idxmax() if len(inside) else None
        given = choose(table, size_mb, billions)
        asked = f"For {size_mb} MB and {billions} billion multiply-adds"
        if expected is None:
            if given is not None:
                return f"{asked} no network is within the limits. Return None; you returned {given!r}."
            continue
        if given is None:
            return f"{asked} you returned None, but {expected} is within the limits. Do you return it?"
        if not isinstance(given, str):
            return f"Return the network's name, as text. You returned a {type(given).__name__}."
        if given not in table.index:
            return f"There is no network {given!r} in the table."
        if given not in inside.index:
            facts = table.loc[given]
            work = facts["multiply_adds"] / 1e9
            return f"{asked} you chose {given}, which has {facts['size_mb']:.0f} MB and needs {work:.2f} billion."
        if inside.loc[given, "top1"] < inside.loc[expected, "top1"]:
            return f"{asked} you chose {given}, but {expected} is within the limits and more accurate."
    return None


q1 = Exercise(
    judge_choose,
    hint="Two conditions combined with & keep some of the rows. What does idxmax of a column give?",
    solution="""
        def choose(table, size_mb, billions):
            small_enough = table["size_mb"] <= size_mb
            fast_enough = table["multiply_adds"] <= billions * 1e9
            inside = table[small_enough & fast_enough]
            if len(inside) == 0:
                return None
            return inside["top1"].idxmax()
    """,
    right="For 50 MB and 5 billion it's EfficientNetB3.",
    wrong={
        "def choose(table, size_mb, billions): return table[table['size_mb'] <= size_mb]['top1'].idxmax()": "needs",
        """
        def choose(table, size_mb, billions):
            inside = table[(table["size_mb"] <= size_mb) & (table["multiply_adds"] <= billions)]
            return inside["top1"].idxmax() if len(inside) else None
        """: "Do you return it",
        """
        def choose(table, size_mb, billions):
            inside = table[(table["size_mb"] <= size_mb) & (table["multiply_adds"] <= billions * 1e9)]
            return inside["multiply_adds"].idxmin() if len(inside) else None
        """: "more accurate",
        """
        def choose(table, size_mb, billions):
            inside = table[(table["size_mb"] <= size_mb) & (table["multiply_adds"] <= billions * 1e9)]
            return inside.sort_values("top1").iloc[-1]
        """: "name, as text",
        """
        def choose(table, size_mb, billions):
            inside = table[(table["size_mb"] <= size_mb) & (table["multiply_adds"] <= billions * 1e9)]
            return inside["top1"].idxmax()
        """: "ValueError",
    },
)

MODES = ("caffe", "torch", "tf", "lite", "none")


def judge_mode_of(mode_of: Callable[..., Any]) -> str | None:
    """Right: the mode's name for the five, and "unknown" for anything else."""

    def changing(mode: str) -> Callable[[np.ndarray], np.ndarray]:
        def preprocess(pixels: np.ndarray) -> np.ndarray:
            # As Keras's own do, in place on floats.
            if not isinstance(pixels, np.ndarray) or pixels.ndim != 4 or pixels.shape[-1] != 3:
                raise ValueError(f"expected an array (pictures, rows, columns, 3), got {np.shape(pixels)}")
            if not np.issubdtype(pixels.dtype, np.floating):
                raise ValueError(f"expected floats, got {pixels.dtype}")
            pixels[...] = images.scale(pixels, mode)
            return pixels

        return preprocess

    for mode in MODES:
        given = mode_of(changing(mode))
        if given != mode:
            return f"For the scaling of mode {mode!r} it returned {given!r}. " + (
                "Did it compare with pixels that were already changed? Keep a copy."
                if given == "none"
                else "Print what becomes of one pixel, such as (255, 128, 0)."
            )
    others = {
        "x / 255": lambda pixels: pixels / 255,
        "the mean subtracted, without reversing the channels": lambda pixels: (
            pixels - np.array([123.68, 116.779, 103.939])
        ),
        "x / 128 - 1": lambda pixels: pixels / 128 - 1,
    }
    for name, preprocess in others.items():
        given = mode_of(preprocess)
        if given != "unknown":
            return f"For {name} it should return 'unknown', and it returned {given!r}. Test more than one value."
    return None


q2 = Exercise(
    judge_mode_of,
    hint="One well-chosen pixel is enough: no two modes do the same to it. np.allclose compares arrays of floats.",
    solution="""
        def mode_of(preprocess):
            given = preprocess(orange.copy())
            for mode, module in modules.items():
                expected = module.preprocess_input(orange.copy())
                if np.allclose(given, expected, atol=0.001):
                    return mode
            return "unknown"
    """,
    right="Try it on the preprocess_input of a network that you use.",
    wrong={
        """
        def mode_of(preprocess):
            black = preprocess(np.zeros((1, 1, 1, 3)))
            for mode, module in modules.items():
                if np.allclose(black, module.preprocess_input(np.zeros((1, 1, 1, 3))), atol=0.001):
                    return mode
        """: "more than one value",
        """
        def mode_of(preprocess):
            pixel = orange.copy()
            given = preprocess(pixel)
            return "none" if np.allclose(given, pixel) else "unknown"
        """: "copy",
        """
        def mode_of(preprocess):
            given = preprocess(orange.copy())
            if given.min() < -2:
                return "caffe"
            return "tf" if given.max() <= 3 else "none"
        """: "Print",
        "def mode_of(preprocess): return preprocess(orange[0, 0, 0])": "pictures, rows, columns",
    },
)


FIRST_OF_A_STAGE = [
    256,
    (
        "add",
        ["conv 1×1 /2, 128", "BN", "ReLU", "conv 3×3, 128", "BN", "ReLU", "conv 1×1, 512", "BN"],
        ["conv 1×1 /2, 512", "BN"],
    ),
    "ReLU",
]


def judge_block(my_block: Any) -> str | None:
    """Right: ResNet50's conv3_block1, its branches in any order."""
    if not isinstance(my_block, list) or not my_block or not isinstance(my_block[0], int):
        return "A block is a list, and starts with the number of channels that come in: [256, …]."
    if my_block[0] != 256:
        return f"What comes in has 256 channels, and your list starts with {my_block[0]}."
    forks = [step for step in my_block if isinstance(step, tuple)]
    if len(forks) != 1 or forks[0][0] != "add" or len(forks[0]) != 3:
        return 'There should be one tuple, of "add" and a list for each of the two branches.'
    try:
        diagrams.channels(my_block)
    except ArgumentError:
        if [] in forks[0]:
            return "You add 256 channels to 512. The shortcut needs a layer, too: see conv3_block1_0_conv."
        return "Your branches end with different numbers of channels, so they can't be added."
    given, expected = _plain(my_block), _plain(FIRST_OF_A_STAGE)
    if given == expected:
        return None
    if _without_strides(given) == _without_strides(expected):
        return "The layers are right. Check the strides: both branches must halve rows and columns, each once."
    if given[-1] != "relu":
        return "As in the other blocks of ResNet50, something follows the addition."
    if _only_convolutions(given) == _only_convolutions(expected):
        return "The convolutions are right. BN follows each of them, and ReLU all but the last of a branch."
    return "Compare each convolution with the list: its kernel size, its strides and its filters."


def _plain(step: Any) -> Any:
    """Leave out what is a matter of taste: spaces, capitals, x for ×, the order of branches."""
    if isinstance(step, str):
        return step.lower().replace("x", "×").replace(" ", "")
    if isinstance(step, tuple):
        return (step[0], *sorted((_plain(branch) for branch in step[1:]), key=str))
    return [_plain(one) for one in step] if isinstance(step, list) else step


def _without_strides(step: Any) -> Any:
    if isinstance(step, str):
        return step.replace("/2", "")
    if isinstance(step, tuple):
        return (step[0], *sorted((_without_strides(branch) for branch in step[1:]), key=str))
    return [_without_strides(one) for one in step] if isinstance(step, list) else step


def _only_convolutions(step: Any) -> list[str]:
    if isinstance(step, str):
        return [step] if step.startswith("conv") else []
    if isinstance(step, list | tuple):
        return sorted(found for one in step for found in _only_convolutions(one))
    return []


q3 = Exercise(
    judge_block,
    hint="model.summary() lists the layers, conv3_block1_0_conv too. Each knows its kernel_size, strides and filters.",
    solution="""
        main = [
            "conv 1×1 /2, 128", "BN", "ReLU",
            "conv 3×3, 128", "BN", "ReLU",
            "conv 1×1, 512", "BN",
        ]
        shortcut = ["conv 1×1 /2, 512", "BN"]
        my_block = [256, ("add", main, shortcut), "ReLU"]
    """,
    right='Now draw it: diagrams.draw({"conv3_block1": my_block}).',
    wrong={
        "my_block = [256, ('add', bottleneck[:-2] + ['conv 1×1, 512', 'BN'], []), 'ReLU']": "256 channels to 512",
        "my_block = [512, ('add', bottleneck, []), 'ReLU']": "starts with 512",
        "my_block = 'conv 1×1, 64'": "starts with the number",
        "my_block = [256, *bottleneck]": "one tuple",
        """
        main = ["conv 1×1, 128", "BN", "ReLU", "conv 3×3, 128", "BN", "ReLU", "conv 1×1, 512", "BN"]
        my_block = [256, ("add", main, ["conv 1×1, 512", "BN"]), "ReLU"]
        """: "strides",
        """
        main = ["conv 1×1 /2, 128", "conv 3×3, 128", "conv 1×1, 512"]
        my_block = [256, ("add", main, ["conv 1×1 /2, 512"]), "ReLU"]
        """: "BN follows",
        """
        main = ["conv 1×1 /2, 128", "BN", "ReLU", "conv 3×3, 128", "BN", "ReLU", "conv 1×1, 512", "BN"]
        my_block = [256, ("add", main, ["conv 1×1 /2, 512", "BN"])]
        """: "follows the addition",
        """
        main = ["conv 1×1 /2, 64", "BN", "ReLU", "conv 3×3, 64", "BN", "ReLU", "conv 1×1, 512", "BN"]
        my_block = [256, ("add", main, ["conv 1×1 /2, 512", "BN"]), "ReLU"]
        """: "filters",
    },
)
