"""What the tests share: a clean environment, a network, a loopback server, small pictures."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from helpers.zoo import Network

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """Keras reads KERAS_HOME, and writes a file there, once: while it is imported."""
    folder = tempfile.TemporaryDirectory(prefix="keras-home-")
    config.add_cleanup(folder.cleanup)
    os.environ["KERAS_HOME"] = folder.name


@pytest.fixture(autouse=True)
def keras_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Give every test an empty cache, and no way to the network."""
    home = tmp_path_factory.mktemp("keras-home")
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.delenv("HELPERS_MIRROR", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    real = socket.getaddrinfo

    def loopback_only(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"tests do not use the network, and {host} was looked up")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", loopback_only)
    yield home


@pytest.fixture(scope="session")
def network() -> "Network":
    """The bundled network with its top."""
    from helpers import zoo

    return zoo.load()


Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Serves `files` (name → bytes, or how to answer), and notes what was asked for.

    An answer that waits must end when `over` is set.
    """

    def __init__(self, files: Mapping[str, bytes | Answer]) -> None:
        self.files, self.requests, self.ranges = files, list[str](), list[str | None]()
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path.strip("/"))
                outer.ranges.append(self.headers["Range"])
                body = outer.files.get(self.path.strip("/"))
                if callable(body):
                    body(self)
                    return
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.server.over = self.over  # type: ignore[attr-defined]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, bytes | Answer]], Server]]:
    """Starts servers, and stops them after the test."""
    servers: list[Server] = []

    def start(files: Mapping[str, bytes | Answer]) -> Server:
        servers.append(Server(files))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def hear_ctrl_c() -> None:
    """For a new process: a shell starts what runs in the background deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def mind_permissions() -> None:
    """For a new process: root may then write, too, only where permissions let it."""
    if sys.platform != "linux" or os.getuid() != 0:
        return
    drop_capability, may_write_anywhere = 24, 1  # linux/prctl.h, linux/capability.h
    if ctypes.CDLL(None, use_errno=True).prctl(drop_capability, may_write_anywhere, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "root cannot be made to mind permissions here")


@pytest.fixture
def closed_port() -> str:
    """The address of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts file systems in memory, with options."""
    folders: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here, for which one must be root")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def picture(seed: int, rows: int = 40, columns: int = 50) -> np.ndarray:
    """A smooth random picture, so that JPEG keeps it well."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of pictures, of 4, 3 and 5 files."""
    root = tmp_path / "pictures"
    for label, (name, count) in enumerate({"ant": 4, "bee": 3, "cow": 5}.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(10 * label + number)).save(root / name / f"{number}.png")
    return root
