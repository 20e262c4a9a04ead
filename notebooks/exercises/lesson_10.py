"""Exercises of lesson 10: parameters of a head, the price of a mistake, and ten pictures."""

import math

from helpers.checks import Exercise, same


def parameters_of_the_published_head(parameters):
    if same(parameters, (1024 + 1) * 256 + (256 + 1) * 5):
        return "That's the head on the averaged map. Flatten keeps all 7 × 7 positions."
    if same(parameters, 7 * 7 * 1024 * 256 + 256 * 5):
        return "Each unit has a bias, too."
    if not same(parameters, (7 * 7 * 1024 + 1) * 256 + (256 + 1) * 5):
        return "A Dense layer has inputs × outputs weights and a bias for each output."


q1 = Exercise(
    judge=parameters_of_the_published_head,
    hint="A Dense layer has inputs × outputs weights and a bias for each output; Dropout has none.",
    solution="parameters = (7 * 7 * 1024 + 1) * 256 + (256 + 1) * 5",
    right="Nearly 13 million, for 500 pictures.",
    wrong={
        "parameters = (1024 + 1) * 256 + (256 + 1) * 5": "positions",
        "parameters = 7 * 7 * 1024 * 256 + 256 * 5": "bias",
        "parameters = 256 + 5": "inputs",
    },
)


def loss_of_one_mistake(price):
    if same(price, math.log(0.001), tolerance=0.01):
        return "Minus the logarithm: a loss is not negative."
    if same(price, 3, tolerance=0.01):
        return "With the natural logarithm, and not to base 10."
    if not same(price, -math.log(0.001), tolerance=0.01):
        return "The loss of a picture is -log(p), with the natural logarithm."


q2 = Exercise(
    judge=loss_of_one_mistake,
    hint="The loss of a picture is -log(p).",
    solution="price = float(np.log(1 / 0.001))",
    right="It costs as much as some sixty pictures that were given 0.9.",
    wrong={
        "price = np.log(0.001)": "Minus",
        "price = -np.log10(0.001)": "base 10",
        "price = 0.999": "-log(p)",
    },
)


def accuracy_of_ten_of_each(accuracy_of_ten, right):
    if accuracy_of_ten > 1:
        return "An accuracy is at most 1. evaluate returns the loss first."
    if accuracy_of_ten <= 0.4:
        return "A head that learned gets more. Do your ten rows have all five classes?"
    if accuracy_of_ten >= right["5 early stopping"]:
        return "That's as good as with 80 of each class. Did you train on ten of each?"


q3 = Exercise(
    judge=accuracy_of_ten_of_each,
    hint="Take fit[y_train[fit] == label][:10] for each label, and train as above for 50 epochs.",
    solution="""
        ten = np.concatenate([fit[y_train[fit] == label][:10] for label in range(5)])
        keras.utils.set_random_seed(0)
        small = keras.Sequential([keras.Input(x_train.shape[1:]), keras.layers.Dense(5, "softmax")])
        adam = keras.optimizers.Adam(0.01)
        small.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
        small.fit(x_train[ten], y_train[ten], batch_size=32, epochs=50, verbose=0)
        accuracy_of_ten = small.evaluate(x_train[held], y_train[held], verbose=0)[1]
    """,
    right="With an eighth of the pictures most of the accuracy is there already.",
    wrong={
        "accuracy_of_ten = 78": "at most 1",
        "accuracy_of_ten = 0.2": "five classes",
        "accuracy_of_ten = 1.0": "80 of each",
    },
)
