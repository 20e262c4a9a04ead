import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_keras_is_imported_without_a_word() -> None:
    done = run("import helpers.backend, sys; print('out'); print('err', file=sys.stderr)")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 0)


def test_what_was_held_back_is_shown_when_the_import_fails() -> None:
    done = run(
        "import os, sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'keras':\n"
        "            os.write(2, b'no such processor')\n"
        "            raise ImportError('broken build')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import helpers.backend\n"
    )
    assert done.returncode == 1
    assert "no such processor" in done.stderr
    assert "broken build" in done.stderr


def test_ctrl_c_while_keras_is_imported_shows_nothing_of_it() -> None:
    done = run(
        "import os\n"
        "try:\n"
        "    from helpers.backend import error_stream_held_back\n"
        "    with error_stream_held_back():\n"
        "        os.write(2, b'no GPU here')\n"
        "        raise KeyboardInterrupt\n"
        "except KeyboardInterrupt:\n"
        "    os.write(2, b'stopped')\n"
    )
    assert done.stderr == "stopped"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_onednn_is_asked_for_unless_somebody_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if before:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", before)
    done = run(
        "import helpers.backend\n"
        "from tensorflow.python.framework.test_util import IsMklEnabled\n"
        "print(int(IsMklEnabled()))\n"
    )
    assert done.stdout == f"{after}\n"
