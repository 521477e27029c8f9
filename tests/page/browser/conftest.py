"""A server started by its command, and a real browser; without a browser the tests are skipped, and say so."""

import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from lung_seg.raw.phantom.draw_phantom import draw_phantom

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ROOT = Path(__file__).parents[3]
SETTINGS = ["input=films", "output=out", "browser=false", f"checkpoint={ROOT}/lung_seg/weights/lungs.onnx"]
START_S, WAIT_MS = 60, 15_000


class Server:
    """serve.py in a process of its own, on a folder with a few small films."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, 0
        self.start()

    def start(self) -> None:
        """Start it, the second time on the port of the first."""
        self.log = (self.folder / "server.log").open("w+")
        command = [sys.executable, str(ROOT / "serve.py"), *SETTINGS, f"port={self.port}"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"http://\S+:(\d+)/", (self.folder / "server.log").read_text())
            if found:
                self.url, self.port = found[0], int(found[1])
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(urllib.parse.urljoin(self.url, path)) as answer:
            content: bytes = answer.read()
            return gzip.decompress(content) if answer.headers["Content-Encoding"] == "gzip" else content

    def film(self, name: str) -> dict[str, Any]:
        films = json.loads(self.get("/api/films"))["films"]
        return next(film for film in films if film["name"] == name)

    def mask(self, name: str, of: str = "current") -> np.ndarray:
        """The label map that the server has, (H, W)."""
        film = self.film(name)
        size = film["height_px"], film["width_px"]
        return np.frombuffer(self.get(f"/api/films/{film['id']}/mask?of={of}"), np.uint8).reshape(size)

    def corrected(self, name: str) -> np.ndarray:
        """The label map that is on disk among the corrections."""
        (path,) = (self.folder / "out/corrections/masks").glob(f"{Path(name).stem}*.png")
        return read_indices(path)


def read_indices(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture)


class Reviewer:
    """A tab of the browser, with what a person does in it."""

    def __init__(self, page: Page, server: Server):
        self.page, self.server = page, server
        page.set_default_timeout(WAIT_MS)

    def open(self, name: str) -> None:
        """Open a film at one screen pixel to a pixel; ``left`` and ``top`` are then its corner on the screen."""
        self.page.locator("#queue button", has_text=name).click()
        expect(self.page.locator("#viewer")).to_have_attribute("aria-label", f"Radiograph {name}")
        expect(self.page.locator("body")).to_have_attribute("data-film", "", timeout=WAIT_MS)
        self.page.locator("#actual").click()
        self.find_corner()

    def find_corner(self) -> None:
        """Read from the page which pixel is under the middle of the screen."""
        box = self.page.locator("#viewer").bounding_box()
        assert box
        x, y = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
        self.page.mouse.move(x, y)
        expect(self.page.locator("#readout")).not_to_be_empty()
        column, row = re.findall(r"\d+", self.page.locator("#readout").inner_text())[:2]
        self.left, self.top = x - int(column), y - int(row)

    def open_learning(self) -> Locator:
        """Load the page anew and, once it shows its films, open the dialog of learning."""
        self.page.reload()
        expect(self.page.locator("#queue li").first).to_be_visible()
        self.page.get_by_role("button", name="Learn").click()
        return self.page.get_by_role("dialog", name="Learn from the corrections")

    def tool(self, name: str) -> None:
        self.page.locator("#tools").get_by_role("button", name=name, exact=True).click()

    def choose(self, name: str) -> None:
        """Choose one of the tool's options: a lung, or to add or take away."""
        self.page.locator("#options").get_by_role("radio", name=name).check()

    def draw(self, points: list[tuple[int, int]]) -> None:
        """Drag along points of the film, (column, row) each."""
        mouse = self.page.mouse
        for index, (x, y) in enumerate(points):
            mouse.move(self.left + x, self.top + y)
            if index == 0:
                mouse.down()
        mouse.up()

    def click(self, point: tuple[int, int]) -> None:
        self.page.mouse.click(self.left + point[0], self.top + point[1])

    @property
    def size(self) -> int:
        """Diameter of the brush in pixels of the film."""
        return int(self.page.locator("#size-text").inner_text().split()[0])

    @property
    def picture(self) -> str:
        """The film as it is painted, when nothing is left to paint."""
        return str(
            self.page.evaluate(
                """async () => {
                    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
                    return document.querySelector("#film").toDataURL();
                }"""
            )
        )

    def wait_until_saved(self) -> None:
        expect(self.page.locator("#saving")).to_have_attribute("data-state", "saved", timeout=WAIT_MS)

    def drop(self, files: dict[str, bytes]) -> None:
        """Drop files on the page."""
        self.page.evaluate(
            """(files) => {
                const transfer = new DataTransfer();
                for (const [name, bytes] of Object.entries(files)) {
                    transfer.items.add(new File([new Uint8Array(bytes)], name));
                }
                document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
            }""",
            {name: list(content) for name, content in files.items()},
        )


def film_bytes(seed: int, height_px: int = 240, width_px: int = 300) -> bytes:
    """A generated radiograph as PNG."""
    return bytes(cv2.imencode(".png", draw_phantom(seed, height_px, width_px).image)[1])


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install chromium): the page is not tested in a browser")
    folder = tmp_path_factory.mktemp("page")
    (folder / "films").mkdir()
    for seed, name in enumerate(("draw.png", "tools.png", "killed.png", "tabs.png", "keys.png")):
        (folder / "films" / name).write_bytes(film_bytes(seed))
    large = cv2.resize(draw_phantom(9, 489, 402).image, (4020, 4892), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(folder / "films" / "large.png"), large, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    server = Server(folder)
    yield server
    server.kill()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def context(browser: Browser) -> BrowserContext:
    return browser.new_context(viewport={"width": 1280, "height": 800})


@pytest.fixture
def open_tab(server: Server, context: BrowserContext) -> Iterator[Callable[[], Reviewer]]:
    """Opens tabs; afterwards no script of theirs has failed, and none has asked another host."""
    problems: list[str] = []
    own = (server.url, "blob:", "data:")

    def open_one() -> Reviewer:
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(own) or problems.append(request.url))
        page.goto(server.url)
        return Reviewer(page, server)

    yield open_one
    for page in context.pages:
        page.close()
    assert not problems


@pytest.fixture
def tab(open_tab: Callable[[], Reviewer]) -> Reviewer:
    return open_tab()
