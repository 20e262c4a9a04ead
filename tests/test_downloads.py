"""A server that misbehaves in every way that we know of, and real faults of the machine."""

import hashlib
import io
import itertools
import os
import pty
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import termios
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Answer, Server, hear_ctrl_c

from helpers import downloads
from helpers.errors import DownloadError

NAME = "weights.h5"
GOOD = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(GOOD).hexdigest()
BAD = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
PAGE = b"\n<!DOCTYPE html><html>Log in first</html>" + bytes(500)
Serve = Callable[[dict[str, bytes | Answer]], Server]


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """The folder that files are downloaded to."""
    return tmp_path / "keep"


def fetch(server: Server | str, keep: Path, mirrors: list[str] | None = None) -> None:
    url = server if isinstance(server, str) else server.url
    assert downloads.fetch(f"{url}/{NAME}", MD5, keep / NAME, 0.3, mirrors or []) == keep / NAME
    assert (keep / NAME).read_bytes() == GOOD
    assert names(keep) == {NAME}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".locks"}


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A good beginning, or goes on after it, and never ends."""
    wanted = handler.headers["Range"]
    handler.send_response(206 if wanted else 200)
    handler.send_header("Content-Range", "bytes 100000-*/*")
    handler.end_headers()
    with suppress(ConnectionError):
        while not handler.server.over.is_set():  # type: ignore[attr-defined]
            handler.wfile.write(BAD)


def begun(keep: Path, content: bytes) -> None:
    keep.mkdir()
    (keep / f"{NAME}.part").write_bytes(content)


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


def status(code: int, length: int = 0, **headers: str) -> Answer:
    return lambda handler: head(handler, code, length, **headers)


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


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.server.over.wait(60)  # type: ignore[attr-defined]


# --- the good cases ------------------------------------------------------------------------------


def test_a_download_is_kept_and_not_repeated(serve: Serve, keep: Path) -> None:
    server = serve({NAME: GOOD})
    for _ in range(2):
        fetch(server, keep)
    assert server.requests == [NAME]


def test_mirrors_are_tried_in_order_and_before_the_published_url(serve: Serve, keep: Path) -> None:
    first, second = serve({NAME: status(503)}), serve({NAME: GOOD})
    own = serve({NAME: GOOD})
    fetch(own, keep, [first.url, second.url + "/"])
    assert (first.requests, second.requests, own.requests) == ([NAME], [NAME], [])


def test_a_folder_is_a_mirror(keep: Path, tmp_path: Path, closed_port: str) -> None:
    begun(keep, BAD[:100_000])
    stick = tmp_path / "a stick"
    stick.mkdir()
    (stick / NAME).write_bytes(GOOD)
    fetch(closed_port, keep, [str(stick)])
    assert (stick / NAME).read_bytes() == GOOD


def test_a_file_without_a_hash_is_checked_by_the_caller_and_never_resumed(
    serve: Serve, keep: Path
) -> None:
    def check(path: Path) -> str:
        return "" if path.read_bytes() == GOOD else "not this one"

    begun(keep, BAD[:100_000])
    server, wrong = serve({NAME: ranged()}), serve({NAME: BAD})
    downloads.fetch(f"{server.url}/{NAME}", None, keep / NAME, 0.3, [wrong.url], check)
    assert (wrong.ranges, server.ranges) == ([None], [None])
    assert (keep / NAME).read_bytes() == GOOD
    with pytest.raises(DownloadError, match="not this one"):
        downloads.fetch(f"{wrong.url}/{NAME}", None, keep / NAME, 0.3, [], check)
    assert (keep / NAME).read_bytes() == GOOD
    assert names(keep) == {NAME}


# --- a source misbehaves: what is said, and what is left -----------------------------------------


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (status(404), "404 Not Found"),
        (status(503), "503 Service Unavailable"),
        (BAD, f"expected MD5 {MD5}, got {hashlib.md5(BAD).hexdigest()}"),
        (b"", ", got d41d8cd98f00b204e9800998ecf8427e"),
        (PAGE, "sent a web page"),
        (status(302, Location="file:///etc/passwd"), "no answer (InvalidSchema)"),
        (status(302, Location="/" + NAME), "TooManyRedirects"),
        (status(200, length=len(GOOD)), "broke off"),
        (status(200, length=10**18), "larger than 5 MB"),
        (status(302, Location="http://[::1"), "no answer (ValueError)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_source_is_named_and_the_next_one_asked(
    serve: Serve, keep: Path, answer: bytes | Answer, seen: str
) -> None:
    bad = serve({NAME: answer})
    with pytest.raises(DownloadError) as caught:
        fetch(bad, keep)
    assert f"{bad.url}/{NAME}: " in str(caught.value)
    assert seen in str(caught.value)
    assert names(keep) <= {f"{NAME}.part"}
    fetch(bad, keep, [bad.url, serve({NAME: GOOD}).url])


def test_one_error_has_each_attempt_the_url_the_hash_and_the_folder(
    serve: Serve, keep: Path, tmp_path: Path, closed_port: str
) -> None:
    empty = serve({})
    mirrors = [closed_port.replace("http://", "http://me:secret@"), empty.url, str(tmp_path)]
    with pytest.raises(DownloadError) as caught:
        fetch("http://keras.invalid", keep, mirrors)
    said = str(caught.value)
    assert f"{closed_port}/{NAME}: no answer (ConnectionError); " in said
    assert f"{empty.url}/{NAME}: answered 404 Not Found; " in said
    assert f"{tmp_path / NAME}: No such file or directory; " in said
    assert f"http://keras.invalid/{NAME}: no answer (ConnectionError). " in said
    assert said.endswith(f"put http://keras.invalid/{NAME} (MD5 {MD5}) into {keep}.")


def test_a_mirrors_password_is_never_shown(
    serve: Serve, keep: Path, closed_port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    servers = [serve({NAME: BAD}), serve({NAME: status(404)}), serve({NAME: ranged(most=9)})]
    urls = [closed_port, "http://a b", *(server.url for server in servers)]
    with pytest.raises(DownloadError) as caught:
        mirrors = [url.replace("//", "//me:a/secret@") for url in urls[:1]]
        mirrors += [url.replace("//", "//me:secret@") for url in urls]
        fetch("http://keras.invalid", keep, mirrors)
    assert "secret" not in f"{caught.value}{capfd.readouterr()}"
    assert caught.value.__context__ is None  # which a traceback would show


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [drip, drip_the_head, say_nothing])
def test_a_server_that_drips_or_never_answers_is_given_up(
    serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(downloads, "SECONDS", 0.6)
    bad = serve({NAME: answer})
    started = time.monotonic()
    with pytest.raises(DownloadError, match="sent less than 64 kB in 1 s"):
        fetch(bad, keep)
    fetch(bad, keep, [bad.url, serve({NAME: GOOD}).url])
    assert time.monotonic() - started < 30


# --- resuming ------------------------------------------------------------------------------------


def test_a_cut_connection_is_resumed(serve: Serve, keep: Path) -> None:
    server = serve({NAME: ranged(most=100_000)})
    fetch(server, keep)
    offsets = [int(str(r)[6:-1]) for r in server.ranges[1:]]
    assert server.ranges[0] is None
    assert len(offsets) >= 2  # 100 kB each time, perhaps less what was under way
    assert all(a < b for a, b in itertools.pairwise(offsets))


def test_a_body_that_ends_too_soon_is_an_error_and_the_next_run_resumes(
    serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 10_000)
    short = serve({NAME: ranged(most=40_000)})
    with pytest.raises(DownloadError, match="broke off before the end of the file"):
        fetch(short, keep)
    assert len(short.requests) == 5
    done = (keep / f"{NAME}.part").stat().st_size
    assert done > 100_000

    whole = serve({NAME: ranged()})
    fetch(whole, keep)
    assert whole.ranges == [f"bytes={done}-"]


@pytest.mark.parametrize("lie", [-50, 50])
def test_the_offset_of_a_206_is_checked_before_the_rest_is_fetched(
    serve: Serve, keep: Path, monkeypatch: pytest.MonkeyPatch, lie: int
) -> None:
    def other_offset_and_wait(handler: BaseHTTPRequestHandler) -> None:
        ranged(most=0 if handler.headers["Range"] else None, lie=lie)(handler)
        if handler.headers["Range"]:
            say_nothing(handler)

    monkeypatch.setattr(downloads, "SECONDS", 2)
    begun(keep, GOOD[:100_000])
    server = serve({NAME: other_offset_and_wait})
    fetch(server, keep)
    assert server.ranges == ["bytes=100000-", None]


def other_bytes(handler: BaseHTTPRequestHandler) -> None:
    """What it sends from an offset isn't of the file."""
    ranged(BAD[::-1] if handler.headers["Range"] else GOOD)(handler)


