"""`make lab`: the server is for this machine and for who has its token."""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from conftest import ROOT


class Lab(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    token: str


def command() -> list[str]:
    """What `make lab` runs, by this Python's own JupyterLab and without a browser."""
    if not shutil.which("make"):
        pytest.skip("there is no make on this machine")
    printed = subprocess.run(
        ["make", "--dry-run", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    line = next(line for line in printed.replace("\\\n", " ").splitlines() if "jupyter lab" in line)
    jupyter, *arguments = shlex.split(line)
    return [str(Path(sys.executable).with_name(Path(jupyter).name)), *arguments, "--no-browser"]


@contextlib.contextmanager
def start_lab(folder: Path, root: Path = ROOT) -> Iterator[Lab]:
    """JupyterLab as `make lab` starts it, over a folder; its own files go into another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(folder) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{kind}_DIR": str(folder / kind) for kind in ("SETTINGS", "WORKSPACES")}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [*command(), f"--ServerApp.port={port}", "--ServerApp.port_retries=0"],
            cwd=root,
            env=os.environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            facts = None
            until = time.monotonic() + 120
            while facts is None and process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
                for path in folder.glob("jpserver-*.json"):
                    facts = json.loads(path.read_text() or "null")
            log.seek(0)
            assert facts, log.read()
            while not listening(process.pid) and time.monotonic() < until:
                time.sleep(0.1)
            yield Lab(process, port, facts["token"])
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with start_lab(tmp_path_factory.mktemp("jupyter")) as started:
        yield started


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports at which the process and its children listen."""
    process = psutil.Process(pid)
    return {
        (connection.laddr.ip, connection.laddr.port)
        for each in [process, *process.children(recursive=True)]
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def answer(lab: Lab, path: str, token: str = "", host: str = "", method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=60)
    headers = {"Host": host or f"127.0.0.1:{lab.port}"}
    if token:
        headers["Authorization"] = f"token {token}"
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_server_listens_to_this_machine_only(lab: Lab) -> None:
    found = listening(lab.process.pid)
    assert lab.port in {port for _, port in found}
    assert {address for address, _ in found} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("path", ["/api/contents", "/api/kernels", "/files/README.md"])
def test_nothing_is_given_without_the_token(lab: Lab, path: str) -> None:
    assert len(lab.token) >= 32
    assert answer(lab, path) in (302, 403)  # 302: to the page that asks for the token
    assert answer(lab, path, token="0" * len(lab.token)) in (302, 403)
    assert answer(lab, path, token=lab.token) == 200


def test_no_kernel_starts_without_the_token(lab: Lab) -> None:
    assert answer(lab, "/api/kernels", method="POST") == 403


def test_another_name_for_this_machine_is_refused(lab: Lab) -> None:
    """So that no web page reaches the server by a name that leads to this machine."""
    assert answer(lab, "/api/contents", token=lab.token, host="evil.example") == 403


def test_the_server_opens_on_the_first_lesson(lab: Lab) -> None:
    [url] = [part for part in command() if "default_url" in part]
    page = url.partition("=")[2]
    assert (ROOT / page.removeprefix("/lab/tree/")).is_file()
    assert answer(lab, page, token=lab.token) == 200
