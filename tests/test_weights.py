import dataclasses
import hashlib
import os
import re
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

from helpers import catalogue, downloads, h5files, weights
from helpers.catalogue import WeightFile
from helpers.errors import ArgumentError, DownloadError, WeightsError

GOOD, BAD = b"right" * 1000, b"wrong" * 1000
FILE = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
UNHASHED, UNHASHED_NOTOP = "mobilenet_1_0_224_tf.h5", "mobilenet_1_0_224_tf_no_top.h5"
Serve = Callable[[Mapping[str, bytes | Answer]], Server]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def catalogue_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet50's weight file has GOOD's hash here, and stands on a server that is not there."""
    file = WeightFile(FILE, f"https://keras.invalid/{FILE}", md5(GOOD), 25_636_712)
    entries = [
        dataclasses.replace(entry, weights=file) if entry.name == "ResNet50" else entry
        for entry in catalogue.entries()
    ]
    monkeypatch.setattr(catalogue, "entries", lambda: tuple(entries))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that HELPERS_WEIGHTS_DIR names."""
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.fixture
def cache(keras_home: Path) -> Path:
    (keras_home / "models").mkdir()
    return keras_home / "models"


def hdf5(path: Path, parameters: int) -> bytes:
    """A weight file in Keras 2's layout, whose numbers take no room."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0"]
        group.create_dataset("conv1/kernel:0", (parameters,), np.float32)
        file["at_the_end"] = np.zeros(1000)
    return path.read_bytes()


# --- the variables -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["auto", "bundled", "imagenet"])
def test_the_policy_is_the_environments(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", value)
    assert weights.policy() == value


def test_the_policy_is_auto_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "")
    assert weights.policy() == "auto"
    monkeypatch.delenv("HELPERS_WEIGHTS")
    assert weights.policy() == "auto"


def test_a_misspelt_policy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "imagnet")
    with pytest.raises(ArgumentError, match=r"HELPERS_WEIGHTS=imagnet: Did you mean imagenet\?"):
        weights.policy()


def test_keras_home_has_the_cache(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache() == keras_home / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert weights.cache() == Path.home() / ".keras" / "models"
    assert downloads.short(weights.cache()) == "~/.keras/models"


@pytest.mark.parametrize(
    ("value", "mirrors"),
    [
        ("", []),
        ("  ", []),
        ("https://a.example/w", ["https://a.example/w"]),
        ("https://a.example http://b.example/x", ["https://a.example", "http://b.example/x"]),
        ("HTTPS://a.example;http://b.example;", ["HTTPS://a.example", "http://b.example"]),
        ("/media/USB stick", ["/media/USB stick"]),
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


# --- on this machine -----------------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.usefixtures("no_sockets")
def test_nothing_is_found_in_empty_folders(own: Path) -> None:
    assert weights.find("ResNet50") is None
    assert weights.find(catalogue.BUNDLED) is None


@pytest.mark.usefixtures("no_sockets")
def test_what_is_here_needs_no_network_and_the_own_folder_goes_first(
    own: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", "https://mirror.invalid")
    for folder in (cache, own):
        (folder / FILE).write_bytes(GOOD)
        assert weights.find("ResNet50") == folder / FILE
        assert weights.fetch("ResNet50") == folder / FILE


@pytest.mark.usefixtures("no_sockets")
def test_the_file_without_the_top_is_another(own: Path) -> None:
    (own / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50", include_top=False) is None


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("wrong", [BAD, GOOD[: len(GOOD) // 2], b""])
def test_a_file_with_another_hash_is_passed_over(own: Path, cache: Path, wrong: bytes) -> None:
    (own / FILE).write_bytes(wrong)
    assert weights.find("ResNet50") is None
    (cache / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50") == cache / FILE


@pytest.mark.usefixtures("no_sockets")
def test_a_file_under_another_models_name_is_found_out(own: Path) -> None:
    other = catalogue.find("ResNet50V2").weights
    assert other
    (own / other.name).write_bytes(GOOD)
    assert weights.find("ResNet50V2") is None
    [proof] = weights.verify()
    assert f"expected MD5 {other.hash}, got {md5(GOOD)}" in proof.problem


def test_proving_says_both_hashes(tmp_path: Path) -> None:
    file = WeightFile("x.h5", "https://keras.invalid/x.h5", md5(GOOD), 1)
    (tmp_path / "x.h5").write_bytes(GOOD)
    weights.prove(tmp_path / "x.h5", file)
    (tmp_path / "x.h5").write_bytes(GOOD[:-1])
    with pytest.raises(DownloadError, match=f"expected MD5 {md5(GOOD)}, got {md5(GOOD[:-1])}"):
        weights.prove(tmp_path / "x.h5", file)


def test_a_sha256_proves_the_music_tagger(own: Path) -> None:
    name = catalogue.MUSIC_TAGGER.name
    if not (SHARED / "weights" / name).is_file():
        pytest.skip("the published file is not on this machine")
    content = (SHARED / "weights" / name).read_bytes()
    (own / name).write_bytes(content)
    assert weights.find("MusicTaggerCRNN") == own / name
    assert weights.find("musictaggercrnn", include_top=False) == own / name
    assert len(content) / 2**20 == pytest.approx(catalogue.MUSIC_TAGGER.size_mb, rel=0.05)
    (own / name).write_bytes(content[:-1] + b"x")
    assert weights.find("MusicTaggerCRNN") is None


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two weight files of the same shapes, as ResNet50's and ResNet50V2's: by name, the bytes."""
    contents = {}
    for seed, name in enumerate(("ResNet50", "ResNet50V2")):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"conv1"]
            group = file.create_group("conv1")
            group.attrs["weight_names"] = [b"conv1/kernel:0"]
            group["conv1/kernel:0"] = np.random.default_rng(seed).random((50, 50), "float32")
        contents[path.name] = path.read_bytes()
    entries = [
        dataclasses.replace(
            entry,
            weights=WeightFile(
                f"{entry.name}.h5", "https://keras.invalid/x", md5(contents[f"{entry.name}.h5"]), 1
            ),
        )
        if f"{entry.name}.h5" in contents
        else entry
        for entry in catalogue.entries()
    ]
    monkeypatch.setattr(catalogue, "entries", lambda: tuple(entries))
    return contents


