import dataclasses
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Server

from helpers import catalogue, weights
from helpers.catalogue import WeightFile
from helpers.errors import ArgumentError, WeightsNotFound, WeightsRefused

HDF5 = b"\x89HDF\r\n\x1a\n"
GOOD, BAD = HDF5 + b"right" * 1000, HDF5 + b"wrong" * 1000
FILE = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
UNHASHED = "mobilenet_1_0_224_tf.h5"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def catalogue_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet50's weight file has GOOD's hash here, and stands on a server that is not there."""
    file = WeightFile(FILE, f"https://keras.invalid/{FILE}", md5(GOOD))
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


# --- the policy ----------------------------------------------------------------------------------


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


# --- on this machine -----------------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_keras_home_has_the_cache(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache() == keras_home / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert weights.cache() == Path.home() / ".keras" / "models"


@pytest.mark.usefixtures("no_sockets")
def test_nothing_is_found_in_empty_folders(own: Path) -> None:
    assert weights.find("ResNet50") is None
    assert weights.find(catalogue.BUNDLED) is None


@pytest.mark.usefixtures("no_sockets")
def test_the_own_folder_goes_before_the_cache(own: Path, cache: Path) -> None:
    (cache / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50") == cache / FILE
    (own / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50") == own / FILE
    assert weights.obtain("ResNet50") == own / FILE


@pytest.mark.usefixtures("no_sockets")
def test_the_file_without_the_top_is_another(own: Path) -> None:
    (own / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50", include_top=False) is None


@pytest.mark.usefixtures("no_sockets")
def test_a_file_with_another_hash_is_passed_over(own: Path, cache: Path) -> None:
    (own / FILE).write_bytes(BAD)
    assert weights.find("ResNet50") is None
    (cache / FILE).write_bytes(GOOD)
    assert weights.find("ResNet50") == cache / FILE


def test_check_says_both_hashes(tmp_path: Path) -> None:
    file = WeightFile("x.h5", "https://keras.invalid/x.h5", md5(GOOD))
    (tmp_path / "x.h5").write_bytes(GOOD)
    weights.check(tmp_path / "x.h5", file)
    (tmp_path / "x.h5").write_bytes(GOOD[:-1])
    with pytest.raises(WeightsRefused, match=f"expected MD5 {md5(GOOD)}, got {md5(GOOD[:-1])}"):
        weights.check(tmp_path / "x.h5", file)


# --- from a server -------------------------------------------------------------------------------

Serve = Callable[[dict[str, bytes]], Server]


def test_a_download_is_kept_and_not_repeated(
    serve: Serve, keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve({FILE: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url + "/")
    path = weights.obtain("ResNet50")
    assert path == keras_home / "models" / FILE
    assert path.read_bytes() == GOOD
    assert [file.name for file in path.parent.iterdir()] == [FILE]
    assert weights.obtain("ResNet50") == path
    assert mirror.requests == [FILE]


def test_a_wrong_file_in_the_cache_is_replaced(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / FILE).write_bytes(BAD)
    monkeypatch.setenv("HELPERS_MIRROR", serve({FILE: GOOD}).url)
    assert weights.obtain("ResNet50").read_bytes() == GOOD


def test_wrong_bytes_are_not_kept(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve({FILE: BAD})
    monkeypatch.setenv("HELPERS_MIRROR", mirror.url)
    with pytest.raises(WeightsNotFound) as caught:
        weights.obtain("ResNet50")
    assert mirror.requests == [FILE]
    assert md5(GOOD) in str(caught.value)
    assert md5(BAD) in str(caught.value)
    assert not list(cache.iterdir())


def test_after_a_bad_mirror_comes_the_next(
    serve: Serve, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, bad, good = serve({}), serve({FILE: BAD}), serve({FILE: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", f"{closed_port} {empty.url} {bad.url} {good.url}")
    assert weights.obtain("ResNet50").read_bytes() == GOOD
    assert empty.requests == bad.requests == good.requests == [FILE]


@pytest.mark.parametrize("content", [b"<!doctype html><html>Log in first</html>", b""])
def test_a_web_page_is_not_kept_even_where_no_hash_is_known(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    good = serve({UNHASHED: GOOD})
    monkeypatch.setenv("HELPERS_MIRROR", serve({UNHASHED: content}).url)
    with pytest.raises(WeightsNotFound, match="expected an HDF5 file"):
        weights.obtain("MobileNet")
    assert not list(cache.iterdir())
    monkeypatch.setenv("HELPERS_MIRROR", good.url)
    assert weights.obtain("MobileNet").read_bytes() == GOOD


def test_the_error_lists_each_attempt_and_what_to_do(
    own: Path, keras_home: Path, serve: Serve, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / FILE).write_bytes(BAD)
    empty = serve({})
    monkeypatch.setenv("HELPERS_MIRROR", f"{closed_port} {empty.url}")
    with pytest.raises(WeightsNotFound) as caught:
        weights.obtain("ResNet50")
    text = str(caught.value)
    for part in (
        f"{FILE}: expected MD5 {md5(GOOD)}, got {md5(BAD)}",
        f"not in {keras_home / 'models'}",
        f"{closed_port.removeprefix('http://')} cannot be reached",
        f"{empty.url.removeprefix('http://')}: 404",
        "keras.invalid cannot be reached",
        f"Put https://keras.invalid/{FILE} (MD5 {md5(GOOD)}) into {own}",
        "HELPERS_WEIGHTS_DIR",
    ):
        assert part in text


def test_the_bundled_network_has_no_file_to_fetch() -> None:
    with pytest.raises(ArgumentError, match="comes by pip"):
        weights.obtain(catalogue.BUNDLED)


def test_a_network_that_swallows_everything_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def hang(*_: Any) -> None:  # as looking a name up can, which has no time limit
        over.wait(60)
        raise OSError("given up")

    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    try:
        with pytest.raises(WeightsNotFound, match=r"keras\.invalid cannot be reached"):
            weights.obtain("ResNet50")
        assert time.monotonic() - started < 20
    finally:
        over.set()


def test_a_proxy_is_asked_instead_of_the_server(
    serve: Serve, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", serve({}).url)
    monkeypatch.setenv("no_proxy", "")
    assert weights._reachable("http://keras.invalid/x.h5")
    monkeypatch.setenv("http_proxy", closed_port)
    assert not weights._reachable("http://keras.invalid/x.h5")


def test_paths_in_messages_do_not_show_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_HOME")
    assert weights._short(weights.cache()) == "~/.keras/models"
