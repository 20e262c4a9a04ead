import importlib.metadata
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import catalogue, doctor, zoo
from helpers.doctor import Finding
from helpers.errors import WeightsError
from helpers.zoo import Pretrained


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_machine_with_the_pinned_versions_is_ready() -> None:
    found = by_name(doctor.examine())
    packages = [name for name in found if name in doctor.SHOWN]
    assert sorted(packages) == sorted(doctor.SHOWN)
    wanted = ("Python", *packages, "other packages", "widgets in JupyterLab", "writing", "weights")
    for what in (*wanted, "a prediction", "graphics card"):
        assert found[what].ok, found[what]
    assert "espresso (0.9" in found["a prediction"].found
    assert found["weights"].found.startswith("bundled; 0 of Keras's own ")
    assert list(found)[-4:] == ["writing", "weights", "a prediction", "graphics card"]


def test_without_the_prediction_it_loads_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "pretrained", None)
    assert "a prediction" not in by_name(doctor.examine(predict=False))


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 14), False)])
def test_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], ok: bool) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    finding = doctor._python()
    assert finding.ok == ok
    assert ok or "Use Python 3.11" in finding.fix


def test_another_version_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "keras":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    keras, numpy = doctor._package("keras", "3.15.1"), doctor._package("numpy", "2.4.6")
    assert (keras.found, keras.fix) == ("not installed", "pip install keras==3.15.1")
    assert (numpy.found, numpy.fix) == ("0.1", "Tested with 2.4.6: pip install numpy==2.4.6")
    assert doctor._package("numpy", "").ok


def test_without_the_list_of_versions_packages_are_still_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PINS", tmp_path / "constraints.txt")
    assert [finding.what for finding in doctor._packages()] == list(doctor.SHOWN)
    assert all(finding.ok for finding in doctor._packages())


@pytest.mark.parametrize(("gigabytes", "ok"), [(1, False), (16, True)])
def test_memory_and_disk(monkeypatch: pytest.MonkeyPatch, gigabytes: int, ok: bool) -> None:
    memory: Any = lambda: SimpleNamespace(available=gigabytes * 10**9)  # noqa: E731
    disk: Any = lambda _: SimpleNamespace(free=gigabytes * 10**9)  # noqa: E731
    monkeypatch.setattr(doctor.psutil, "virtual_memory", memory)
    monkeypatch.setattr(doctor.shutil, "disk_usage", disk)
    for finding in (doctor._memory(), doctor._disk()):
        assert finding.ok == ok
        assert f"{gigabytes}.0 GB free" in finding.found


def test_a_misspelt_policy_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "imagnet")
    (finding,) = doctor._weights()
    assert not finding.ok
    assert "Did you mean imagenet?" in finding.found


@pytest.mark.parametrize("policy", ["auto", "bundled", "imagenet"])
def test_weights_that_are_here_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    files = catalogue.find("MobileNet")
    assert files.weights and files.weights_notop
    (tmp_path / files.weights_notop.name).touch()  # nothing is opened
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("HELPERS_WEIGHTS", policy)
    (finding,) = doctor._weights()
    assert finding.ok
    assert re.match(
        rf"{policy}; 1 of Keras's own \d\d files are here: MobileNet \(features\); ", finding.found
    )


def test_imagenet_weights_without_a_file_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "imagenet")
    (finding,) = doctor._weights()
    assert finding.found.startswith("imagenet; 0 of")
    assert "weights fetch ResNet50" in finding.fix


def test_a_download_that_broke_off_is_a_finding(keras_home: Path) -> None:
    file = catalogue.find("MobileNet").weights_notop
    assert file
    (keras_home / "models").mkdir()
    (keras_home / "models" / f"{file.name}.part").write_bytes(bytes(3_000_000))
    _, finding = doctor._weights()
    assert finding.found == "MobileNet: a download broke off after 3 MB"
    assert "weights fetch MobileNet --notop goes on" in finding.fix


def test_folders_that_are_not_there_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path / "stick"))
    monkeypatch.setenv("HELPERS_MIRROR", f"https://a.example/w;{tmp_path};{tmp_path / 'share'}")
    _, own, mirror = doctor._weights()
    assert (own.what, own.found) == ("HELPERS_WEIGHTS_DIR", f"{tmp_path / 'stick'}: no such folder")
    assert mirror.found == f"{tmp_path / 'share'}: no such folder"
    assert not own.ok and not mirror.ok


def test_a_package_of_another_version_among_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("numpy==0.1\npytest==0.1\nnosuchpackage==1\n", "utf-8")
    monkeypatch.setattr(doctor, "PINS", pins)
    finding = doctor._other_packages()
    version = importlib.metadata.version("pytest")
    assert finding.found == f"1 not as tested: pytest {version}, not 0.1"
    assert "pip install -c constraints.txt" in finding.fix


def test_widgets_that_jupyterlab_cannot_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(tmp_path)])
    assert "jupyterlab_widgets" in doctor._widgets().fix
    (tmp_path / doctor.WIDGETS).parent.mkdir(parents=True)
    (tmp_path / doctor.WIDGETS).touch()
    assert doctor._widgets().ok


@pytest.mark.parametrize(("cores", "ok"), [([0], False), ([0, 1, 2], True)])
def test_processors_of_a_container(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], ok: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores), raising=False)
    assert (doctor._processors().found, doctor._processors().ok) == (str(len(cores)), ok)


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"  # a folder without rights would not stop root
    file.touch()
    monkeypatch.setenv("KERAS_HOME", str(file / "keras"))
    finding = doctor._writing()
    assert finding.found == f"weights: {file} cannot be written (Not a directory)"
    assert finding.fix == "Ask for the right to write, or for weights set KERAS_HOME."
    assert list(tmp_path.iterdir()) == [file], "looking leaves nothing behind"


@pytest.mark.parametrize(
    ("cards", "driver", "says"),
    [
        ([], None, "none, and none is needed"),
        ([], "/usr/bin/nvidia-smi", "TensorFlow does not use"),
        (["GPU:0"], "/usr/bin/nvidia-smi", "1, used by TensorFlow"),
    ],
)
def test_graphics_cards(
    monkeypatch: pytest.MonkeyPatch, cards: list[str], driver: str | None, says: str
) -> None:
    import tensorflow

    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _: cards)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: driver)
    finding = doctor._graphics_card()
    assert finding.ok and says in finding.found


def test_a_tensorflow_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert not doctor._graphics_card().ok


def test_a_network_that_answers_wrongly_is_a_finding(
    network: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "pretrained", lambda _: network)
    monkeypatch.setattr(Pretrained, "decode", lambda *_: [[("n04", "digital_clock", 0.9)]])
    assert "It should be espresso" in doctor._prediction().fix


def test_a_network_that_cannot_be_had_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise WeightsError("not installed")

    monkeypatch.setattr(zoo, "pretrained", missing)
    finding = doctor._prediction()
    assert (finding.found, finding.ok) == ("failed: not installed", False)


def test_the_report_is_a_table() -> None:
    text = doctor.report([Finding("Python", "3.11"), Finding("disk", "1 GB", "Make room")])
    assert text.splitlines()[2:] == ["| ✓ | Python | 3.11 |  |", "| ✗ | disk | 1 GB | Make room |"]
