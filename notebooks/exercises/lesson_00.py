"""The exercise of lesson 00."""

from collections.abc import Callable
from typing import Any

from helpers.checks import Exercise

ROWS = [("n07930864", "cup", 0.2), ("n07920052", "espresso", 0.7), ("n04263257", "soup_bowl", 0.1)]


def judge_best_label(best_label: Callable[[Any], Any]) -> str | None:
    """Right: the label of the row with the greatest probability."""
    found = best_label(ROWS)
    if found == "espresso":
        other = best_label([("n02124075", "Egyptian_cat", 0.9), *ROWS])
        return None if other == "Egyptian_cat" else f"For another picture it still says {other!r}."
    if found == "cup":
        return "You took the first row. Here the best one stands second: cup 0.2, espresso 0.7."
    if found == "soup_bowl":
        return "soup_bowl has the *least* probability of the three, 0.1."
    if found == ROWS[1]:
        return "That's the whole row. Return its label, which stands in the middle."
    if found == "n07920052":
        return "That's the WordNet id. The label comes after it."
    return f"For {ROWS} you returned {found!r}; the best label is 'espresso'."


q1 = Exercise(
    judge_best_label,
    hint="Go through the rows and remember the one with the greatest probability, or use max().",
    solution="""
        def best_label(answer):
            best, greatest = None, 0
            for wnid, label, probability in answer:
                if probability > greatest:
                    best, greatest = label, probability
            return best
    """,
    right="That's how all exercises work.",
    wrong={
        'def best_label(answer): return "espresso"': "another picture",
        "def best_label(answer): return answer[0][1]": "first row",
        "def best_label(answer): return max(answer)[1]": "first row",
        "def best_label(answer): return min(answer, key=lambda row: row[2])[1]": "least",
        "def best_label(answer): return max(answer, key=lambda row: row[2])": "whole row",
        "def best_label(answer): return max(answer, key=lambda row: row[2])[0]": "WordNet id",
    },
)
