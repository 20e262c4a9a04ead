"""The panels in a real JupyterLab in a real Chromium, used by keyboard and mouse.

A screenshot of each is left in build/screenshots.
"""

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from conftest import ROOT, picture
from PIL import Image
from test_lab import Lab, start_lab

from helpers import zoo

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SHOTS = ROOT / "build" / "screenshots"
EVIL = '<img src=x onerror="window.hurt=1">'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine"),
]

CELLS = [
    f"""
import time
import numpy as np
from helpers import zoo
from helpers import datasets, widgets
from helpers.backend import keras
from helpers.zoo import load

network = load()
photographs = datasets.photographs()
pictures = {{name: photographs[name] for name in ("chelsea", "coffee")}}
pictures[{EVIL!r}] = photographs["coffee"]
x = np.random.default_rng(0).normal(size=(40000, 4)).astype("float32")
y = (x[:, 0] > 0).astype(int)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

def fit(**keywords):
    return model.fit(x, y, batch_size=32, verbose=0, **keywords)
""",
    "widgets.ZooExplorer({entry.name: entry.parameters / 1e7 for entry in zoo.entries()})",
    "widgets.Predictor([network], pictures)",
    "time.sleep(8)",
    "monitor = widgets.TrainingMonitor(fit, epochs=3)\nmonitor",
    "len(monitor.wait()['loss'])",
]


class Shown:
    """One widget on the page."""

    def __init__(self, page: "Page", number: int, name: str) -> None:
        self.page, self.name = page, name
        self.cell = page.locator(".jp-Notebook-cell").nth(number)
        self.status = self.cell.locator("[role=status]")

    def says(self, pattern: str, seconds: float = 20) -> str:
        """Waits until the widget's line matches."""
        until = time.monotonic() + seconds
        text = ""
        while time.monotonic() < until:
            text = self.status.inner_text() if self.status.count() else ""
            if re.search(pattern, text):
                return text
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{self.name} says {text!r}, expected {pattern!r}")

    def picture(self) -> str:
        found: Locator = self.cell.locator("img[alt]")
        assert found.get_attribute("alt") == self.status.inner_text()
        assert found.evaluate("image => image.naturalWidth") > 250
        return str(found.get_attribute("src"))

    def handle(self, number: int = 0) -> "Locator":
        return self.cell.locator("[role=slider]").nth(number)

    def run(self) -> None:
        self.cell.locator(".jp-InputPrompt").click()
        self.page.keyboard.press("Control+Enter")
        self.cell.get_by_text("[*]").wait_for()

    def running(self) -> bool:
        return self.cell.get_by_text("[*]").count() > 0

    def press(self, what: "Locator", *keys: str) -> None:
        what.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def shot(self) -> None:
        path = SHOTS / f"{self.name}.png"
        self.cell.screenshot(path=path)
        print(f"screenshot: {path.relative_to(ROOT)}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("browser")
    v4 = nbformat.v4
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [v4.new_code_cell(source.strip()) for source in CELLS]
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), folder / "things.ipynb")
    with start_lab(tmp_path_factory.mktemp("jupyter"), folder) as started:
        yield started


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator["Page"]:
    """The notebook in JupyterLab; the cells up to the last of the explorers are running."""
    sync_api = pytest.importorskip("playwright.sync_api")
    SHOTS.mkdir(parents=True, exist_ok=True)
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        page = browser.new_page(viewport={"width": 1300, "height": 3600})
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{lab.port}/lab/tree/things.ipynb?token={lab.token}")
        page.get_by_text("| Idle").wait_for()
        page.locator(".jp-InputPrompt").first.click()
        for _ in range(3):
            page.keyboard.press("Shift+Enter")
        yield page
        browser.close()


def test_predict_by_choice_and_by_upload(page: "Page") -> None:
    shown = Shown(page, 2, "predict")
    shown.says("^chelsea: EfficientNetLite0 says Egyptian cat, 0.3", 120)
    cat = shown.picture()
    shown.press(shown.handle(), "ArrowRight")
    shown.says("^coffee: EfficientNetLite0 says espresso, 0.9")
    assert shown.picture() != cat
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "PNG")
    for content, answer in (
        (file.getvalue(), "EfficientNetLite0"),
        (b"x", "(?!EfficientNetLite0)"),
    ):
        upload(shown, EVIL, content)
        shown.says(f"^{re.escape(EVIL)}: {answer}")
    shown.press(shown.handle(), "End")
    assert shown.cell.locator(".widget-readout").inner_text() == EVIL
    shown.says(f"^{re.escape(EVIL)}: EfficientNetLite0 says espresso")
    assert page.evaluate("window.hurt") is None, "a name that came with a file has been run"
    shown.shot()


def upload(shown: Shown, name: str, content: bytes) -> None:
    with shown.page.expect_file_chooser() as chooser:
        shown.press(shown.cell.locator("button.widget-upload"), "Enter")
    file: Any = {"name": name, "mimeType": "image/png", "buffer": content}
    chooser.value.set_files([file])


def test_zoo_within_limits(page: "Page") -> None:
    shown = Shown(page, 1, "zoo")
    shown.says(f"^{len(zoo.entries())} of 43 networks", 120)
    before = shown.picture()
    shown.press(shown.handle(1), *["ArrowLeft"] * 3)
    limit = shown.cell.locator(".widget-readout").nth(1).inner_text()
    kept = zoo.within(size_mb=float(limit.removesuffix(" MB")))
    shown.says(f"^{len(kept)} of 43 .* most accurate: {kept[0].name}")
    assert 0 < len(kept) < 43 and shown.picture() != before
    shown.shot()
    shown.press(shown.handle(0), "Tab", "Tab")
    assert shown.handle(1).evaluate("handle => handle === document.activeElement")


def test_a_slider_moved_while_a_cell_runs_answers_when_it_is_done(page: "Page") -> None:
    shown, busy = Shown(page, 1, "zoo-while-busy"), Shown(page, 3, "busy")
    before = shown.says("^[0-9]+ of 43 networks", 120)
    first = shown.picture()
    busy.run()
    shown.press(shown.handle(), "End")
    assert busy.running() and shown.status.inner_text() == before
    shown.says("^0 of 43", 30)
    assert not busy.running()
    assert shown.picture() != first
    shown.shot()


def test_a_training_is_stopped_and_goes_on(page: "Page") -> None:
    shown, waiting = Shown(page, 4, "training"), Shown(page, 5, "waiting")
    shown.run()
    shown.says(r"epoch \d of 3, step \d+ of \d+, loss \d", 60)
    assert not shown.running(), "it trains in a thread, so the cell is done"
    stop, go_on = (shown.cell.get_by_role("button").filter(has_text=t) for t in ("Stop", "Go on"))
    shown.press(stop, "Enter")
    stopped = shown.says(r"^stopped after [0-2] of 3 epochs")
    assert stop.is_disabled() and go_on.is_enabled()
    page.wait_for_timeout(500)
    assert shown.status.inner_text() == stopped, "it stands still"
    shown.press(go_on, "Enter")
    shown.says("^epoch . of 3")
    waiting.run()
    shown.says("^finished after 3 of 3 epochs", 90)
    waiting.cell.locator(".jp-OutputArea-output").get_by_text("3", exact=True).wait_for()
    shown.shot()
    assert "epoch 3 of 3 is done" in str(shown.cell.locator("img[alt]").get_attribute("alt"))
