"""environment.yml, pyproject.toml and constraints.txt say the same, and it is installed."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ALLOWED = SpecifierSet(PROJECT["requires-python"])
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
    assert not (seen & installed) - set(PINS)


def test_condas_python_is_one_that_the_project_allows() -> None:
    (python,) = (d for d in CONDA["dependencies"] if isinstance(d, str) and d.startswith("python"))
    assert ALLOWED.contains(python.removeprefix("python=").strip("="))


def test_make_looks_for_every_python_that_the_project_allows() -> None:
    (looked_for,) = re.findall("for python in (.+); do", (ROOT / "Makefile").read_text("utf-8"))
    versions = [f"3.{minor}" for minor in range(30) if ALLOWED.contains(f"3.{minor}")]
    assert looked_for.split() == [f"python{version}" for version in versions[::-1]] + ["python3"]


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


WITHOUT_KERAS = [
    *("zoo", "weights", "images", "datasets", "features", "h5files", "plots"),
    *("engine", "bottlenecks", "__main__"),
]
IMPORT_IN_TURN = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(f"helpers.{name}")
    except Exception as error:
        found[name] = [repr(error)]
    else:
        found[name] = [heavy for heavy in ("keras", "tensorflow") if heavy in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    command = [sys.executable, "-c", IMPORT_IN_TURN, *WITHOUT_KERAS]
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize("name", WITHOUT_KERAS)
def test_importing_it_loads_no_keras(name: str, found: dict[str, list[str]]) -> None:
    assert not found[name], "by this module, or by one that stands before it in the list"
