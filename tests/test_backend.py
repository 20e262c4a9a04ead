import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("asked", "used"), [(None, "1"), ("0", "0")])
def test_keras_is_imported_without_a_word_and_with_onednn(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, used: str
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if asked:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", asked)
    done = run(
        "import helpers.backend, sys\n"
        "from tensorflow.python.framework.test_util import IsMklEnabled\n"
        "print(int(IsMklEnabled()))\n"
        "print('err', file=sys.stderr)\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{used}\n", "err\n", 0)


@pytest.mark.parametrize(
    ("error", "shown"), [("ImportError('broken')", True), ("KeyboardInterrupt", False)]
)
def test_what_was_held_back_is_shown_when_the_import_fails(error: str, shown: bool) -> None:
    done = run(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'keras':\n"
        "            os.write(2, b'no such processor')\n"
        f"            raise {error}\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import helpers.backend\n"
    )
    assert done.returncode != 0
    assert ("no such processor" in done.stderr) == shown
    assert error.split("(")[0] in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the error stream")
def test_a_closed_error_stream_does_no_harm() -> None:
    command = f"'{sys.executable}' -c 'import helpers.backend; print(1)' 2>&-"
    assert subprocess.run(command, shell=True, capture_output=True, text=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backend", "theano"),
        ("image_data_format", "channels_first"),
        ("floatx", "bfloat16"),
        ("epsilon", "small"),
        ("nnx_enabled", True),
    ],
)
def test_settings_that_cannot_be_used_are_named(keras_home: Path, key: str, value: Any) -> None:
    (keras_home / "keras.json").write_text(json.dumps({key: value}))
    last = run("import helpers.backend").stderr.splitlines()[-1]
    for part in ("ArgumentError", key, str(keras_home / "keras.json"), str(value)):
        assert part in last


def test_settings_that_are_no_object_are_named(keras_home: Path) -> None:
    (keras_home / "keras.json").write_text("[1]")
    last = run("import helpers.backend").stderr.splitlines()[-1]
    assert "ArgumentError" in last and str(keras_home / "keras.json") in last


def test_the_variable_counts_more_than_the_file(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (keras_home / "keras.json").write_text('{"backend": "tensorflow"}')
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    last = run("import helpers.backend").stderr.splitlines()[-1]
    assert "KERAS_BACKEND: expected tensorflow, got jax" in last
    (keras_home / "keras.json").write_text('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert run("import helpers.backend").stderr == ""
