"""Exercises of lesson 01: parameters, a gain, and another source."""

from helpers.checks import Exercise, same


def parameters_of_logistic_regression(parameters):
    if same(parameters, 28 * 28 * 10):
        return "Those are the weights. Each class also has a constant."
    if not same(parameters, 7850):
        return "Each class has a weight for each pixel, and one constant."


q1 = Exercise(
    judge=parameters_of_logistic_regression,
    hint="It's a Dense layer of ten units on the flattened picture.",
    solution="parameters = (28 * 28 + 1) * 10",
    right="Each of the ten classes has a weight for each of the 28 × 28 pixels, and a constant.",
    wrong={
        "parameters = 28 * 28 * 10": "constant",
        "parameters = (8 * 8 + 1) * 10": "pixel",
    },
)


def tenth_root(gain_of_one_per_cent):
    if same(gain_of_one_per_cent, 0.1, tolerance=0.01):
        return "Two layers would do that. Here the signal goes through ten."
    if not same(gain_of_one_per_cent, 0.63, tolerance=0.01):
        return "Ten layers multiply the signal by the gain to the power of ten."


q2 = Exercise(
    judge=tenth_root,
    hint="What is the gain to the power of ten?",
    solution="gain_of_one_per_cent = round(0.01 ** (1 / 10), 2)",
    right="A gain that is only a third too small leaves one per cent after ten layers.",
    wrong={
        "gain_of_one_per_cent = 0.01 ** (1 / 2)": "ten",
        "gain_of_one_per_cent = 0.01 ** 10": "power of ten",
    },
)


def accuracy_from_photographs(from_photographs):
    if from_photographs > 1:
        return "That's more than all of them. evaluate returns the loss first, then the accuracy."
    if not 0.3 < from_photographs < 0.95:
        return "Did you train for a few epochs? train(headed(far, 0), few(20, 0), tuned_rate, 0)"


q3 = Exercise(
    judge=accuracy_from_photographs,
    hint="train(headed(far, 0), few(20, 0), tuned_rate, 0), then the second number of evaluate.",
    solution="""
        train(headed(far, 0), few(20, 0), tuned_rate, 0)
        from_photographs = cnn.evaluate(*validation, verbose=0)[1]
    """,
    right="It's nearer to training from nothing than to the start from digits.",
    wrong={
        "from_photographs = 64": "accuracy",
        """
        cnn.set_weights(start(cnn))
        from_photographs = cnn.evaluate(*validation, verbose=0)[1]
        """: "train",
    },
)
