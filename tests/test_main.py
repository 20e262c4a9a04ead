import json
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, SHARED, Server, hear_ctrl_c
from PIL import Image

from helpers import __main__, doctor, zoo
from helpers.__main__ import main
from helpers.zoo import Network

HEAVY = ("tensorflow", "keras", "numpy", "h5py", "PIL", "matplotlib", "IPython")


@pytest.fixture
def use_network(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the building of the network."""
    monkeypatch.setattr(zoo, "pretrained", lambda name: network)


@pytest.fixture
def cup(tmp_path: Path) -> str:
    import skimage.data

    Image.fromarray(skimage.data.coffee()).save(tmp_path / "cup.png")
    return str(tmp_path / "cup.png")


def as_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# --- h5 ------------------------------------------------------------------------------------------


@pytest.fixture
def weight_file(tmp_path: Path) -> str:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["conv", "pool"]
        file.create_group("pool").attrs["weight_names"] = []
        file["conv/kernel:0"] = [[1.0, 2.0]]
        file["conv"].attrs["weight_names"] = ["kernel:0"]
    return str(tmp_path / "w.h5")


def test_h5_as_json(weight_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["h5", weight_file, "--json"]) == 0
    kernel = {"name": "kernel:0", "shape": [1, 2], "dtype": "float64"}
    assert as_json(capsys) == {
        "layout": "layer_names",
        "layers": [{"name": "conv", "weights": [kernel]}, {"name": "pool", "weights": []}],
        "parameters": 2,
    }


def test_h5_as_text(weight_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["h5", weight_file]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("by the layers' names, 2 parameters")


def test_h5_of_no_weight_file_is_one_line(cup: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["h5", cup]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert "cup.png: expected an HDF5 or .keras file, got a file that starts with" in said.err


# --- models, predict -----------------------------------------------------------------------------


def test_models_as_json_has_these_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    found = as_json(capsys)
    assert [model["name"] for model in found] == zoo.names()
    for model in found:
        assert list(model) == [
            "name", "family", "year", "parameters", "size_mb", "top1", "top5", "depth",
            "input_size", "min_size", "preprocessing", "paper", "source",
        ]  # fmt: skip
    assert next(m for m in found if m["name"] == "ResNet50")["parameters"] == 25_636_712


def test_models_as_text_has_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == zoo.names()


@pytest.mark.usefixtures("use_network")
def test_predict_goes_on_after_a_bad_picture(
    cup: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = str(tmp_path / "bad.jpg")
    Path(bad).write_bytes(b"")
    assert main(["predict", bad, cup, "--json", "--top", "3"]) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert list(first) == ["file", "error"]
    assert first["file"] == bad
    assert "an empty file" in first["error"]
    assert list(second) == ["file", "model", "weights", "predictions"]
    assert (second["file"], second["model"]) == (cup, "EfficientNetLite0")
    assert second["weights"] == zoo.BUNDLED_SOURCE
    assert len(second["predictions"]) == 3
    best = second["predictions"][0]
    assert list(best) == ["wnid", "label", "probability"]
    assert (best["wnid"], best["label"]) == ("n07920052", "espresso")
    assert best["probability"] == pytest.approx(0.94, abs=0.02)
    assert err.splitlines() == [f"helpers: {first['error']}"]


def test_predict_as_text_says_whose_answer_it_is(
    cup: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", cup]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{cup} (EfficientNetLite0): espresso 0.9")
    assert "Wanted: ResNet50. Used: EfficientNetLite0" in err


# --- extract, train ------------------------------------------------------------------------------


def test_extract_and_train_as_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
        assert file["features"].shape == (12, 1280)

    assert main(["train", out, out, "--seed", "1", "--json"]) == 0
    found = as_json(capsys)
    assert list(found) == ["accuracy", "loss", "classes", "epochs", "seconds"]
    assert found["classes"] == ["ant", "bee", "cow"]
    assert 0 <= found["accuracy"] <= 1


def test_extract_and_train_as_text(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "f.h5")
    assert main(["extract", str(folder), out, "--engine", "tensorflow"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{out}: 12 pictures through EfficientNetLite0, 0 skipped")
    assert text.endswith(" pictures/s, tensorflow)\n")
    assert main(["train", out, out]) == 0
    assert capsys.readouterr().out.startswith("test accuracy ")


# --- weights -------------------------------------------------------------------------------------

TAGGER = zoo.MUSIC_TAGGER.name


@pytest.fixture
def tagger() -> bytes:
    """The music tagger's weight file as it is published."""
    if not (SHARED / "weights" / TAGGER).is_file():
        pytest.skip("the published file is not on this machine")
    return (SHARED / "weights" / TAGGER).read_bytes()


def test_weights_list_as_json(keras_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = keras_home / "models"
    cache.mkdir()
    (cache / TAGGER).write_bytes(bytes(3 * 2**20))
    (cache / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5.part").write_bytes(bytes(2**20))
    assert main(["weights", "list", "--json"]) == 0
    found = as_json(capsys)
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


def test_weights_list_as_text(keras_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = keras_home / "models"
    cache.mkdir()
    (cache / TAGGER).write_bytes(b"x")
    (cache / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5.part").write_bytes(bytes(2**20))
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {tuple(line.split()[:3]): line.split(maxsplit=3)[3] for line in lines[1:-1]}
    assert shown["VGG16", "predictions", "528"] == "-"
    assert shown["VGG16", "features", "56"] == "1.0 MB have come; fetch goes on from there"
    assert shown["MusicTaggerCRNN", "tags", "0"] == str(cache / TAGGER)
    assert lines[-1].startswith(f"1 of {len(shown)} files are here")


def test_weights_are_fetched_and_verified(
    tagger: bytes,
    tmp_path: Path,
    keras_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / TAGGER).write_bytes(tagger)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    path = keras_home / "models" / TAGGER
    assert main(["weights", "verify", "--json"]) == 0
    assert as_json(capsys) == []
    assert main(["weights", "fetch", "MusicTaggerCRNN", "--json"]) == 0
    answer = {"model": "MusicTaggerCRNN", "include_top": True, "path": str(path)}
    assert as_json(capsys) == [answer]
    assert path.read_bytes() == tagger
    assert main(["weights", "fetch", "MusicTaggerCRNN"]) == 0
    assert capsys.readouterr().out == f"MusicTaggerCRNN: {path}\n"
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"ok   {path} (sha256)"

    path.write_bytes(tagger[:-1] + b"x")
    assert main(["weights", "verify", "--json"]) == 1
    [found] = as_json(capsys)
    assert list(found) == ["model", "include_top", "path", "proof", "ok", "problem"]
    assert (found["ok"], found["path"]) == (False, str(path))
    assert f"expected SHA256 {zoo.MUSIC_TAGGER.hash}, got " in found["problem"]
    assert main(["weights", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"FIX  {path} (sha256)"
    assert lines[1].endswith(". Remove it, and fetch it again.")
    assert lines[2] == "1 files are here, 0 of them right."


def test_weights_fetch_goes_on_after_one_that_cannot_be_had(
    tagger: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / TAGGER).write_bytes(tagger)
    monkeypatch.setenv("HELPERS_MIRROR", str(tmp_path))
    assert main(["weights", "fetch", "VGG16", "MusicTaggerCRNN", "--notop", "--json"]) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert list(first) == ["model", "include_top", "error"]
    assert first["include_top"] is False
    assert "Put https://storage.googleapis.com/" in first["error"]
    assert "kernels_notop.h5 (MD5 6d6bbae143d832006294945121d1f1fc) into" in first["error"]
    assert second["path"].endswith(TAGGER)
    assert err == f"helpers: {first['error']}\n"


def test_weights_fetch_says_a_misspelt_name_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("helpers.weights.fetch", lambda *_: pytest.fail("it was fetched"))
    assert main(["weights", "fetch", "VGG16", "VGG17"]) == 1
    assert "Did you mean VGG1" in capsys.readouterr().err


def test_weights_where(
    tmp_path: Path,
    keras_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("HELPERS_MIRROR", "https://mirror.example;/no such folder")
    cache = str(keras_home / "models")
    assert main(["weights", "where", "--json"]) == 0
    assert as_json(capsys) == [
        {"place": str(tmp_path), "use": "searched", "exists": True},
        {"place": cache, "use": "searched, and downloaded to", "exists": False},
        {"place": "https://mirror.example", "use": "mirror", "exists": None},
        {"place": "/no such folder", "use": "mirror", "exists": False},
    ]
    assert main(["weights", "where"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"searched, and downloaded to {cache}  (no such folder)"
    assert len(lines) == 4


def test_weights_list_imports_no_tensorflow() -> None:
    done = run("-X", "importtime", "-m", "helpers", "weights", "list", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "helpers.weights" in imported
    assert not imported & {"tensorflow", "keras", "numpy", "h5py"}


def test_ctrl_c_in_a_download_keeps_what_has_come(
    tagger: bytes,
    keras_home: Path,
    serve: Callable[[dict[str, Any]], Server],
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
    for _ in range(1000):
        if part.is_file() and part.stat().st_size > 900_000:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[1]
    assert (process.returncode, said) == (
        1, "helpers: stopped; the same command goes on from here\n"
    )  # fmt: skip
    come = part.stat().st_size
    assert 900_000 < come <= 1_000_000

    whole = serve({TAGGER: tagger})
    monkeypatch.setenv("HELPERS_MIRROR", whole.url)
    assert run(*command[1:]).returncode == 0
    assert whole.ranges == [f"bytes={come}-"]


# --- tag -----------------------------------------------------------------------------------------

AUTHORS = SHARED / "weights" / "music_tagger_crnn_weights_tensorflow.h5"


@pytest.fixture
def clip(tmp_path: Path) -> str:
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).normal(-20, 10, (96, 1366)))
    return str(tmp_path / "clip.npy")


@pytest.fixture(scope="module")
def tagger_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    from helpers.applications.music_tagger_crnn import MusicTaggerCRNN

    path = tmp_path_factory.mktemp("tagger") / "random.weights.h5"
    MusicTaggerCRNN(weights=None).save_weights(path)
    return str(path)


@pytest.mark.skipif(not AUTHORS.is_file(), reason="the music tagger's weights are not here")
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cute", "jazz 0.444, instrumental 0.151, folk 0.103, Hip-Hop 0.103, ambient 0.077"),
        ("actionable", "jazz 0.416, instrumental 0.181, Hip-Hop 0.085, folk 0.085, rock 0.081"),
    ],
)
def test_tag_as_json(
    name: str,
    published: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", "auto")
    monkeypatch.setenv("HELPERS_WEIGHTS_DIR", str(AUTHORS.parent))
    assert main(["tag", str(SHARED / "audio" / f"bensound-{name}.npy"), "--json"]) == 0
    found = as_json(capsys)
    assert list(found) == ["tags"]
    assert ", ".join(f"{tag} {probability:.3f}" for tag, probability in found["tags"]) == published


def test_tag_as_text_with_weights_of_ones_own(
    clip: str, tagger_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tag", clip, "--weights", tagger_weights, "--top", "3"]) == 0
    out = capsys.readouterr().out
    tag = r"[\w -]+ 0\.\d{3}"
    assert re.fullmatch(rf"{re.escape(clip)}: {tag}, {tag}, {tag}\n", out)


def test_tag_of_a_sound(
    tagger_weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = str(tmp_path / "SOUND.WAV")
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 12_000, 0, "NONE", ""))
        file.writeframes((9999 * np.sin(np.arange(24_000))).astype("<i2").tobytes())
    assert main(["tag", sound, "--weights", tagger_weights, "--json"]) == 0
    tags = as_json(capsys)["tags"]
    assert [[type(part) for part in pair] for pair in tags] == [[str, float]] * 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: np.save(path, np.zeros((96, 1365))), r"got \(96, 1365\)"),
        (lambda path: np.save(path, np.full((96, 1366), np.inf)), "NaN or inf"),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "it is none"),
        (lambda path: Path(path).unlink(), "no such file"),
    ],
    ids=["another shape", "not finite", "objects", "missing"],
)
def test_tag_of_no_clip_is_one_line(
    change: Any, reason: str, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(clip)
    assert main(["tag", clip, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.match(f"helpers: .*clip.npy: .*{reason}", err)


@pytest.mark.parametrize(
    ("policy", "more", "reason"),
    [
        ("bundled", [], "HELPERS_WEIGHTS=bundled"),
        ("auto", [], "music_tagger_crnn_weights_tensorflow.h5"),
        ("auto", ["--weights", "missing.h5"], "missing.h5: no such file"),
    ],
)
def test_tag_without_weights_is_one_line(
    policy: str,
    more: list[str],
    reason: str,
    clip: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HELPERS_WEIGHTS", policy)
    assert main(["tag", clip, "--json", *more]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert reason in err


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "a.png", "--model", "ResNet51"],
        ["extract", "a", "b.h5", "--model", "resnet-5"],
    ],
)
def test_a_misspelt_model_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("helpers: No model ")
    assert "Did you mean ResNet50?" in err


def test_an_error_is_one_line_whatever_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from helpers.errors import HelpersError

    def fail(_: Any) -> int:
        raise HelpersError("first\nsecond")

    monkeypatch.setattr(__main__, "_models", fail)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == "helpers: first second\n"


def test_missing_folders_and_files_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    assert main(["extract", missing, str(tmp_path / "f.h5")]) == 1
    assert "it is not there" in capsys.readouterr().err
    assert main(["train", missing, missing]) == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["modles"],
        ["predict"],
        ["predict", "x.jpg", "--top", "0"],
        ["predict", "x.jpg", "--top", "many"],
        ["extract", "folder"],
        ["extract", "folder", "f.h5", "--batch-size", "-1"],
        ["extract", "folder", "f.h5", "--engine", "torch"],
        ["train", "f.h5"],
        ["tag"],
        ["tag", "clip.npy", "--top", "0"],
        ["weights"],
        ["weights", "fetch"],
        ["weights", "find", "VGG16"],
        ["models", "--colour"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: python -m helpers" in err


def test_ctrl_c_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_models", stop)
    assert main(["models"]) == 1
    assert "stopped" in capsys.readouterr().err


# --- doctor --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fix", "code"), [("", 0), ("Close programs", 1)])
def test_doctors_exit_code_says_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fix: str, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("memory", "1 GB", fix)])
    assert main(["doctor", "--json"]) == code
    assert as_json(capsys) == [{"what": "memory", "found": "1 GB", "fix": fix, "ok": not fix}]
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert out.startswith("ok " if not fix else "FIX")
    assert fix in out


# --- as a program --------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = run("-c", "import helpers, sys; print(*sys.modules)")
    assert not set(done.stdout.split()) & set(HEAVY)
    assert [name for name in done.stdout.split() if name.startswith("helpers")] == ["helpers"]


def test_models_imports_no_tensorflow() -> None:
    done = run("-X", "importtime", "-m", "helpers", "models", "--json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == len(zoo.entries())
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "helpers.catalogue" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        ["weights", "list", "--json"],
        ["h5", "f.h5"],
        ["extract", "missing", "f.h5"],
        ["extract", "data/five_classes/test", "missing/f.h5"],
        ["extract", "data/five_classes/test", "f.h5", "--model", "VGG-16x"],
    ],
    ids=" ".join,
)
def test_what_needs_no_tensorflow_does_not_wait_for_it(arguments: list[str]) -> None:
    done = run("-X", "importtime", "-m", "helpers", *arguments)
    assert done.returncode == (0 if arguments[0] == "weights" else 1)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "helpers.catalogue" in imported
    assert not imported & {"tensorflow", "keras", "onnxruntime"}


def test_a_misspelt_model_is_no_traceback() -> None:
    done = run("-m", "helpers", "predict", "x.jpg", "--model", "VGG-16x")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines == ["helpers: No model 'VGG-16x' in the zoo. Did you mean VGG16?"]