def test_one_bit_that_hdf5_reads_over_is_found_before_loading(
    own: Path, real: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = real["ResNet50.h5"]
    bad = bytearray(good)
    bad[-5000] ^= 16
    path = own / "ResNet50.h5"
    path.write_bytes(good)
    assert weights.find("ResNet50") == path
    whole = h5files.read(path)["conv1"]["conv1/kernel:0"]
    path.write_bytes(bad)
    damaged = h5files.read(path)["conv1"]["conv1/kernel:0"]
    assert np.count_nonzero(damaged != whole) == 1, "HDF5 itself says nothing"
    monkeypatch.setattr(h5py, "File", None)  # nothing of it is read as HDF5
    assert weights.find("ResNet50") is None
    with pytest.raises(WeightsError, match=f"expected MD5 {md5(good)}, got {md5(bytes(bad))}"):
        weights.fetch("ResNet50")


def test_half_a_file_that_still_looks_like_hdf5_is_fetched_again_once(
    cache: Path, real: dict[str, bytes], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = real["ResNet50.h5"]
    (cache / "ResNet50.h5").write_bytes(good[: len(good) // 2])
    assert h5py.is_hdf5(cache / "ResNet50.h5")
    mirror = serve({"ResNet50.h5": good})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    for _ in range(2):
        assert weights.fetch("ResNet50").read_bytes() == good
    assert mirror.requests == ["ResNet50.h5"]


def test_two_files_of_the_same_shapes_that_were_swapped_are_found_out(
    own: Path, real: dict[str, bytes]
) -> None:
    one, other = real
    (own / one).write_bytes(real[other])
    (own / other).write_bytes(real[one])
    shapes = [[w.shape for w in h5files.tree(own / n).layers[0].weights] for n in real]
    assert shapes[0] == shapes[1]
    assert weights.find("ResNet50") is weights.find("ResNet50V2") is None
    assert [proof.problem.count(" got ") for proof in weights.verify()] == [1, 1]


# --- where no hash is published ------------------------------------------------------------------


def test_the_numbers_in_a_file_prove_it(own: Path) -> None:
    hdf5(own / UNHASHED, 4_253_864)
    hdf5(own / UNHASHED_NOTOP, 3_228_864)
    assert weights.find("MobileNet") == own / UNHASHED
    assert weights.find("MobileNet", include_top=False) == own / UNHASHED_NOTOP


@pytest.mark.parametrize("parameters", [3_228_864, 3_538_984, 4_253_863])
def test_another_models_file_is_found_out(own: Path, parameters: int) -> None:
    hdf5(own / UNHASHED, parameters)
    assert weights.find("MobileNet") is None
    [proof] = weights.verify()
    assert f"expected 4,253,864 parameters, found {parameters:,}" in proof.problem


def test_a_truncated_file_is_found_out(own: Path) -> None:
    whole = hdf5(own / UNHASHED, 4_253_864)
    (own / UNHASHED).write_bytes(whole[: len(whole) // 2])
    assert h5py.is_hdf5(own / UNHASHED)
    assert weights.find("MobileNet") is None
    (own / UNHASHED).write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="truncated"):
        weights.prove(own / UNHASHED, WeightFile(UNHASHED, "", None, 4_253_864))


def test_a_real_file_of_a_narrower_mobilenet_is_found_out(own: Path) -> None:
    real = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    if not real.is_file():
        pytest.skip("the published file is not on this machine")
    (own / UNHASHED_NOTOP).write_bytes(real.read_bytes())
    assert weights.find("MobileNet", include_top=False) is None
    weights.prove(real, WeightFile(real.name, "", None, 218_544))


@pytest.mark.parametrize("content", [b"<!doctype html><html>Log in first</html>", b"", b"text"])
def test_what_is_no_weight_file_is_not_kept(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, tmp_path: Path
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", serve({UNHASHED: content}).url)
    with pytest.raises(WeightsError, match=r"gave another file|sent a web page"):
        weights.fetch("MobileNet")
    assert [path.name for path in cache.iterdir()] == [".locks"]
    good = hdf5(tmp_path / "good.h5", 4_253_864)
    monkeypatch.setenv("HELPERS_MIRROR", serve({UNHASHED: good}).url)
    assert weights.fetch("MobileNet").read_bytes() == good


# --- fetching ------------------------------------------------------------------------------------


def test_a_download_goes_to_keras_cache_and_is_not_repeated(
    serve: Serve, keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve({FILE: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url + "/")
    for _ in range(2):
        path = weights.fetch("ResNet50")
        assert path == keras_home / "models" / FILE
        assert path.read_bytes() == GOOD
    assert mirror.requests == [FILE]


def test_a_folder_is_a_mirror(
    tmp_path: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "USB stick"
    stick.mkdir()
    (stick / FILE).write_bytes(GOOD)
    monkeypatch.setenv("HELPERS_MIRROR", f"{tmp_path / 'none'};{stick}")
    assert weights.fetch("ResNet50") == keras_home / "models" / FILE


def test_a_wrong_file_in_the_cache_is_replaced(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / FILE).write_bytes(GOOD[: len(GOOD) // 2])
    mirror = serve({FILE: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    assert weights.fetch("ResNet50").read_bytes() == GOOD
    assert mirror.requests == [FILE]


def test_one_error_says_all(own: Path, keras_home: Path) -> None:
    (own / FILE).write_bytes(BAD)
    with pytest.raises(WeightsError) as caught:
        weights.fetch("ResNet50")
    assert str(caught.value) == (
        f"{own / FILE}: expected MD5 {md5(GOOD)}, got {md5(BAD)}. "
        f"{FILE} could not be had: keras.invalid cannot be reached. "
        f"Put https://keras.invalid/{FILE} (MD5 {md5(GOOD)}) into {keras_home / 'models'} by hand. "
        "Or set HELPERS_WEIGHTS_DIR to a folder that has it, HELPERS_MIRROR to a server or folder "
        "to take it from, or KERAS_HOME to a folder that can be written."
    )


def test_a_cache_that_cannot_be_written_names_the_variables(
    serve: Serve, mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve({FILE: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    monkeypatch.setenv("KERAS_HOME", str(mounted("size=1m,ro")))
    with pytest.raises(WeightsError) as caught:
        weights.fetch("ResNet50")
    assert "cannot be kept" in str(caught.value)
    assert "Read-only file system" in str(caught.value)
    assert re.search("HELPERS_WEIGHTS_DIR.*KERAS_HOME", str(caught.value))
    assert mirror.requests == []  # so it is nowhere else either


FETCH = """
import sys
from helpers import weights
from helpers.errors import WeightsError
try:
    weights.fetch("MobileNet")
except WeightsError as error:
    print(error)
"""


def test_a_cache_without_permission_names_the_variables_and_nothing_falls_back(
    serve: Serve, tmp_path: Path
) -> None:
    good = hdf5(tmp_path / "good.h5", 4_253_864)
    mirror = serve({UNHASHED: good})
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
    assert f"cannot be kept in {home}/models: Permission denied" in done.stdout, done.stderr
    assert re.search("HELPERS_WEIGHTS_DIR.*KERAS_HOME", done.stdout)
    assert mirror.requests == []
    assert not [*home.iterdir(), *other.iterdir()]


def test_the_bundled_network_has_no_file_to_fetch() -> None:
    with pytest.raises(ArgumentError, match="comes by pip"):
        weights.fetch(catalogue.BUNDLED)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="Did you mean MusicTaggerCRNN"):
        weights.find("MusicTagger")
    with pytest.raises(ArgumentError, match="Did you mean ResNet50"):
        weights.find("ResNet51")


# --- listing, verifying --------------------------------------------------------------------------


def test_the_listing_has_every_file_and_what_is_here(own: Path, cache: Path) -> None:
    listing = weights.listing()
    files = [(entry.weights, entry.weights_notop) for entry in catalogue.entries()]
    published = [file for pair in files for file in pair if file] + [catalogue.MUSIC_TAGGER]
    assert [found.file for found in listing] == published
    assert not any(found.copies or found.arrived for found in listing)

    (own / FILE).write_bytes(BAD)
    (cache / FILE).write_bytes(GOOD)
    (cache / f"{FILE}.part").write_bytes(bytes(1000))
    here = {(f.model, f.use): f for f in weights.listing() if f.copies}
    assert list(here) == [("ResNet50", "predictions")]
    found = here["ResNet50", "predictions"]
    assert (found.copies, found.arrived) == ((own / FILE, cache / FILE), 1000)
    assert found.file.size_mb == pytest.approx(97.8, abs=0.05)


def test_every_copy_is_verified(own: Path, cache: Path) -> None:
    assert weights.verify() == []
    (own / FILE).write_bytes(BAD)
    (cache / FILE).write_bytes(GOOD)
    hdf5(cache / UNHASHED, 4_253_864)
    bad, good, unhashed = weights.verify()
    assert (bad.path, bad.proof, good.path, good.problem) == (own / FILE, "md5", cache / FILE, "")
    assert f"expected MD5 {md5(GOOD)}, got {md5(BAD)}" in bad.problem
    assert (unhashed.model, unhashed.proof, unhashed.problem) == ("MobileNet", "contents", "")