@pytest.mark.parametrize(
    ("part", "answer", "requests"),
    [
        (GOOD[:100_000], GOOD, 1),  # 200: from the start
        (GOOD + b"x", ranged(), 2),  # 416
        (BAD[::-1][:100_000], ranged(), 2),  # another file's: another hash
        (GOOD[:100_000], other_bytes, 2),
    ],
)
def test_what_cannot_be_resumed_starts_over(
    serve: Serve, keep: Path, part: bytes, answer: bytes | Answer, requests: int
) -> None:
    begun(keep, part)
    server = serve({NAME: answer})
    fetch(server, keep)
    assert server.ranges == [f"bytes={len(part)}-", None][:requests]


def test_a_web_page_does_no_harm_to_what_has_come(serve: Serve, keep: Path) -> None:
    begun(keep, GOOD[:100_000])
    with pytest.raises(DownloadError, match="a web page"):
        fetch(serve({NAME: PAGE}), keep)
    assert (keep / f"{NAME}.part").read_bytes() == GOOD[:100_000]


@pytest.mark.parametrize("answer", [endless, status(200, length=10**18)])
def test_a_source_that_lies_about_the_size_costs_neither_the_disk_nor_what_has_come(
    serve: Serve, mounted: Callable[[str], Path], answer: Answer
) -> None:
    keep, liar = mounted("size=7m"), serve({NAME: answer})
    (keep / f"{NAME}.part").write_bytes(GOOD[:100_000])
    with pytest.raises(DownloadError, match="larger than 5 MB"):
        fetch(liar, keep)
    assert (keep / f"{NAME}.part").read_bytes() == GOOD[:100_000]
    good = serve({NAME: ranged()})
    fetch(good, keep, [liar.url])
    assert good.ranges == ["bytes=100000-"]
    (keep / NAME).unlink()
    fetch(good, keep, [liar.url])


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


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_https_is_not_left_for_http(serve: Serve, secure: Serve, keep: Path, scheme: str) -> None:
    plain = serve({NAME: GOOD})
    down = status(302, Location=f"{plain.url.replace('http', scheme)}/{NAME}")
    with pytest.raises(DownloadError, match=r"no answer \(InvalidSchema\)"):
        fetch(secure({NAME: down}).url.replace("https", f"{scheme}s"), keep)
    assert plain.requests == []
    fetch(secure({"there": GOOD, NAME: status(302, Location="/there")}), keep)


