"""A page on generated radiographs, with the small network that all tests share."""

import gzip
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from lung_seg.cli import serve
from lung_seg.config import ServeConfig
from lung_seg.page.app import create_app
from lung_seg.page.review import Review
from tests.conftest import fork
from tests.layouts import draw_chest, write_image

ADDRESS = "http://127.0.0.1:8765"
NETWORK = "runs/first"  # of the fixture "trained"


class Page:
    """What a browser does with the page, over any client of HTTP."""

    def __init__(self, client: httpx2.Client, wait_s: float = 0):
        self.client = client
        end = time.monotonic() + wait_s
        while True:
            try:
                self.load()
                return
            except httpx2.TransportError:  # the server is starting
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def load(self) -> dict[str, Any]:
        described: dict[str, Any] = self.client.get("/api/session").json()
        self.headers = {"X-Session": described["session"]}
        return described

    def films(self) -> list[dict[str, Any]]:
        """All films, as soon as none of them waits any more."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            films: list[dict[str, Any]] = self.client.get("/api/films").json()["films"]
            if all(film["state"] != "waiting" for film in films):
                return films
            time.sleep(0.02)
        raise TimeoutError(films)

    def film(self, name: str) -> dict[str, Any]:
        return next(film for film in self.films() if film["name"] == name)

    def mask(self, film: dict[str, Any], of: str = "current") -> tuple[np.ndarray, str]:
        answer = self.client.get(f"/api/films/{film['id']}/mask", params={"of": of})
        assert answer.status_code == 200, answer.text
        shape = (film["height_px"], film["width_px"])
        return np.frombuffer(answer.content, np.uint8).reshape(shape).copy(), answer.headers["ETag"]

    def save(self, film: dict[str, Any], labels: np.ndarray, etag: str, seconds: float = 1) -> httpx2.Response:
        headers = self.headers | {"If-Match": etag, "Content-Encoding": "gzip"}
        body = gzip.compress(labels.astype(np.uint8).tobytes())
        path = f"/api/films/{film['id']}/mask"
        return self.client.put(path, params={"seconds": seconds}, content=body, headers=headers)

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.client.post(path, json=body, headers=self.headers)

    def drop(self, name: str, content: bytes) -> httpx2.Response:
        return self.client.post("/api/films", files=[("file", (name, content))], headers=self.headers)


OpenPage = Callable[..., Page]


def settings(**changed: Any) -> ServeConfig:
    given = {"input": "films", "output": "out", "corrections": "out/corrections", "checkpoint": NETWORK} | changed
    return ServeConfig(**given)


@contextmanager
def serving(token: str | None = None, **changed: Any) -> Iterator[TestClient]:
    app = create_app(Review(settings(**changed)), token)
    with TestClient(app, ADDRESS, headers={"Accept-Encoding": "gzip"}) as client:
        yield client


@contextmanager
def server(port: int, end: signal.Signals) -> Iterator[Page]:
    """serve.py in a process of its own, ended by a signal; Ctrl-C has the exit code of all commands."""
    with pytest.MonkeyPatch.context() as patch, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        arguments = ["films", "output=out", f"checkpoint={NETWORK}", f"port={port}", "browser=false"]
        patch.setattr(sys, "argv", ["serve.py", *arguments])
        process = fork(serve.main)
        try:
            yield Page(client, wait_s=30)
        finally:
            os.kill(process, end)
            status = os.waitpid(process, 0)[1]
        assert end == signal.SIGKILL or os.waitstatus_to_exitcode(status) == 130


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def films(trained: Path) -> Path:
    """Three good films and a corrupt one in a folder, beside the training of the small network."""
    for number, name in enumerate(("a", "b", "c")):
        write_image(trained / "films" / f"{name}.png", draw_chest(500 + number, 96, 80)[0])
    (trained / "films" / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    return trained / "films"


@pytest.fixture
def open_page(films: Path) -> Iterator[OpenPage]:
    """Start a server inside this process; a second call starts another one on the same folders."""
    with ExitStack() as servers:
        yield lambda **changed: Page(servers.enter_context(serving(**changed)))


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page()
