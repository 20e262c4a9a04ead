"""What `nbval.cfg` lets differ between a stored output and today's."""

import re
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns

CONFIG = Path(__file__).with_name("nbval.cfg").read_text("utf-8")


@pytest.mark.parametrize(
    ("stored", "today", "equal"),
    [
        ("accuracy 0.98", "accuracy 1.0", True),
        ("loss  0.31\nloss 12.40", "loss -0.3\nloss 9.99", True),
        ("took 1e-05 s, 2.5e+3", "took 0.3 s, 31.0", True),
        ("[0.5 1. ]", "[1.  0.25]", True),
        ("network    top-1\nVGG16      0.7", "network  top-1\nVGG16    0.71", True),
        (" 40%|####    | 2/5 [00:01]", "100%|####| 5/5 [00:09]", True),
        ("3 of 5 pictures", "4 of 5 pictures", False),
        ("1,281,167 pictures", "1,281,168 pictures", False),
        ("espresso 0.9", "cup 0.9", False),
        ("It has 100.", "It has 99.", False),
        ("VGG16", "VGG19", False),
        ("1e5b", "1e6b", False),
    ],
)
def test_decimals_and_column_widths_may_differ(stored: str, today: str, equal: bool) -> None:
    for pattern, replacement in get_sanitize_patterns(CONFIG):
        stored, today = (re.sub(pattern, replacement, text) for text in (stored, today))
    assert (stored == today) is equal
