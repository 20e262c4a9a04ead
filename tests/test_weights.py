import dataclasses
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, SHARED, Answer, Server, mind_permissions

from helpers import h5files, weights, zoo
from helpers.errors import ArgumentError, WeightsError
from helpers.zoo import WeightFile

UNHASHED = "mobilenet_1_0_224_tf.h5"
UNHASHED_PARAMETERS = 4_253_864
Serve = Callable[[Mapping[str, bytes | Answer]], Server]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def hdf5(path: Path, kernel: np.ndarray) -> bytes:
    """A weight file in the published layout, Keras 2's."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0"]
        group.create_dataset("conv1/kernel:0", data=kernel)
        file["at_the_end"] = np.zeros(1000)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The bytes of ResNet50.h5 and ResNet50V2.h5: in these tests, those are the models' files."""
    contents, entries = {}, list(zoo.entries())
    for seed, name in enumerate(("ResNet50", "ResNet50V2")):
        kernel = np.random.default_rng(seed).random((50, 50), "float32")
        content = contents[f"{name}.h5"] = hdf5(tmp_path / "made.h5", kernel)
        file = WeightFile(f"{name}.h5", f"https://keras.invalid/{name}.h5", md5(content), 2500)
        row = zoo.names().index(name)
        entries[row] = dataclasses.replace(entries[row], weights=file)
    monkeypatch.setattr(zoo, "entries", lambda: tuple(entries))
    return contents


@pytest.fixture
def good(real: dict[str, bytes]) -> bytes:
    """What is in ResNet50.h5."""
    return real["ResNet50.h5"]


@pytest.fixture
def cache(keras_home: Path) -> Path:
    (keras_home / "models").mkdir()
    return keras_home / "models"


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was used")

    for name in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


# --- the variables -------------------------------------------------------------------------------


