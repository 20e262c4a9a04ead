"""Bytes from a server or from a folder, each in its time, from the offset that is asked for."""

import contextlib
import math
import os
import queue
import re
import threading
import urllib.parse
from collections.abc import Generator
from pathlib import Path
from typing import Any

import requests
import urllib3

CONNECT_SECONDS = 3.0
# From looking the name up to the first bytes: none of its steps has a limit that holds for all.
ANSWER_SECONDS = 10.0
# A limit for each read from a socket never fires where a server drips; one for each chunk does.
CHUNK, CHUNK_SECONDS = 1 << 14, 15.0
PAGE = (
    "sent a web page, not the file. Where a network asks people to log in, do that first, in a "
    "browser"
)


class SourceError(Exception):
    """What is wrong with a source: the next one may do."""


class CutError(SourceError):
    """The connection ended too soon: the same source may go on."""


def is_url(source: str) -> bool:
    """Whether it is an address of the web; else it is a path."""
    return bool(re.match("https?://", source, re.IGNORECASE))


def stream(source: str, offset: int) -> Generator[Any, None, None]:
    """First (the offset at which the bytes start, the whole size or None), then the bytes.

    A server may ignore the offset that is asked for.

    Raises:
        SourceError: it has no such file, does not answer, is too slow, is not safe, or the like.
        CutError: it broke off before the end of the file.
    """
    return _in_time((_from_server if is_url(source) else _from_folder)(source, offset))


def _in_time(stream: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """A stream's items, each within its time, whatever the stream is held up by.

    A thread of its own reads it. Where that one hangs it is left behind, and ends with the process.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=8)
    left_behind = threading.Event()
    end = object()

    def read() -> None:
        try:
            with contextlib.closing(stream):
                for item in stream:
                    items.put(item)
                    if left_behind.is_set():
                        return
            items.put(end)
        except BaseException as error:
            items.put(error)

    threading.Thread(target=read, daemon=True).start()
    seconds, late = ANSWER_SECONDS, f"did not answer within {ANSWER_SECONDS:.0f} s"
    try:
        while (item := _next(items, seconds, late)) is not end:
            if isinstance(item, (OSError, urllib3.exceptions.HTTPError)):
                raise _why(item) from item
            if isinstance(item, BaseException):
                raise item
            yield item
            seconds = CHUNK_SECONDS
            late = f"sent less than {CHUNK / 1000:.0f} kB in {CHUNK_SECONDS:.0f} s"
    finally:
        left_behind.set()
        with contextlib.suppress(queue.Empty):
            while True:  # room for an item that waits to be put
                items.get_nowait()


def _next(items: queue.Queue[Any], seconds: float, late: str) -> Any:
    steps = math.ceil(seconds / 0.2)  # Windows hears Ctrl-C only between them
    for _ in range(steps):
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=seconds / steps)
    raise SourceError(late)


def _why(error: Exception) -> SourceError:
    if isinstance(error, requests.exceptions.SSLError):
        return SourceError(f"has a certificate that is not trusted ({error})")
    if isinstance(error, requests.exceptions.ProxyError):
        return SourceError("cannot be reached: the proxy does not let it through")
    if isinstance(error, requests.exceptions.ConnectionError):
        return SourceError("cannot be reached")
    if isinstance(error, urllib3.exceptions.HTTPError):
        return CutError("broke off before the end of the file")
    return SourceError(str(error))


class _Session(requests.Session):
    """Follows a redirect to an address of the web, and never from https to http."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            new = urllib.parse.urljoin(resp.url, target)
            if not is_url(new) or (resp.url.startswith("https:") and new.startswith("http:")):
                resp.close()
                raise SourceError(f"redirects to {new}, which is not safe")
        return target


def _from_server(url: str, offset: int) -> Generator[Any, None, None]:
    for wanted in sorted({offset, 0}, reverse=True):
        headers = {"Accept-Encoding": "identity"}  # so that lengths and offsets are the file's
        if wanted:
            headers["Range"] = f"bytes={wanted}-"
        with (
            _Session() as session,
            session.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, 60)) as got,
        ):
            if got.status_code == 416:  # the offset is at the file's end, or behind it
                continue
            if got.status_code not in (200, 206):
                raise SourceError(f"answered {got.status_code} {got.reason}")
            if got.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise SourceError(PAGE)
            span = re.match(r"bytes (\d+)-", got.headers.get("Content-Range", ""))
            start = 0 if got.status_code == 200 else int(span[1]) if span else -1
            if start not in (0, wanted):
                continue
            length = got.headers.get("Content-Length")
            yield start, start + int(length) if length else None
            while chunk := got.raw.read(CHUNK):
                yield chunk
            return
    raise SourceError("did not send the file from its start")


def _from_folder(path: str, offset: int) -> Generator[Any, None, None]:
    """A folder of this machine, a stick or a share."""
    if not Path(path).is_file():
        what = "it has no such file" if Path(path).parent.is_dir() else "no such folder"
        raise SourceError(what)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = offset if offset <= size else 0
        file.seek(start)
        yield start, size
        while chunk := file.read(CHUNK):
            yield chunk
