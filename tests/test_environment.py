"""environment.yml, pyproject.toml and constraints.txt say the same, and it is installed."""

import importlib.metadata
import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LINES = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1]
    for line in LINES
    if line and not line.startswith("#")
}
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
]


def test_every_constraint_is_one_exact_version() -> None:
    wanted = [line for line in LINES if line and not line.startswith("#")]
    assert not [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)]
    assert len(PINS) == len(wanted), "a package stands there twice"


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_pinned_version_is_the_installed_one(requirement: Requirement) -> None:
    pin = PINS[canonicalize_name(requirement.name)]
    assert importlib.metadata.version(requirement.name) == pin


def test_what_the_requirements_require_is_pinned_too() -> None:
    todo, seen = [requirement.name for requirement in REQUIREMENTS], set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system, or optional
            continue
        found = [Requirement(text) for text in texts]
        todo += [r.name for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    installed = {canonicalize_name(d.metadata["Name"]) for d in importlib.metadata.distributions()}
    unpinned = (seen & installed) - set(PINS) - {"setuptools", "wheel", "pip"}
    assert not unpinned


def test_condas_python_is_one_that_the_project_allows() -> None:
    (python,) = (d for d in CONDA["dependencies"] if isinstance(d, str) and d.startswith("python"))
    version = python.removeprefix("python=").strip("=")
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert f"on Python {version}." in LINES[0], "constraints.txt was made with it"


def test_conda_installs_the_project_with_all_extras_and_the_constraints() -> None:
    (pip,) = (d["pip"] for d in CONDA["dependencies"] if isinstance(d, dict))
    assert "pip" in CONDA["dependencies"]
    assert "-c constraints.txt" in pip
    (project,) = (line for line in pip if line.startswith("-e"))
    extras = re.fullmatch(r"-e \.\[(.+)\]", project)
    assert extras
    assert set(extras[1].split(",")) == set(EXTRAS)
    assert len(pip) == 2, "all else stands in pyproject.toml"
    assert CONDA["name"] == PROJECT["name"]