# --- this machine's faults -----------------------------------------------------------------------


def test_a_full_disk(serve: Serve, mounted: Callable[[str], Path]) -> None:
    keep = mounted("size=200k")
    (keep / NAME).write_bytes(b"an older file")
    with pytest.raises(DownloadError, match="No space left"):
        fetch(serve({NAME: GOOD}), keep)
    assert names(keep) == {NAME}
    assert (keep / NAME).read_bytes() == b"an older file"


# --- processes -----------------------------------------------------------------------------------

FETCH = """
import sys
from pathlib import Path
from helpers import downloads
_, url, hash_, path = sys.argv
print(downloads.fetch(url, hash_, Path(path), 0.3).read_bytes()[:10])
"""


def start(server: Server, keep: Path, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, f"{server.url}/{NAME}", MD5, str(keep / NAME)],
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


def test_four_processes_end_with_the_good_file(serve: Serve, keep: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def when_all_wait(handler: BaseHTTPRequestHandler) -> None:
        for _ in range(5000):
            if log.read_text().count("waiting for it") < 3:
                time.sleep(0.02)
        head(handler, 200, len(GOOD))
        handler.wfile.write(GOOD)

    server = serve({NAME: when_all_wait})
    with log.open("a") as stderr:
        running = [start(server, keep, stderr) for _ in range(4)]
        outputs = [process.communicate(timeout=60)[0] for process in running]
    assert outputs == [f"{GOOD[:10]!r}\n"] * 4, log.read_text()
    assert server.requests == [NAME]
    assert names(keep) == {NAME}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_frees_its_lock_and_its_bytes_are_used(
    serve: Serve, keep: Path, how: signal.Signals
) -> None:
    server = serve({NAME: half_and_wait})
    process, part = start(server, keep), keep / f"{NAME}.part"
    for _ in range(5000):
        if part.is_file() and part.stat().st_size > 100_000:
            break
        time.sleep(0.02)
    process.send_signal(how)
    stderr = process.communicate(timeout=120)[1]
    assert ("KeyboardInterrupt" in stderr) == (how == signal.SIGINT)
    assert part.is_file()
    fetch(server, keep)
    assert str(server.ranges[-1]).startswith("bytes=1")


# --- progress ------------------------------------------------------------------------------------


def test_a_terminal_has_a_progress_bar_and_a_pipe_has_none(serve: Serve, keep: Path) -> None:
    server = serve({NAME: GOOD})
    command = [sys.executable, "-c", FETCH, f"{server.url}/{NAME}", MD5]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([*command, str(keep / "1" / NAME)], stderr=theirs, cwd=ROOT, check=True)
    os.close(theirs)
    shown = ""
    with suppress(OSError):  # how Linux says that it was closed
        while True:
            shown += os.read(ours, 100_000).decode()
    os.close(ours)
    assert NAME in shown
    assert "300k/300k" in shown
    done = subprocess.run(
        [*command, str(keep / "2" / NAME)], capture_output=True, cwd=ROOT, check=True
    )
    assert done.stderr == b""


def test_a_notebook_has_a_progress_bar(serve: Serve, keep: Path) -> None:
    import nbclient
    import nbformat

    server = serve({NAME: GOOD})
    arguments = ["", f"{server.url}/{NAME}", MD5, str(keep / NAME)]
    source = f"import sys\nsys.argv = {arguments}\n{FETCH}"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    [shown] = [out.data for out in notebook.cells[0].outputs if out.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in shown


# --- archives ------------------------------------------------------------------------------------


def archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["pets.tgz", "pets.zip"])
def test_an_archive_is_unpacked_into_a_new_folder(tmp_path: Path, name: str) -> None:
    pets = archive(tmp_path / name, {"cat/1.jpg": b"one", "dog/2.jpg": b"two"})
    downloads.unpack(pets, tmp_path / "new" / "pets")
    assert (tmp_path / "new" / "pets" / "dog" / "2.jpg").read_bytes() == b"two"
    assert names(tmp_path / "new") == {"pets"}
    downloads.unpack(tmp_path / "missing.zip", tmp_path / "new" / "pets")  # it's there: nothing


@pytest.mark.parametrize("name", ["pets.tgz", "pets.zip"])
@pytest.mark.parametrize("member", ["../../evil", "a/../../../evil"])
def test_a_member_that_leads_outside_is_refused_or_left_out(
    tmp_path: Path, name: str, member: str
) -> None:
    pets = archive(tmp_path / name, {"cat/1.jpg": b"one", member: b"evil"})
    with suppress(DownloadError):  # a tar file is refused; of a zip file the member is left out
        downloads.unpack(pets, tmp_path / "new" / "pets")
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {name, "pets.lock"} | ({"1.jpg"} if name == "pets.zip" else set())
