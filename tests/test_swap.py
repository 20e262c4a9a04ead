import doctest
import shutil
from pathlib import Path

import nbformat
import pytest

import swap

IMPORT = """import keras
from helpers.applications.efficientnet_lite import (
    EfficientNetLite0 as Network,
    decode_predictions,
)
# Any other network is a change of the lines above. For MobileNet:
# from keras.applications.mobilenet import MobileNet as Network, decode_predictions
print(Network.__name__)"""


def lesson(path: Path, *sources: str, check: str = "assert False, 'left out'") -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells.append(nbformat.v4.new_code_cell(check, metadata={"tags": ["check", "remove-cell"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    shutil.copytree(swap.ROOT / "notebooks" / "exercises", folder / "exercises")
    return folder


def test_the_imports_change_places() -> None:
    source = swap.swap_import(IMPORT)
    assert source and swap.swap_import(source) is None
    lines = source.splitlines()
    assert lines[1] == "# from helpers.applications.efficientnet_lite import ("
    assert lines[6] == IMPORT.splitlines()[6].removeprefix("# ")
    assert lines[0] == "import keras" and lines[7].startswith("print")
    compile(source, "cell", "exec")


@pytest.mark.parametrize(
    "source",
    [
        "from keras.applications.vgg16 import VGG16 as Network",
        "from helpers.applications.vgg16 import functional",
        "# from keras.applications.vgg16 import VGG16 as Network",
    ],
)
def test_other_imports_stay(source: str) -> None:
    assert swap.swap_import(source) is None


def test_two_imports_of_the_network_and_an_empty_line_below_as_ruff_wants_them() -> None:
    source = """from helpers.applications.x import X as Network
from helpers.applications.x import decode_predictions

# from keras.applications.vgg16 import VGG16 as Network, decode_predictions"""
    changed = swap.swap_import(source)
    assert changed and changed.count("# from helpers") == 2
    assert changed.endswith(
        "\nfrom keras.applications.vgg16 import VGG16 as Network, decode_predictions"
    )


@pytest.mark.parametrize(
    "below", ["", "\n# Any other network", "\nx = 1\n" + IMPORT.splitlines()[6]]
)
def test_a_missing_comment_is_an_error(below: str) -> None:
    with pytest.raises(ValueError, match="no commented import"):
        swap.swap_import("from helpers.applications.x import X as Network" + below)


def test_only_the_networks_weights_are_left_out() -> None:
    source = """print("ä", Network(weights="imagenet"), Network(weights='imagenet', pooling="avg"))
VGG16(weights="imagenet")  # Network(weights="imagenet")"""
    first, second = swap.without_weights(source).splitlines()
    assert first == 'print("ä", Network(weights=None), Network(weights=None, pooling="avg"))'
    assert second == source.splitlines()[1]


def test_the_class_index_is_the_published_one(tmp_path: Path) -> None:
    from keras.src.applications import imagenet_utils
    from keras.src.utils import file_utils

    swap.write_class_index(tmp_path / "models")
    path = str(tmp_path / "models" / "imagenet_class_index.json")
    published = "c2c37ea517e94d9795004a39431a14cb"
    assert published in Path(imagenet_utils.__file__).read_text("utf-8")
    assert file_utils.validate_file(path, published)


def test_written_lessons_are_ready_to_open(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lesson(folder / "03_one.ipynb", IMPORT, 'Network(weights="imagenet")')
    lesson(folder / "08_other.ipynb", "print(1)")
    named = tmp_path / "build" / "named"
    assert swap.main(["--write", str(named)], folder) == 0
    printed = capsys.readouterr().out
    assert str(named / "03_one.ipynb") in printed and "swap: 08_other" in printed
    assert (named / "exercises" / "lesson_01.py").is_file()
    first, second = nbformat.read(named / "03_one.ipynb", as_version=4).cells
    assert first.source == swap.swap_import(IMPORT)
    assert second.source == 'Network(weights="imagenet")'


def test_an_unknown_lesson_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        swap.main(["99_none"], folder)
    assert "99_none" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of nbclient's event loop
def test_lessons_run_with_the_other_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use = """import numpy as np
from exercises import lesson_01
model = Network(weights="imagenet", alpha=0.25)
[[(wnid, label, p)]] = decode_predictions(model.predict(np.zeros((1, 224, 224, 3))), top=1)
assert wnid.startswith("n") and Network.__module__.startswith("keras"), wnid"""
    lesson(folder / "03_one.ipynb", IMPORT, use)
    lesson(folder / "04_two.ipynb", IMPORT, "1 / 0")
    lesson(folder / "08_other.ipynb", "1 / 0")
    assert swap.main([], folder) == 1
    printed = capsys.readouterr().out
    assert "PASS 03_one" in printed
    assert "FAIL 04_two" in printed and "ZeroDivisionError" in printed
    assert "swap: 08_other" in printed


def test_the_examples_run() -> None:
    assert doctest.testmod(swap) == (0, 2)