def test_keras_home_has_the_cache(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache() == keras_home / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert weights.cache() == Path.home() / ".keras" / "models"


@pytest.mark.parametrize(
    ("value", "mirrors"),
    [
        ("  ", []),
        ("https://a.example http://b.example/x", ["https://a.example", "http://b.example/x"]),
        ("HTTPS://a.example;http://b.example;", ["HTTPS://a.example", "http://b.example"]),
        ("/media/USB stick https://a.example", ["/media/USB stick", "https://a.example"]),
        ("https://a.example /media/a b ; /c d", ["https://a.example", "/media/a b", "/c d"]),
        (r"D:\my weights;\\server\share", [r"D:\my weights", r"\\server\share"]),
        ("~/w", [str(Path.home() / "w")]),
    ],
)
def test_mirrors_are_urls_and_folders(
    value: str, mirrors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", value)
    assert weights.mirrors() == mirrors


# --- in the cache --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sockets")
def test_what_is_here_needs_no_network(
    cache: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights.find("ResNet50") is None
    assert weights.find(zoo.BUNDLED) is None
    monkeypatch.setenv("HELPERS_MIRROR", "https://mirror.invalid")
    (cache / "ResNet50.h5").write_bytes(good)
    assert weights.find("resnet50") == weights.fetch("ResNet50") == cache / "ResNet50.h5"
    assert weights.find("ResNet50", include_top=False) is None


@pytest.mark.usefixtures("no_sockets")
def test_one_bit_that_hdf5_reads_over_is_found_before_loading(
    cache: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache / "ResNet50.h5"
    path.write_bytes(good)
    whole = h5files.read(path)["conv1"]["conv1/kernel:0"]
    bad = bytearray(good)
    bad[good.index(whole.tobytes()) + 3] ^= 16
    path.write_bytes(bad)
    damaged = h5files.read(path)["conv1"]["conv1/kernel:0"]
    assert np.count_nonzero(damaged != whole) == 1, "HDF5 itself says nothing"
    monkeypatch.setattr(h5py, "File", None)  # nothing of it is read as HDF5
    assert weights.find("ResNet50") is None
    [found] = weights.verify()
    assert md5(good) in found.problem
    assert md5(bytes(bad)) in found.problem


@pytest.mark.usefixtures("no_sockets")
def test_two_files_of_the_same_shapes_that_were_swapped_are_found_out(
    cache: Path, real: dict[str, bytes]
) -> None:
    one, other = real
    (cache / one).write_bytes(real[other])
    (cache / other).write_bytes(real[one])
    shapes = [[w.shape for w in h5files.tree(cache / n).layers[0].weights] for n in real]
    assert shapes[0] == shapes[1]
    assert weights.find("ResNet50") is weights.find("ResNet50V2") is None
    assert all(found.problem for found in weights.verify())


def test_half_a_file_is_fetched_again_once_and_other_files_are_left_alone(
    cache: Path, good: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "thesis.txt").write_text("mine")
    (cache / "ResNet50.h5").write_bytes(good[: len(good) // 2])
    assert h5py.is_hdf5(cache / "ResNet50.h5"), "HDF5 itself sees the start only"
    mirror = serve({"ResNet50.h5": good})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    for _ in range(2):
        assert weights.fetch("ResNet50").read_bytes() == good
    assert mirror.requests == ["ResNet50.h5"]
    assert {path.name for path in cache.iterdir()} == {"ResNet50.h5", "thesis.txt", ".locks"}


def test_the_music_tagger_is_verified_by_its_sha256(cache: Path) -> None:
    file = zoo.MUSIC_TAGGER
    if not (SHARED / "weights" / file.name).is_file():
        pytest.skip("the published file is not on this machine")
    content = (SHARED / "weights" / file.name).read_bytes()
    (cache / file.name).write_bytes(content)
    assert weights.find("musictaggercrnn") == cache / file.name
    assert [found.verified_by for found in weights.verify()] == ["sha256"]
    (cache / file.name).write_bytes(content[:-1] + b"x")
    assert weights.find("MusicTaggerCRNN") is None


# --- where no hash is published ------------------------------------------------------------------


def test_a_file_without_a_hash_is_verified_by_its_parameters(cache: Path) -> None:
    whole = hdf5(cache / UNHASHED, np.zeros(UNHASHED_PARAMETERS, "float32"))
    assert weights.find("MobileNet") == cache / UNHASHED
    [found] = weights.verify()
    assert not found.problem
    assert "no hash is published" in found.verified_by
    (cache / UNHASHED).write_bytes(whole[:-1])
    assert weights.find("MobileNet") is None
    hdf5(cache / UNHASHED, np.zeros(3_228_864, "float32"))  # as many as without the top
    assert weights.find("MobileNet") is None
    assert "expected 4,253,864 parameters, got 3,228,864" in weights.verify()[0].problem


@pytest.mark.parametrize("content", [b"<html>Log in first</html>", b"", b"text"])
def test_what_is_no_weight_file_is_not_kept(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", serve({UNHASHED: content}).url)
    with pytest.raises(WeightsError, match=r"sent another file|sent a web page"):
        weights.fetch("MobileNet")
    assert [path.name for path in cache.iterdir()] == [".locks"]


# --- fetching ------------------------------------------------------------------------------------

LOAD = """
import socket
def refuse(*_, **__):
    raise AssertionError("a socket was used")
socket.socket.connect = socket.getaddrinfo = refuse
import keras
model = keras.applications.MobileNet(alpha=0.25, include_top=False, weights="imagenet")
print(*sum((w.numpy().ravel()[:2].tolist() for w in model.weights), []))
"""


def make_mobilenet(path: Path) -> None:
    """A file as it's published, with random weights: MobileNet, a quarter as wide, no top."""
    import keras

    model = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()


@pytest.mark.parametrize("made", [True, False], ids=["made", "published"])
def test_keras_finds_what_was_copied_from_a_folder_without_a_network(
    tmp_path: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    file = WeightFile("mobilenet_2_5_224_tf_no_top.h5", "https://keras.invalid/x", None, 218_544)
    entry = dataclasses.replace(zoo.find("MobileNet"), weights_notop=file)
    monkeypatch.setattr(zoo, "entries", lambda: (entry,))
    stick = tmp_path / "USB stick"
    stick.mkdir()
    if made:
        make_mobilenet(stick / file.name)
    elif (SHARED / "weights" / file.name).is_file():
        (stick / file.name).write_bytes((SHARED / "weights" / file.name).read_bytes())
    else:
        pytest.skip("the published file is not on this machine")
    monkeypatch.setenv("HELPERS_MIRROR", f"{tmp_path / 'not plugged in'};{stick}")
    assert weights.fetch("MobileNet", include_top=False) == keras_home / "models" / file.name

    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    stored = [
        float(value)
        for layer in h5files.read(stick / file.name).values()
        for weight in layer.values()
        for value in np.ravel(weight)[:2]
    ]
    assert sorted(float(word) for word in loaded.stdout.split()) == sorted(stored)


def test_one_error_says_where_from_where_to_and_what_to_set(keras_home: Path, good: bytes) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.fetch("ResNet50")
    for fact in (
        "https://keras.invalid/ResNet50.h5",
        md5(good),
        f"into {keras_home / 'models'}",
        "HELPERS_MIRROR",
        "KERAS_HOME",
    ):
        assert fact in str(caught.value)


FETCH = """
from helpers import weights
from helpers.errors import WeightsError
try:
    weights.fetch("MobileNet")
except WeightsError as error:
    print(error)
"""


def test_a_cache_without_permission_names_the_variable_and_nothing_falls_back(
    serve: Serve, tmp_path: Path
) -> None:
    mirror = serve({UNHASHED: hdf5(tmp_path / "good.h5", np.zeros(UNHASHED_PARAMETERS, "float32"))})
    home, other = tmp_path / "home", tmp_path / "tmp"
    for folder in (home, other):
        folder.mkdir()
    home.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", FETCH],
        env=os.environ
        | {"KERAS_HOME": str(home), "HELPERS_MIRROR": mirror.url}
        | dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME"), str(other)),
        capture_output=True, text=True, cwd=ROOT, preexec_fn=mind_permissions, check=False,
    )  # fmt: skip
    home.chmod(0o755)
    assert f"can't be kept in {home}/models: Permission denied" in done.stdout, done.stderr
    assert "KERAS_HOME" in done.stdout
    assert mirror.requests == []
    assert not [*home.iterdir(), *other.iterdir()]


def test_a_good_file_in_a_cache_that_cannot_be_written_will_do(
    mounted: Callable[[str], Path], good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = mounted("size=1m")
    (home / "models").mkdir()
    (home / "models" / "ResNet50.h5").write_bytes(good)
    subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    assert weights.fetch("ResNet50").read_bytes() == good


def test_a_model_without_a_file_and_a_misspelt_name() -> None:
    with pytest.raises(ArgumentError, match="pip"):
        weights.fetch(zoo.BUNDLED)
    with pytest.raises(ArgumentError, match="Did you mean MusicTaggerCRNN"):
        weights.find("MusicTagger")
    with pytest.raises(ArgumentError, match="Did you mean ResNet50"):
        weights.find("ResNet51")


# --- listing, verifying --------------------------------------------------------------------------


def test_the_listing_has_every_file_and_what_is_here(cache: Path, good: bytes) -> None:
    listing = weights.listing()
    files = [(entry.weights, entry.weights_notop) for entry in zoo.entries()]
    published = [file for pair in files for file in pair if file] + [zoo.MUSIC_TAGGER]
    assert [found.file for found in listing] == published
    assert not any(found.path or found.arrived for found in listing)
    assert listing[-1].use == "tags"

    (cache / "ResNet50.h5").write_bytes(good)
    (cache / "ResNet50V2.h5.part").write_bytes(bytes(1000))
    here, begun = [found for found in weights.listing() if found.path or found.arrived]
    assert (here.model, here.use, here.path) == ("ResNet50", "predictions", cache / "ResNet50.h5")
    assert (begun.model, begun.path, begun.arrived) == ("ResNet50V2", None, 1000)


def test_every_file_in_the_cache_is_verified(cache: Path, real: dict[str, bytes]) -> None:
    assert weights.verify() == []
    (cache / "ResNet50.h5").write_bytes(real["ResNet50.h5"])
    (cache / "ResNet50V2.h5").write_bytes(b"")
    good, bad = weights.verify()
    assert (good.model, good.verified_by, good.problem) == ("ResNet50", "md5", "")
    assert f"expected MD5 {md5(real['ResNet50V2.h5'])}, got {md5(b'')}" in bad.problem
