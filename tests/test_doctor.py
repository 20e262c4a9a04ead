import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import pytest

from helpers import catalogue, doctor, zoo
from helpers.doctor import Finding
from helpers.errors import WeightsNotFound


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_machine_with_the_pinned_versions_is_ready() -> None:
    found = by_name(doctor.examine())
    packages = [name for name in found if name in doctor.SHOWN]
    assert sorted(packages) == sorted(doctor.SHOWN)
    for what in ("Python", *packages, "weights", "a prediction"):
        assert found[what].ok, found[what]
    assert "espresso (0.9" in found["a prediction"].found
    assert found["weights"].found.startswith("bundled; ")


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


def test_weights_that_are_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = catalogue.find("MobileNet").weights
    assert file
    with h5py.File(tmp_path / file.name, "w") as weights:
        weights.create_dataset("kernel", (file.parameters,), "float32")
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path))
    assert doctor._weights()[0].found == "bundled; of Keras's own: MobileNet"


def test_a_network_that_cannot_be_had_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise WeightsNotFound("not installed")

    monkeypatch.setattr(zoo, "pretrained", missing)
    finding = doctor._prediction()
    assert (finding.found, finding.ok) == ("failed: not installed", False)


def test_the_report_is_a_table() -> None:
    text = doctor.report([Finding("Python", "3.11"), Finding("disk", "1 GB", "Make room")])
    assert text.splitlines()[2:] == ["| ✓ | Python | 3.11 |  |", "| ✗ | disk | 1 GB | Make room |"]
