"""The interface for other programs: POST /predict, /health and the description."""

import asyncio
import base64
import io
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from lung_seg import Predictor, __version__
from lung_seg.files import sha256
from lung_seg.page import network
from lung_seg.page.app import create_app
from lung_seg.page.review import Review
from tests.layouts import draw_chest, write_dicom
from tests.page.conftest import ADDRESS, NETWORK, Page, free_port, server, settings

ROOT = Path(__file__).parents[2]
CHECKPOINT = Path(NETWORK, "checkpoints", "best.ckpt")


def upload(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (name, Path("films", name).read_bytes())) for name in names]


def unpack(runs: list[int], height_px: int, width_px: int) -> np.ndarray:
    return np.repeat(runs[::2], runs[1::2]).reshape(height_px, width_px)


def test_it_answers_what_the_predictor_finds(page: Page) -> None:
    write_dicom(Path("films/d.dcm"), draw_chest(501, 96, 80)[0], PixelSpacing=[2.0, 3.0])
    expected = Predictor(NETWORK).predict("films/d.dcm")
    labels = np.where(expected.right, 1, np.where(expected.left, 2, 0))
    rle, corrupt = page.client.post("/predict", files=upload("d.dcm", "corrupt.png")).json()["results"]
    assert (rle["name"], rle["width_px"], rle["height_px"]) == ("d.dcm", 80, 96)
    assert (unpack(rle["mask"], 96, 80) == labels).all()
    assert rle["quality"] == pytest.approx(expected.quality, abs=1e-4)
    assert rle["warning"] == (expected.warning or None)
    assert rle["right"]["area_px"] == np.count_nonzero(expected.right)
    assert rle["left"]["area_mm2"] == 6 * np.count_nonzero(expected.left)
    rows, columns = (np.flatnonzero(expected.right.any(axis=axis)) for axis in (1, 0))
    box = {"left_px": columns[0], "top_px": rows[0], "width_px": np.ptp(columns) + 1, "height_px": np.ptp(rows) + 1}
    assert rle["right"]["box"] == box
    assert corrupt["error"].startswith("corrupt.png cannot be read as an image")

    (png,) = page.client.post("/predict?mask=png", files=upload("d.dcm")).json()["results"]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(png["mask"])))) == labels).all()
    (none,) = page.client.post("/predict?mask=none", files=upload("d.dcm")).json()["results"]
    assert "mask" not in none
    assert page.client.post("/predict?mask=svg", files=upload("d.dcm")).status_code == 422
    assert page.client.post("/predict").status_code == 422


def test_its_health_names_version_and_weights(page: Page) -> None:
    expected = {"status": "ok", "version": __version__, "weights": sha256(CHECKPOINT)[:8]}
    assert page.client.get("/health").json() == expected


def test_the_description_needs_no_other_host(page: Page) -> None:
    text = page.client.get("/docs").text
    assert "POST /predict" in text
    assert not re.findall(r"https?://|<script|//cdn", text)
    assert page.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]


def test_the_client_of_the_docs_reads_the_answer(films: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (client,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "page.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(client.splitlines()) <= 25
    port = free_port()
    with server(port, signal.SIGINT):
        done = subprocess.run(
            [sys.executable, "-c", client.replace("8765", str(port)), "films/a.png", "films/corrupt.png"],
            capture_output=True,
            text=True,
            check=False,
        )
    first, second = done.stdout.splitlines()
    lungs = Predictor(NETWORK).predict("films/a.png")
    assert first.startswith(f"a.png {lungs.right.sum()} {lungs.left.sum()} {round(lungs.quality, 4)}")
    assert second.startswith("corrupt.png cannot be read as an image")


async def post_at_once(count: int) -> list[httpx2.Response]:
    app = create_app(Review(settings(input=None)))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS, timeout=60) as client:
        name = ("a.png", "b.png", "c.png", "corrupt.png")
        posts = [client.post("/predict?mask=none", files=upload(name[number % 4])) for number in range(count)]
        return await asyncio.gather(*posts)


def test_two_hundred_requests_at_once_are_all_answered_with_their_own_result(films: Path) -> None:
    answers = asyncio.run(post_at_once(200))
    assert {answer.status_code for answer in answers} == {200}
    results = [answer.json()["results"][0] for answer in answers]
    areas = {name: Predictor(NETWORK).predict(f"films/{name}").right.sum() for name in ("a.png", "b.png", "c.png")}
    for number, result in enumerate(results):
        name = ("a.png", "b.png", "c.png", "corrupt.png")[number % 4]
        assert result["name"] == name
        assert ("error" in result) if name == "corrupt.png" else (result["right"]["area_px"] == areas[name])


def test_more_than_may_wait_are_told_to_come_back(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MAX_WAITING", 2)
    gate = threading.Event()
    opened = network.Network.open
    monkeypatch.setattr(network.Network, "open", lambda self, path: gate.wait(20) and opened(self, path))
    threading.Timer(0.5, gate.set).start()
    answers = asyncio.run(post_at_once(8))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [503] * 6
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["error"].startswith("2 radiographs are waiting already.")
