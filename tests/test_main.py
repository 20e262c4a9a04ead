import functools
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, SHARED, Answer, Server, hear_ctrl_c

from helpers import datasets, doctor, heads, zoo
from helpers.__main__ import main
from helpers.zoo import Network

TAGGER = zoo.MUSIC_TAGGER.name
NOTOP = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
Capture = pytest.CaptureFixture[str]


def as_json(arguments: list[str], capsys: Capture, code: int = 0) -> Any:
    """Run a command; what it prints must be one JSON value and nothing else."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def as_text(arguments: list[str], capsys: Capture, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


def error_of(arguments: list[str], capsys: Capture) -> str:
    """Run a command that fails: exit code 1, one line of error, no result."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("helpers: ")
    return line


@pytest.fixture
def cup() -> str:
    return str(datasets.photograph("coffee"))


# --- h5, models, doctor --------------------------------------------------------------------------


def test_h5(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "w.h5")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv", "pool"]
        file.create_group("pool").attrs["weight_names"] = []
        file["conv/kernel:0"] = [[1.0, 2.0]]
        file["conv"].attrs["weight_names"] = ["kernel:0"]
    kernel = {"name": "kernel:0", "shape": [1, 2], "dtype": "float64"}
    assert as_json(["h5", path], capsys) == {
        "layout": "layer_names",
        "layers": [{"name": "conv", "weights": [kernel]}, {"name": "pool", "weights": []}],
        "parameters": 2,
    }
    assert "2 parameters" in as_text(["h5", path], capsys).splitlines()[0]


def test_models(capsys: Capture) -> None:
    found = as_json(["models"], capsys)
    assert [model["name"] for model in found] == zoo.names()
    for model in found:
        assert list(model) == [
            "name", "family", "year", "parameters", "size_mb", "top1", "top5", "depth",
            "input_size", "min_size", "preprocessing", "paper", "source",
        ]  # fmt: skip
    assert next(m for m in found if m["name"] == "ResNet50")["parameters"] == 25_636_712
    lines = as_text(["models"], capsys).splitlines()
    assert [line.split()[0] for line in lines[1:]] == zoo.names()


@pytest.mark.parametrize(("fix", "code"), [("", 0), ("Close programs", 1)])
def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: Capture, fix: str, code: int) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("memory", "1 GB", fix)])
    found = {"what": "memory", "found": "1 GB", "fix": fix, "ok": not fix}
    assert as_json(["doctor"], capsys, code) == [found]
    text = as_text(["doctor"], capsys, code)
    assert text.startswith("FIX" if fix else "ok ")
    assert fix in text


# --- predict -------------------------------------------------------------------------------------


