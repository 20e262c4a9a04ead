import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import doctor, weights, zoo
from helpers.doctor import Finding
from helpers.errors import WeightsError


def by_name(predict: bool = False) -> dict[str, Finding]:
    return {finding.what: finding for finding in doctor.examine(predict)}


def listed(**changed: Any) -> SimpleNamespace:
    facts = {"model": "MobileNet", "include_top": False, "use": "features", "path": None}
    return SimpleNamespace(**facts | {"arrived": 0} | changed)


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The weight files that are listed; none of them is here."""
    found = [listed(), listed(model="VGG16")]
    monkeypatch.setattr(weights, "listing", lambda: found)
    return found


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, network: Any) -> Any:
    monkeypatch.setattr(zoo, "load", lambda name: network, raising=False)
    return network


def test_a_machine_with_the_pinned_versions_is_ready(loaded: Any) -> None:
    found = by_name(predict=True)
    packages = [name for name in found if name in doctor.SHOWN]
    assert sorted(packages) == sorted(doctor.SHOWN)
    wanted = ("Python", *packages, "other packages", "widgets in JupyterLab", "writing", "weights")
    for what in (*wanted, "a prediction", "GPU"):
        assert found[what].ok, found[what]
    assert "espresso (0.9" in found["a prediction"].found
    assert "0 of 2 published files" in found["weights"].found


def test_a_prediction_can_be_left_out() -> None:
    assert not {"a prediction", "GPU"} & set(by_name())


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], ok: bool) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert by_name()["Python"].ok == ok


def test_other_versions_and_a_missing_package_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("numpy==0.1\nkeras==0.2\npytest==0.3\nnosuchpackage==1\n", "utf-8")
    monkeypatch.setattr(doctor, "PINS", pins)
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "keras":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = by_name()
    assert found["numpy"].found == real("numpy") and "numpy==0.1" in found["numpy"].fix
    assert found["keras"].found == "not installed" and "pip install" in found["keras"].fix
    assert f"1 not as tested: pytest {real('pytest')}, not 0.3" in found["other packages"].found


def test_without_the_list_of_versions_packages_are_still_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PINS", tmp_path / "constraints.txt")
    found = by_name()
    assert all(found[name].ok for name in doctor.SHOWN)


@pytest.mark.parametrize(("gigabytes", "ok"), [(1, False), (16, True)])
def test_memory_and_disk(monkeypatch: pytest.MonkeyPatch, gigabytes: int, ok: bool) -> None:
    size = SimpleNamespace(available=gigabytes * 10**9, free=gigabytes * 10**9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: size)
    monkeypatch.setattr("shutil.disk_usage", lambda _: size)
    for what in ("memory", "disk"):
        assert by_name()[what].ok == ok
        assert f"{gigabytes}.0 GB free" in by_name()[what].found


@pytest.mark.parametrize(("cores", "ok"), [({0}, False), ({0, 1, 2}, True)])
def test_processors(monkeypatch: pytest.MonkeyPatch, cores: set[int], ok: bool) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    finding = by_name()["processors"]
    assert (finding.found, finding.ok) == (str(len(cores)), ok)


def test_weights_that_are_here_are_named(files: list[SimpleNamespace], tmp_path: Path) -> None:
    files[0].path = tmp_path
    assert "1 of 2 published files are here: MobileNet (features)" in by_name()["weights"].found


def test_a_download_that_stopped_is_a_finding(files: list[SimpleNamespace]) -> None:
    files[0].arrived = 3_000_000
    finding = by_name()["download"]
    assert "MobileNet" in finding.found and "3 MB" in finding.found
    assert "weights fetch MobileNet --notop" in finding.fix


def test_a_mirror_that_is_not_there_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", f"https://a.example/w;{tmp_path};{tmp_path / 'share'}")
    [finding] = [each for each in doctor.examine(False) if each.what == "HELPERS_MIRROR"]
    assert finding.found.startswith(f"{tmp_path / 'share'}: ") and not finding.ok


def test_widgets_that_jupyterlab_cannot_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(tmp_path)])
    assert "jupyterlab_widgets" in by_name()["widgets in JupyterLab"].fix


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"  # a folder without rights would not stop root
    file.touch()
    monkeypatch.setenv("KERAS_HOME", str(file / "keras"))
    finding = by_name()["writing"]
    assert f"weights: {file} " in finding.found and "KERAS_HOME" in finding.fix
    assert list(tmp_path.iterdir()) == [file], "looking leaves nothing behind"


@pytest.mark.parametrize(
    ("cards", "driver", "says"),
    [
        ([], None, "none"),
        ([], "/usr/bin/nvidia-smi", "TensorFlow doesn't use"),
        (["GPU:0"], "/usr/bin/nvidia-smi", "1, used by TensorFlow"),
    ],
)
def test_gpus(
    monkeypatch: pytest.MonkeyPatch, loaded: Any, cards: list[str], driver: str | None, says: str
) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _: cards)
    monkeypatch.setattr("shutil.which", lambda _: driver)
    finding = by_name(predict=True)["GPU"]
    assert finding.ok and says in finding.found


def test_a_tensorflow_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    monkeypatch.setitem(sys.modules, "helpers.backend", None)
    assert not by_name(predict=True)["GPU"].ok


def test_a_wrong_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    monkeypatch.setattr(type(loaded), "decode", lambda *_: [[("n04", "digital_clock", 0.9)]])
    assert "should be espresso" in by_name(predict=True)["a prediction"].fix


def test_a_network_that_cannot_be_had_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise WeightsError("not installed")

    monkeypatch.setattr(zoo, "load", missing, raising=False)
    finding = by_name(predict=True)["a prediction"]
    assert "not installed" in finding.found and not finding.ok


def test_settings_of_keras_that_cannot_be_used_are_a_finding() -> None:
    code = "from helpers import doctor\nprint(doctor.report(doctor.examine()))"
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "KERAS_BACKEND: expected tensorflow, got jax" in done.stdout


def test_the_report_is_a_table() -> None:
    text = doctor.report([Finding("Python", "3.11"), Finding("disk", "1 GB", "Make room")])
    assert text.splitlines()[2:] == ["| ✓ | Python | 3.11 |  |", "| ✗ | disk | 1 GB | Make room |"]
