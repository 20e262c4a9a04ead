"""A server that misbehaves in every way that we know of, and real faults of the machine."""

import hashlib
import itertools
import os
import pty
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Answer, Server, hear_ctrl_c

from helpers import downloads, sources
from helpers.errors import DownloadError

NAME = "weights.h5"
GOOD = random.Random(0).randbytes(300_000)
BAD = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
PAGE = b"\n<!DOCTYPE html><html>Log in first</html>" + bytes(500)
Serve = Callable[[dict[str, bytes | Answer]], Server]


@dataclass
class File:
    url: str
    hash: str | None = hashlib.md5(GOOD).hexdigest()
    name: str = NAME


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """The folder that files are downloaded to."""
    return tmp_path / "keep"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".locks"}


# --- answers, good and bad -----------------------------------------------------------------------


def head(handler: BaseHTTPRequestHandler, status: int, length: int, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def ranged(content: bytes = GOOD, most: int | None = None, lie: int = 0) -> Answer:
    """A server that knows Range; hangs up after `most` bytes; its offsets are off by `lie`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers["Range"]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content):
            head(handler, 416, len(PAGE), Content_Type="text/html")  # as nginx says it
            handler.wfile.write(PAGE)
            return
        body = content[start + (lie if wanted else 0) :]
        if wanted:
            span = f"bytes {start + lie}-{len(content) - 1}/{len(content)}"
            head(handler, 206, len(body), Content_Range=span)
        else:
            head(handler, 200, len(body))
        handler.wfile.write(body[:most])

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: head(handler, code, 0, **headers)


def page(kind: str, content: bytes = PAGE) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, len(content), Content_Type=kind)
        handler.wfile.write(content)

    return answer


def slowly(handler: BaseHTTPRequestHandler, what: bytes) -> None:
    with suppress(ConnectionError):
        for i in range(len(what)):
            if handler.server.over.wait(0.02):  # type: ignore[attr-defined]
                return
            handler.wfile.write(what[i : i + 1])


def drip(handler: BaseHTTPRequestHandler) -> None:
    head(handler, 200, len(GOOD))
    slowly(handler, GOOD)


def drip_the_head(handler: BaseHTTPRequestHandler) -> None:
    slowly(handler, b"HTTP/1.1 200 OK\r\nX-Long: " + bytes(5000))


def drip_in_pieces(handler: BaseHTTPRequestHandler) -> None:
    """Chunked: each byte is a chunk with a head of its own, and no length is told."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    slowly(handler, b"1\r\nx\r\n" * 10_000)


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.server.over.wait(60)  # type: ignore[attr-defined]


# --- the good cases ------------------------------------------------------------------------------


def test_a_download_is_kept_and_not_repeated(serve: Serve, keep: Path) -> None:
    server = serve({NAME: GOOD})
    file = File(f"{server.url}/{NAME}")
    assert downloads.fetch(file, keep) == keep / NAME
    assert (keep / NAME).read_bytes() == GOOD
    assert downloads.fetch(file, keep) == keep / NAME
    assert server.requests == [NAME]
    assert names(keep) == {NAME}


def test_a_folder_is_a_mirror(keep: Path, tmp_path: Path, closed_port: str) -> None:
    stick = tmp_path / "a stick"
    stick.mkdir()
    (stick / NAME).write_bytes(GOOD)
    file = File(f"{closed_port}/{NAME}")
    downloads.fetch(file, keep, [str(stick)])
    assert (keep / NAME).read_bytes() == GOOD
    assert (stick / NAME).read_bytes() == GOOD


def test_a_wrong_file_is_fetched_again_once(serve: Serve, keep: Path) -> None:
    keep.mkdir()
    for wrong in (GOOD[:150_000], BAD, b""):
        (keep / NAME).write_bytes(wrong)
        server = serve({NAME: GOOD})
        downloads.fetch(File(f"{server.url}/{NAME}"), keep)
        assert (keep / NAME).read_bytes() == GOOD
        assert server.requests == [NAME]


def test_a_redirect_to_a_safe_place_is_followed(serve: Serve, keep: Path) -> None:
    there = serve({"there": GOOD})
    here = serve({NAME: status(302, Location=f"{there.url}/there")})
    downloads.fetch(File(f"{here.url}/{NAME}"), keep)
    assert (keep / NAME).read_bytes() == GOOD


def test_the_proxy_is_asked(serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://keras.invalid/{NAME}"
    monkeypatch.setenv("http_proxy", serve({url: GOOD}).url)
    monkeypatch.setenv("no_proxy", "")
    downloads.fetch(File(url), keep)
    assert (keep / NAME).read_bytes() == GOOD


def test_mirrors_are_tried_in_order_before_the_own_address(serve: Serve, keep: Path) -> None:
    first, second = serve({NAME: status(503)}), serve({NAME: GOOD})
    own = serve({NAME: GOOD})
    downloads.fetch(File(f"{own.url}/{NAME}"), keep, [first.url, second.url + "/"])
    assert (first.requests, second.requests, own.requests) == ([NAME], [NAME], [])


# --- a source misbehaves: what the user sees, and what is left -----------------------------------

NOT_SAFE = "redirects to file:///etc/passwd, which is not safe"


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (status(404), "answered 404 Not Found"),
        (status(503), "answered 503 Service Unavailable"),
        (BAD, f"expected md5:{File('').hash} but got {hashlib.md5(BAD).hexdigest()}"),
        (GOOD[:200_000], f"but got {hashlib.md5(GOOD[:200_000]).hexdigest()}"),
        (b"", "but got d41d8cd98f00b204e9800998ecf8427e"),
        (page("text/html; charset=utf-8", b"Log in first"), "sent a web page, not the file"),
        (page("application/octet-stream"), "sent a web page, not the file"),
        (status(302, Location="file:///etc/passwd"), NOT_SAFE),
        (status(302, Location="ftp://127.0.0.1/x"), "redirects to ftp://127.0.0.1/x, which is not"),
        (status(302, Location="/" + NAME), "Exceeded 30 redirects"),
        (status(206, Content_Range="bytes 7-9/10"), "did not send the file from its start"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_source_is_named_and_the_next_one_asked(
    serve: Serve, keep: Path, answer: bytes | Answer, seen: str
) -> None:
    bad = serve({NAME: answer})
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(File(f"{bad.url}/{NAME}"), keep)
    assert f"{bad.url.removeprefix('http://')} " in str(caught.value)
    assert seen in str(caught.value)
    assert names(keep) == set()

    downloads.fetch(File(f"{bad.url}/{NAME}"), keep, [bad.url, serve({NAME: GOOD}).url])
    assert (keep / NAME).read_bytes() == GOOD
    assert names(keep) == {NAME}


def test_one_error_has_each_attempt_the_address_the_hash_and_the_folder(
    serve: Serve, keep: Path, tmp_path: Path, closed_port: str
) -> None:
    empty = serve({})
    file = File(f"http://keras.invalid/{NAME}")
    mirrors = [closed_port, empty.url, str(tmp_path / "stick"), str(tmp_path)]
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(file, keep, mirrors)
    assert str(caught.value) == (
        f"{NAME} could not be had: {closed_port.removeprefix('http://')} cannot be reached; "
        f"{empty.url.removeprefix('http://')} answered 404 Not Found; "
        f"{tmp_path / 'stick'}: no such folder; {tmp_path}: it has no such file; "
        f"keras.invalid cannot be reached. "
        f"Put {file.url} (MD5 {file.hash}) into {keep} by hand."
    )


def test_a_password_in_an_address_is_not_shown(keep: Path, closed_port: str) -> None:
    secret = closed_port.replace("http://", "http://me:secret@")
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(File(f"{closed_port}/{NAME}"), keep, [secret])
    assert "secret" not in str(caught.value)


def test_a_proxy_that_is_not_there_is_named(
    keep: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", closed_port)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match=r"keras\.invalid cannot be reached: the proxy"):
        downloads.fetch(File(f"http://keras.invalid/{NAME}"), keep)


def test_a_file_that_cannot_be_read_is_no_proof() -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("this system has no file that is there and cannot be read")
    with pytest.raises(DownloadError, match=r"mem: it cannot be read \(Input/output error\)"):
        downloads.prove(Path("/proc/self/mem"), File(""))


def test_without_a_hash_there_must_be_another_proof(serve: Serve, keep: Path) -> None:
    file = File(f"{serve({NAME: GOOD}).url}/{NAME}", hash=None)
    with pytest.raises(DownloadError, match="no hash is published that would prove it"):
        downloads.fetch(file, keep)
    assert names(keep) == set()
    downloads.fetch(file, keep, prove=lambda path, file: None)
    assert (keep / NAME).read_bytes() == GOOD


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (drip, "sent less than 16 kB in 0 s"),
        (drip_in_pieces, "sent less than 16 kB in 0 s"),
        (drip_the_head, "did not answer within 1 s"),
        (say_nothing, "did not answer within 1 s"),
    ],
)
def test_a_server_that_drips_is_given_up(
    serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, seen: str
) -> None:
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(sources, "CHUNK_SECONDS", 0.4)
    server = serve({NAME: answer})
    started = time.monotonic()
    with pytest.raises(DownloadError, match=seen):
        downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert time.monotonic() - started < 5


def test_a_network_that_swallows_everything_is_given_up(
    keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(*_: Any) -> None:  # as looking a name up can, which has no limit of its own
        over.wait(60)
        raise OSError("given up")

    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    try:
        with pytest.raises(DownloadError, match=r"keras\.invalid did not answer"):
            downloads.fetch(File(f"http://keras.invalid/{NAME}"), keep)
        assert time.monotonic() - started < 5
    finally:
        over.set()


# --- going on ------------------------------------------------------------------------------------


def begun(keep: Path, content: bytes) -> None:
    keep.mkdir()
    (keep / f"{NAME}.part").write_bytes(content)


def test_a_cut_connection_goes_on_where_it_ended(serve: Serve, keep: Path) -> None:
    server = serve({NAME: ranged(most=100_000)})
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert (keep / NAME).read_bytes() == GOOD
    offsets = [int(str(r)[6:-1]) for r in server.ranges[1:]]
    assert server.ranges[0] is None
    assert len(offsets) >= 2  # 100 kB each time, perhaps less what was under way
    assert all(a < b for a, b in itertools.pairwise(offsets))
    assert names(keep) == {NAME}


def test_a_body_that_ends_too_soon_is_an_error_and_the_next_run_goes_on(
    serve: Serve, keep: Path
) -> None:
    short = serve({NAME: ranged(most=40_000)})
    with pytest.raises(DownloadError, match=r" broke off before the end of the file, 5 times"):
        downloads.fetch(File(f"{short.url}/{NAME}"), keep)
    assert len(short.requests) == 5
    assert names(keep) == {f"{NAME}.part"}
    done = (keep / f"{NAME}.part").stat().st_size
    assert done > 100_000

    whole = serve({NAME: ranged()})
    downloads.fetch(File(f"{whole.url}/{NAME}"), keep)
    assert whole.ranges == [f"bytes={done}-"]
    assert (keep / NAME).read_bytes() == GOOD


def test_a_copy_from_a_folder_goes_on_too(keep: Path, tmp_path: Path, closed_port: str) -> None:
    begun(keep, BAD[:100_000])
    (tmp_path / NAME).write_bytes(GOOD)
    offsets = []
    real = sources._from_folder

    def noted(path: str, offset: int) -> Any:
        offsets.append(offset)
        return real(path, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_from_folder", noted)
        downloads.fetch(File(f"{closed_port}/{NAME}"), keep, [str(tmp_path)])
    assert (keep / NAME).read_bytes() == GOOD
    assert offsets == [100_000]


def test_200_means_from_the_start(serve: Serve, keep: Path) -> None:
    begun(keep, GOOD[:100_000])
    server = serve({NAME: GOOD})
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert server.ranges == ["bytes=100000-"]
    assert (keep / NAME).read_bytes() == GOOD


@pytest.mark.parametrize("lie", [-50, 50])
def test_the_offset_of_a_206_is_checked_before_the_rest_is_fetched(
    serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch, lie: int
) -> None:
    def other_offset_and_wait(handler: BaseHTTPRequestHandler) -> None:
        ranged(most=0 if handler.headers["Range"] else None, lie=lie)(handler)
        if handler.headers["Range"]:
            say_nothing(handler)

    monkeypatch.setattr(sources, "CHUNK_SECONDS", 0.4)
    begun(keep, GOOD[:100_000])
    server = serve({NAME: other_offset_and_wait})
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert server.ranges == ["bytes=100000-", None]
    assert (keep / NAME).read_bytes() == GOOD


def test_a_server_that_lies_about_its_offset_is_found_by_the_hash(serve: Serve, keep: Path) -> None:
    def other_bytes(handler: BaseHTTPRequestHandler) -> None:
        ranged(BAD[::-1] if handler.headers["Range"] else GOOD)(handler)

    begun(keep, GOOD[:100_000])
    server = serve({NAME: other_bytes})
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert server.ranges == ["bytes=100000-", None]
    assert (keep / NAME).read_bytes() == GOOD


@pytest.mark.parametrize("part", [BAD[-1:] * 100_000, BAD, GOOD + b"x"])
def test_a_part_of_another_file_starts_over(serve: Serve, keep: Path, part: bytes) -> None:
    begun(keep, part)
    server = serve({NAME: ranged()})
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert server.ranges == [f"bytes={len(part)}-", None]
    assert (keep / NAME).read_bytes() == GOOD


def test_without_a_hash_nothing_goes_on(serve: Serve, keep: Path) -> None:
    begun(keep, BAD[:100_000])
    server = serve({NAME: ranged()})
    file = File(f"{server.url}/{NAME}", hash=None)
    downloads.fetch(file, keep, prove=lambda path, file: None)
    assert server.ranges == [None]
    assert (keep / NAME).read_bytes() == GOOD


def test_a_web_page_does_no_harm_to_what_has_come(serve: Serve, keep: Path) -> None:
    begun(keep, GOOD[:100_000])
    with pytest.raises(DownloadError, match="a web page"):
        downloads.fetch(File(f"{serve({NAME: page('image/png')}).url}/{NAME}"), keep)
    assert (keep / f"{NAME}.part").read_bytes() == GOOD[:100_000]


# --- https ---------------------------------------------------------------------------------------


@pytest.fixture
def secure(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts servers that speak https, with a certificate that is trusted."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl, which makes a certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    def start(files: dict[str, bytes | Answer]) -> Server:
        server = serve(files)
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
        return server

    return start


def test_https_is_not_left_for_http(serve: Serve, secure: Serve, keep: Path) -> None:
    plain = serve({NAME: GOOD})
    down, on = status(302, Location=f"{plain.url}/{NAME}"), status(302, Location="/there")
    server = secure({"there": GOOD, "down": down, "on": on})
    with pytest.raises(DownloadError, match=f"redirects to {plain.url}/{NAME}, which is not safe"):
        downloads.fetch(File(f"{server.url}/down"), keep)
    assert plain.requests == []
    downloads.fetch(File(f"{server.url}/on"), keep)
    assert (keep / NAME).read_bytes() == GOOD


def test_a_certificate_that_is_not_trusted_is_said(
    secure: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    server = secure({NAME: GOOD})
    with pytest.raises(DownloadError, match="has a certificate that is not trusted"):
        downloads.fetch(File(f"{server.url}/{NAME}"), keep)


# --- this machine's faults -----------------------------------------------------------------------


def no_length(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with suppress(ConnectionError):
        handler.wfile.write(GOOD)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (GOOD, r"0\.3 MB are needed, and 0\.2 MB are free"),
        (no_length, "No space left on device"),
    ],
)
def test_a_full_disk(
    serve: Serve, mounted: Callable[[str], Path], answer: bytes | Answer, seen: str
) -> None:
    keep = mounted("size=200k")
    (keep / NAME).write_bytes(b"an older file")
    good = serve({NAME: GOOD})
    with pytest.raises(DownloadError) as caught:
        downloads.fetch(File(f"{good.url}/{NAME}"), keep, [serve({NAME: answer}).url])
    assert f"{NAME} cannot be kept in {keep}: " in str(caught.value)
    assert re.search(seen, str(caught.value))
    assert names(keep) == {NAME}
    assert (keep / NAME).read_bytes() == b"an older file"
    assert good.requests == []  # another source does not make room


def test_a_folder_that_cannot_be_written(serve: Serve, mounted: Callable[[str], Path]) -> None:
    keep = mounted("size=1m,ro")
    server = serve({NAME: GOOD})
    with pytest.raises(DownloadError, match=f"cannot be kept in {keep}/models: Read-only"):
        downloads.fetch(File(f"{server.url}/{NAME}"), keep / "models")
    assert server.requests == []


# --- processes -----------------------------------------------------------------------------------

FETCH = """
import sys
from pathlib import Path
from types import SimpleNamespace
from helpers import downloads
_, url, hash_, name, folder = sys.argv
file = SimpleNamespace(url=url, hash=hash_, name=name)
print(downloads.fetch(file, Path(folder)).read_bytes()[:10])
"""


def start(server: Server, keep: Path, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    file = File(f"{server.url}/{NAME}")
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, file.url, str(file.hash), NAME, str(keep)],
        stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT, preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def half_and_wait(handler: BaseHTTPRequestHandler) -> None:
    """Half of the file, and nothing more; from an offset, the rest."""
    if handler.headers["Range"]:
        ranged()(handler)
        return
    head(handler, 200, len(GOOD))
    handler.wfile.write(GOOD[:150_000])
    say_nothing(handler)


def wait_for(part: Path) -> None:
    for _ in range(1000):
        if part.is_file() and part.stat().st_size > 100_000:
            return
        time.sleep(0.02)
    raise AssertionError("nothing came")


def test_four_processes_end_with_the_good_file(serve: Serve, keep: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def when_all_wait(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, len(GOOD))
        waiting = f"Another process is fetching {NAME}; waiting for it."
        for i in range(10):  # a tenth of the file a second, until all of them wait
            for _ in range(50):
                if log.read_text().count(waiting) < 3:
                    time.sleep(0.02)
            handler.wfile.write(GOOD[i * 30_000 : (i + 1) * 30_000])

    server = serve({NAME: when_all_wait})
    with log.open("a") as stderr:
        running = [start(server, keep, stderr) for _ in range(4)]
        outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert outputs == [f"{GOOD[:10]!r}\n"] * 4
    assert (keep / NAME).read_bytes() == GOOD
    assert server.requests == [NAME]
    assert names(keep) == {NAME}


def test_the_lock_of_a_dead_process_is_free_and_its_bytes_are_used(
    serve: Serve, keep: Path
) -> None:
    server = serve({NAME: half_and_wait})
    process = start(server, keep)
    wait_for(keep / f"{NAME}.part")
    process.kill()
    process.communicate()
    with start(server, keep) as second:
        try:
            assert second.communicate(timeout=20)[0] == f"{GOOD[:10]!r}\n"
        finally:
            second.kill()
    assert (keep / NAME).read_bytes() == GOOD
    assert str(server.ranges[-1]).startswith("bytes=1")


def test_ctrl_c_keeps_what_has_come(serve: Serve, keep: Path) -> None:
    server = serve({NAME: half_and_wait})
    process = start(server, keep)
    wait_for(keep / f"{NAME}.part")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    assert names(keep) == {f"{NAME}.part"}
    downloads.fetch(File(f"{server.url}/{NAME}"), keep)
    assert (keep / NAME).read_bytes() == GOOD
    assert str(server.ranges[-1]).startswith("bytes=1")


# --- progress ------------------------------------------------------------------------------------


def test_a_terminal_has_a_progress_bar_and_a_pipe_has_none(serve: Serve, keep: Path) -> None:
    server = serve({NAME: GOOD})
    command = [sys.executable, "-c", FETCH, f"{server.url}/{NAME}", str(File("").hash), NAME]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([*command, str(keep / "1")], stderr=theirs, cwd=ROOT, check=True)
    os.close(theirs)
    shown = ""
    with suppress(OSError):  # how Linux says that it was closed
        while True:
            shown += os.read(ours, 100_000).decode()
    os.close(ours)
    assert NAME in shown
    assert "100%" in shown
    assert "300k/300k" in shown
    done = subprocess.run([*command, str(keep / "2")], capture_output=True, cwd=ROOT, check=True)
    assert done.stderr == b""


def test_a_notebook_has_a_progress_bar(serve: Serve, keep: Path) -> None:
    import nbclient
    import nbformat

    server = serve({NAME: GOOD})
    arguments = ["", f"{server.url}/{NAME}", File("").hash, NAME, str(keep)]
    source = f"import sys\nsys.argv = {arguments}\n{FETCH}"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    [shown] = [out.data for out in notebook.cells[0].outputs if out.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in shown
    [states] = notebook.metadata["widgets"].values()
    [bar] = [s["state"] for s in states["state"].values() if "bar_style" in s["state"]]
    assert (bar["max"], bar["value"], bar["bar_style"]) == (300_000, 300_000, "success")