def test_predict_goes_on_after_a_bad_picture(
    cup: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(zoo, "load", lambda *_: network)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    arguments = ["predict", str(bad), cup, "--json", "--top", "3", "--engine", "tensorflow"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert list(first) == ["file", "error"]
    assert first["file"] == str(bad)
    assert err.splitlines() == [f"helpers: {first['error']}"]
    assert list(second) == ["file", "model", "weights", "predictions"]
    assert (second["file"], second["model"]) == (cup, "EfficientNetLite0")
    assert second["weights"] == zoo.BUNDLED_SOURCE
    assert len(second["predictions"]) == 3
    best = second["predictions"][0]
    assert list(best) == ["wnid", "label", "probability"]
    assert (best["wnid"], best["label"]) == ("n07920052", "espresso")
    assert best["probability"] == pytest.approx(0.94, abs=0.02)


def test_predict_prepares_a_network_once_and_then_needs_no_tensorflow(
    cup: str, capsys: Capture
) -> None:
    [answer] = as_json(["predict", cup, "--engine", "tensorflow"], capsys)
    expected = [(each["label"], each["probability"]) for each in answer["predictions"]]
    first = as_text(["predict", cup], capsys)
    assert first.startswith(f"{cup} (EfficientNetLite0): espresso 0.9")

    done = run("-X", "importtime", "-m", "helpers", "predict", cup, "--json")
    [again] = json.loads(done.stdout)
    found = [(each["label"], each["probability"]) for each in again["predictions"]]
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert [p for _, p in found] == pytest.approx([p for _, p in expected], abs=1e-4)
    assert "preparing" not in done.stderr
    assert "onnxruntime" in imported_by(done)
    assert not imported_by(done) & {"tensorflow", "keras"}


@pytest.mark.parametrize(
    ("command", "fetch"),
    [
        ("predict {cup} --model ResNet50", "weights fetch ResNet50"),
        ("extract {folder} {out} --model ResNet50", "weights fetch --notop ResNet50"),
    ],
)
def test_weights_that_are_not_here_are_an_error_that_says_how_to_get_them(
    command: str,
    fetch: str,
    cup: str,
    folder: Path,
    closed_port: str,
    keras_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", closed_port)
    places = {"cup": cup, "folder": str(folder), "out": str(keras_home / "f.h5")}
    line = error_of([word.format(**places) for word in command.split()], capsys)
    for fact in (f"python -m helpers {fetch}", "HELPERS_MIRROR", "KERAS_HOME", closed_port):
        assert fact in line


# --- extract, train ------------------------------------------------------------------------------


def test_extract_and_train(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (folder / "ant" / "notes.txt").write_text("x")
    out = str(tmp_path / "f.h5")
    assert main(["extract", str(folder), out, "--batch-size", "5", "--json"]) == 0
    printed, err = capsys.readouterr()
    found = json.loads(printed)
    assert list(found) == [
        "images", "skipped", "resumed_from", "seconds", "images_per_second", "engine"
    ]  # fmt: skip
    assert (found["images"], found["resumed_from"], found["engine"]) == (12, 0, "onnx")
    assert [list(item) for item in found["skipped"]] == [["file", "reason"]]
    assert found["skipped"][0]["file"] == "ant/notes.txt"
    assert "helpers: skipped ant/notes.txt: " in err
    with h5py.File(out) as file:
        features = file["features"][:]
    assert features.shape == (12, 1280)

    # What was used before starts without TensorFlow, and finds its own file.
    done = run("-X", "importtime", "-m", "helpers", "extract", str(folder), str(tmp_path / "e.h5"))
    assert not imported_by(done) & {"tensorflow", "keras"}
    with h5py.File(tmp_path / "e.h5") as file:
        np.testing.assert_array_equal(file["features"][:], features)
    assert as_json(["extract", str(folder), str(tmp_path / "e.h5")], capsys)["resumed_from"] == 12

    again = as_json(["extract", str(folder), out], capsys)
    assert (again["engine"], again["skipped"]) == ("none", found["skipped"])

    monkeypatch.setattr(heads, "train", functools.cache(heads.train))  # for JSON and text once
    (folder / "ant" / "notes.txt").unlink()
    test = str(tmp_path / "test.h5")
    as_json(["extract", str(folder), test], capsys)
    found = as_json(["train", out, test], capsys)
    assert list(found) == ["accuracy", "loss", "classes", "epochs", "seconds"]
    assert found["classes"] == ["ant", "bee", "cow"]
    assert 0 <= found["accuracy"] <= 1
    assert as_text(["train", out, test], capsys).startswith("test accuracy ")
    assert "the same pictures" in error_of(["train", out, out], capsys)

    (folder / "ant" / "notes.txt").write_text("x")
    out = str(tmp_path / "g.h5")
    text = as_text(["extract", str(folder), out, "--engine", "tensorflow"], capsys)
    assert text.startswith(f"{out}: 12 pictures through EfficientNetLite0, 1 skipped")
    assert text.endswith(" pictures/s, tensorflow)\n")


# --- tag -----------------------------------------------------------------------------------------


@pytest.fixture
def tagger() -> bytes:
    """The music tagger's weight file as it is published."""
    if not (SHARED / "weights" / TAGGER).is_file():
        pytest.skip("the published file is not on this machine")
    return (SHARED / "weights" / TAGGER).read_bytes()


@pytest.mark.usefixtures("tagger")
def test_tag_with_the_published_weights(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", str(SHARED / "weights"))
    tags = as_json(["tag", str(SHARED / "audio" / "bensound-cute.npy")], capsys)["tags"]
    shown = ", ".join(f"{tag} {probability:.3f}" for tag, probability in tags)
    assert shown == "jazz 0.444, instrumental 0.151, folk 0.103, Hip-Hop 0.103, ambient 0.077"


def test_tag_of_a_sound_with_weights_of_ones_own(tmp_path: Path, capsys: Capture) -> None:
    from helpers.applications.music_tagger_crnn import MusicTaggerCRNN

    sound, weights = str(tmp_path / "SOUND.WAV"), str(tmp_path / "random.weights.h5")
    MusicTaggerCRNN(weights=None).save_weights(weights)
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 12_000, 0, "NONE", ""))
        file.writeframes((9999 * np.sin(np.arange(24_000))).astype("<i2").tobytes())
    text = as_text(["tag", sound, "--weights", weights, "--top", "3"], capsys)
    assert text.startswith(f"{sound}: ")
    assert text.count(" 0.") == 3


@pytest.mark.parametrize(
    ("more", "fact"), [([], TAGGER), ([], "HELPERS_MIRROR"), (["--weights", "no.h5"], "no.h5")]
)
def test_tag_without_weights(more: list[str], fact: str, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "clip.npy", np.zeros((96, 1366)))
    assert fact in error_of(["tag", str(tmp_path / "clip.npy"), *more], capsys)


# --- weights -------------------------------------------------------------------------------------


def test_weights_list(keras_home: Path, capsys: Capture) -> None:
    cache = keras_home / "models"
    cache.mkdir()
    (cache / TAGGER).write_bytes(bytes(3 * 2**20))
    (cache / f"{NOTOP}.part").write_bytes(bytes(2**20))
    found = as_json(["weights", "list"], capsys)
    assert list(found[0]) == [
        "model", "include_top", "use", "size_mb", "path", "arrived_mb", "file", "url", "hash"
    ]  # fmt: skip
    rows = {(row["model"], row["use"]): row for row in found}
    assert len(rows) == len(found) == 2 * len([e for e in zoo.entries() if e.weights]) + 1
    assert rows["MusicTaggerCRNN", "tags"]["path"] == str(cache / TAGGER)
    assert rows["MusicTaggerCRNN", "tags"]["size_mb"] == 3
    notop = rows["VGG16", "features"]
    assert (notop["path"], notop["size_mb"], notop["arrived_mb"]) == (None, 56.1, 1)
    assert notop["hash"] == "6d6bbae143d832006294945121d1f1fc"

    lines = as_text(["weights", "list"], capsys).splitlines()
    shown = {tuple(line.split()[:3]): line.split(maxsplit=3)[3] for line in lines[1:-2]}
    assert len(shown) == len(found)
    assert shown["VGG16", "predictions", "528"] == "-"
    assert shown["VGG16", "features", "56"].startswith("1.0 MB have come")
    assert shown["MusicTaggerCRNN", "tags", "3"] == str(cache / TAGGER)
    assert lines[-2].startswith(f"1 of {len(found)} files are here")


def test_weights_are_fetched_and_verified(
    tagger: bytes,
    tmp_path: Path,
    keras_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    (tmp_path / TAGGER).write_bytes(tagger)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    path = keras_home / "models" / TAGGER
    assert as_json(["weights", "verify"], capsys) == []
    answer = {"model": "MusicTaggerCRNN", "include_top": True, "path": str(path)}
    assert as_json(["weights", "fetch", "MusicTaggerCRNN"], capsys) == [answer]
    assert path.read_bytes() == tagger
    text = as_text(["weights", "fetch", "MusicTaggerCRNN"], capsys)
    assert text == f"MusicTaggerCRNN: {path}\n"
    text = as_text(["weights", "verify"], capsys)
    assert text.splitlines()[0] == f"ok   {path} (sha256)"

    path.write_bytes(tagger[:-1] + b"x")
    [found] = as_json(["weights", "verify"], capsys, code=1)
    assert list(found) == ["model", "include_top", "path", "verified_by", "ok", "problem"]
    assert (found["ok"], found["path"]) == (False, str(path))
    assert str(zoo.MUSIC_TAGGER.hash) in found["problem"]
    lines = as_text(["weights", "verify"], capsys, code=1).splitlines()
    assert lines[0] == f"FIX  {path} (sha256)"
    assert "fetch it again" in lines[1]
    assert lines[2].startswith("1 files are here, 0 of them right")


def test_weights_fetch_goes_on_after_one_that_cannot_be_had(
    tagger: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / TAGGER).write_bytes(tagger)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    assert main(["weights", "fetch", "VGG16", "MusicTaggerCRNN", "--notop", "--json"]) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert list(first) == ["model", "include_top", "error"]
    assert first["include_top"] is False
    assert NOTOP in first["error"]
    assert second["path"].endswith(TAGGER)
    assert err == f"helpers: {first['error']}\n"


def test_weights_where(keras_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("HELPERS_MIRROR", "https://me:secret@mirror.example;/no such folder")
    cache = str(keras_home / "models")
    assert as_json(["weights", "where"], capsys) == [
        {"place": cache, "use": "searched, and fetched to", "exists": False},
        {"place": "https://mirror.example", "use": "mirror", "exists": None},
        {"place": "/no such folder", "use": "mirror", "exists": False},
    ]
    lines = as_text(["weights", "where"], capsys).splitlines()
    assert cache in lines[0]
    assert ["no such folder)" in line for line in lines] == [True, False, True]


# --- errors, Ctrl-C ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["h5", "first\nsecond\x1b[31m.h5"], "first second\\x1b"),
        (["h5", "LICENSE"], "LICENSE"),
        (["tag", "no.npy"], "no.npy"),
        (["train", "no.h5", "no.h5"], "python -m helpers extract"),
        (["predict", "x.jpg", "--model", "VGG-16x"], "Did you mean VGG16?"),
        (["weights", "fetch", "VGG16", "VGG17"], "Did you mean VGG1"),  # before VGG16 is fetched
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], fact: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(ROOT)
    assert fact in error_of([*arguments, "--json"], capsys)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ("", "COMMAND"),
        ("modles", "invalid choice: 'modles'"),
        ("models --colour", "--colour"),
        ("predict", "IMAGE"),
        ("predict x.jpg --top 0", "--top: expected 1 or more, got 0"),
        ("extract folder", "OUT.h5"),
        ("extract folder f.h5 --batch-size -1", "--batch-size: expected 1 or more, got -1"),
        ("extract folder f.h5 --engine torch", "'torch'"),
        ("extract folder f.h5 --workers 2 --scheduler tcp://127.0.0.1:1", "not allowed with"),
        ("weights", "ACTION"),
        ("weights find VGG16", "'find'"),
    ],
)
def test_wrong_usage_is_2_and_ends_with_what_was_wrong(
    arguments: str, fact: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m helpers")
    assert fact in err.splitlines()[-1]


def test_ctrl_c_in_a_download_keeps_what_has_come(
    tagger: bytes,
    keras_home: Path,
    serve: Callable[[Mapping[str, bytes | Answer]], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half_and_wait(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(tagger)))
        handler.end_headers()
        handler.wfile.write(tagger[:1_000_000])
        handler.server.over.wait(60)

    slow = serve({TAGGER: half_and_wait})
    monkeypatch.setenv("HELPERS_MIRROR", slow.url)
    command = [sys.executable, "-m", "helpers", "weights", "fetch", "MusicTaggerCRNN"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=hear_ctrl_c
    )
    part = keras_home / "models" / f"{TAGGER}.part"
    for _ in range(5000):
        if part.is_file() and part.stat().st_size > 900_000:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("helpers: stopped")
    come = part.stat().st_size
    assert 900_000 < come <= 1_000_000

    whole = serve({TAGGER: tagger})
    monkeypatch.setenv("HELPERS_MIRROR", whole.url)
    assert run(*command[1:]).returncode == 0
    assert whole.ranges == [f"bytes={come}-"]


# --- what surrounds it ---------------------------------------------------------------------------


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Bash, in which `helpers` stands for `python -m helpers`."""
    command = f'helpers() {{ "{sys.executable}" -m helpers "$@"; }}; {command}'
    environment = os.environ | environment
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=environment,
        errors="replace",
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_cannot_print_a_name(encoding: str) -> None:
    done = shell("helpers predict '→😀.jpg' --json", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout)[0]["file"] == "→😀.jpg"
    assert len(done.stderr.splitlines()) == 1
    # A result, too: this one names the folder.
    done = shell("helpers weights where", PYTHONIOENCODING=encoding, KERAS_HOME="/→")
    assert done.returncode == 0
    assert ("/→" if encoding == "utf-8" else r"/\u2192") in done.stdout


@pytest.mark.parametrize(
    ("command", "out", "err"),
    [
        ("helpers weights list --json | head -1", "[\n", ""),
        ("helpers weights list | true", "", ""),
        ("helpers weights list > /dev/full", "", "helpers: [Errno 28] No space left on device\n"),
        ("helpers models >&-", "", ""),
        ("helpers h5 missing --json 2>&-", "", ""),
        ("helpers h5 missing 2>&1 | true", "", ""),
    ],
)
def test_a_pipe_or_a_stream_that_is_closed(command: str, out: str, err: str) -> None:
    done = shell(command)
    assert (done.stdout, done.stderr) == (out, err)


LONG = "x" * 5000


@pytest.mark.parametrize(
    "command",
    [
        *(f"h5 {LONG}", f"predict {LONG}", f"extract {LONG} f.h5", f"train {LONG} {LONG}"),
        *(f"tag {LONG}", f"tag {LONG}.npy", f"extract data/five_classes/test {LONG}"),
        *("predict ~nobody/x.jpg", "h5 /proc/self/mem"),
    ],
    ids=lambda command: command[:15],
)
def test_a_path_that_cannot_be_is_one_line(command: str, capsys: Capture) -> None:
    error_of(command.split(), capsys)


def test_a_home_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for home in (f"/{LONG}", "~nobody-at-all/keras"):
        monkeypatch.setenv("KERAS_HOME", home)
        error_of(["weights", "verify"], capsys)
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without one
    assert "KERAS_HOME" in error_of(["weights", "where"], capsys)


def test_patterns_and_the_home_folder_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As a console of Windows does not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("b.jpg", "a.jpg", "[1].jpg", "1.jpg"):
        (tmp_path / name).touch()
    arguments = ["~/[ab].jpg", "~/[1].jpg", "~/no*.jpg"]
    found = as_json(["predict", *arguments], capsys, code=1)
    names = ("a.jpg", "b.jpg", "[1].jpg", "no*.jpg")
    assert [each["file"] for each in found] == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize(
    ("command", "goes_on"), [("extract data/five_classes/test f.h5", True), ("models", False)]
)
def test_ctrl_c_promises_what_it_keeps(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "find", stop)
    monkeypatch.setattr(zoo, "entries", stop)
    assert ("goes on" in error_of(command.split(), capsys)) == goes_on


def test_what_was_skipped_is_told_when_a_run_fails(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    for path in folder.glob("*/*"):
        path.write_bytes(b"no picture")
    (folder / "bee" / "link.png").symlink_to("nowhere")
    assert main(["extract", str(folder), str(tmp_path / "f.h5")]) == 1
    said = capsys.readouterr().err
    assert "none of 12 files is a picture" in said
    assert said.count("helpers: skipped ") == 13


# --- as a program: what is imported --------------------------------------------------------------

TENSORFLOW = {"tensorflow", "keras", "onnxruntime"}
HEAVY = TENSORFLOW | {"numpy", "h5py", "PIL", "matplotlib", "IPython"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def imported_by(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a process imported, which ran with `-X importtime`."""
    return {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = run("-c", "import helpers, sys; print(*sys.modules)")
    assert not set(done.stdout.split()) & HEAVY
    assert [name for name in done.stdout.split() if name.startswith("helpers")] == ["helpers"]


@pytest.mark.parametrize(
    ("arguments", "code", "unwanted"),
    [
        ("models --json", 0, HEAVY),
        ("weights list --json", 0, HEAVY),
        ("predict x.jpg --model VGG-16x", 1, TENSORFLOW),
        ("h5 missing.h5", 1, TENSORFLOW),
        ("train missing.h5 missing.h5", 1, TENSORFLOW),
        ("extract missing f.h5", 1, TENSORFLOW),
        ("extract data/five_classes/test missing/f.h5", 1, TENSORFLOW),
        ("extract data/five_classes/test f.h5 --model VGG-16x", 1, TENSORFLOW),
    ],
)
def test_what_needs_no_tensorflow_does_not_wait_for_it(
    arguments: str, code: int, unwanted: set[str]
) -> None:
    done = run("-X", "importtime", "-m", "helpers", *arguments.split())
    assert done.returncode == code
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "helpers.zoo" in imported
    assert not imported & unwanted
