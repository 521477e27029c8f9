"""Measure the page in a real browser: frame times while drawing, time from drop to contour, and correcting bad masks.

Example: python benchmarks/page.py

Needs chromium and playwright's Python package (requirements-dev.txt). All films are generated.
"""

import base64
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isqrt
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package need not be installed

from lung_seg.raw.phantom.draw_phantom import draw_phantom  # noqa: E402

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LARGE_PX = (4892, 4020)  # height and width of a film of the Montgomery set
BAD_MASKS, GOAL_IOU = 5, 0.97
HAND_PX_PER_S = 300  # of the scripted pointer along an outline, on the screen
STEP_PX = 6

# Counts the intervals between frames, and how long scripts ran for each of them.
PROBE = """
window.frames_ms = [];
window.work_ms = [];
let work = 0, last = null;
const timed = (run) => (...given) => {
    const start = performance.now();
    const result = run(...given);
    work += performance.now() - start;
    return result;
};
const request = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (run) => request(timed(run));
const listen = EventTarget.prototype.addEventListener;
EventTarget.prototype.addEventListener = function (name, run, options) {
    listen.call(this, name, name.startsWith("pointer") ? timed(run) : run, options);
};
const tick = (now) => {
    if (last !== null) { window.frames_ms.push(now - last); window.work_ms.push(work); }
    [work, last] = [0, now];
    request(tick);
};
request(tick);
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """serve.py on a folder; its address."""
    log = folder / "server.log"
    with log.open("w") as file:
        command = [sys.executable, str(ROOT / "serve.py"), "output=out", "browser=false", "port=0"]
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        while not (found := re.search(r"http://\S+/", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield found[0]
        process.terminate()
        process.wait()


def drop(page: Page, name: str, content: bytes) -> float:
    """Drop a film on the page; seconds until it is shown with its contour."""
    start = time.perf_counter()
    page.evaluate(
        """async ([name, text]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.locator("#queue li", has_text=name).locator(".quality").wait_for()
    page.locator("#queue button", has_text=name).click()
    page.locator(f"[aria-label='Radiograph {name}']").wait_for()
    page.locator("body[data-film]").wait_for()
    return time.perf_counter() - start


def measure_drawing(page: Page, seconds: float = 6.0) -> dict[str, float]:
    """Draw spirals with a wide brush on the film that is open: intervals between frames, and the work for each."""
    box = page.locator("#viewer").bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.press("b")
    page.keyboard.press("1")
    for _ in range(12):
        page.keyboard.press("]")
    page.mouse.move(*middle)
    page.mouse.down()
    page.evaluate("frames_ms.length = work_ms.length = 0")
    until, angle = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < until:
        angle += 0.15
        radius = 40 + 150 * abs(np.sin(angle / 20))
        page.mouse.move(middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle))
    frames, work = page.evaluate("[frames_ms, work_ms]")
    page.mouse.up()
    page.locator("#saving[data-state=saved]").wait_for()
    return {
        "frames": len(frames),
        "median interval, ms": median(frames),
        "95th percentile of intervals, ms": float(np.percentile(frames, 95)),
        "median work of a frame, ms": median(work),
        "95th percentile of work, ms": float(np.percentile(work, 95)),
        "frames whose work exceeds 16.7 ms, %": 100 * float(np.mean(np.array(work) > 16.7)),
    }


def labels_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Film and true label map of a phantom, (H, W)."""
    phantom = draw_phantom(seed, 1024, 1024)
    return phantom.image, phantom.right_mask + np.uint8(2) * phantom.left_mask


def spoil(labels: np.ndarray, seed: int) -> np.ndarray:
    """A bad mask: the base of a lung is missing, a blob is too much, a bite is taken out of the other lung."""
    rng = np.random.default_rng(seed)
    bad = labels.copy()
    first, second = rng.permutation([1, 2]).tolist()
    rows, columns = np.nonzero(bad == first)
    bad[(bad == first) & (np.arange(len(bad))[:, None] > np.quantile(rows, 0.82))] = 0
    cv2.circle(bad, (int(columns.mean()) + 40, int(rows.max()) + 20), 60, first, -1)
    rows, columns = np.nonzero(bad == second)
    cv2.circle(bad, (int(columns.min()), int(rows.mean())), 80, 0, -1)
    return bad


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Mean IoU of the two lungs of label maps."""
    pairs = [(one == side, other == side) for side in (1, 2)]
    return float(np.mean([np.sum(a & b) / np.sum(a | b) for a, b in pairs]))


def wrong_areas(labels: np.ndarray, truth: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Contours of what has the wrong label, each with its true one."""
    areas = [((truth == side) & (labels != side), side) for side in (1, 2)] + [((truth == 0) & (labels > 0), 0)]
    return [
        (contour, side)
        for area, side in areas
        for contour in cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    ]


def correct(page: Page, shown: Callable[[], np.ndarray], truth: np.ndarray) -> tuple[int, float]:
    """Go around the largest wrong area with the lasso until the mask is good; strokes and seconds."""
    box = page.locator("#viewer").bounding_box()
    assert box
    scale = min(box["width"], box["height"]) / len(truth)
    left, top = box["x"] + (box["width"] - scale * len(truth)) / 2, box["y"] + (box["height"] - scale * len(truth)) / 2
    strokes, start = 0, time.perf_counter()
    page.keyboard.press("l")
    while iou(labels := shown(), truth) < GOAL_IOU and strokes < 12:
        contour, side = max(wrong_areas(labels, truth), key=lambda found: cv2.contourArea(found[0]))
        if (page.locator("[name=mode][value=add]").is_checked()) != (side > 0):
            page.keyboard.press("x")
        if side:
            page.keyboard.press(str(side))
        points = contour[:: max(1, round(STEP_PX / scale)), 0] + 0.5
        for index, (x, y) in enumerate([*points, points[0]]):
            page.mouse.move(left + x * scale, top + y * scale)
            if index == 0:
                page.mouse.down()
            time.sleep(STEP_PX / HAND_PX_PER_S)
        page.mouse.up()
        page.locator("#saving[data-state=saved]").wait_for()
        strokes += 1
    return strokes, time.perf_counter() - start


def measure_corrections(page: Page, url: str) -> None:
    """Give generated films bad masks, and correct them."""
    for seed in range(BAD_MASKS):
        image, truth = labels_of(100 + seed)
        name = f"bad{seed}.png"
        drop(page, name, png(image))
        film = next(each for each in page.request.get(f"{url}api/films").json()["films"] if each["name"] == name)
        place = f"{url}api/films/{film['id']}/mask"
        session = page.request.get(f"{url}api/session").json()["session"]
        bad = spoil(truth, seed)
        page.request.put(place, data=bad.tobytes(), headers={"X-Session": session, "If-Match": f'"{film["revision"]}"'})
        page.reload()
        page.locator("#queue button", has_text=name).click()
        page.locator("body[data-film]").wait_for()
        strokes, seconds = correct(page, partial(mask_of, page, place), truth)
        before, after = iou(bad, truth), iou(mask_of(page, place), truth)
        report(f"{name}: IoU {before:.3f} to {after:.3f}, {strokes} strokes, {seconds:.1f} s")


def mask_of(page: Page, place: str) -> np.ndarray:
    """The label map that the server has of a square film."""
    labels = np.frombuffer(page.request.get(place).body(), np.uint8)
    return labels.reshape(isqrt(labels.size), -1)


def png(image: np.ndarray) -> bytes:
    """The image as a PNG file."""
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def report(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print all measurements."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    small = draw_phantom(7, LARGE_PX[0] // 8, LARGE_PX[1] // 8).image
    large = cv2.resize(small, LARGE_PX[::-1])
    with TemporaryDirectory() as folder, served(Path(folder)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(PROBE)
        page.goto(url)
        for name, image in (("small.png", labels_of(6)[0]), ("large.png", large)):
            report(f"drop to contour, {image.shape[1]} x {image.shape[0]}: {drop(page, name, png(image)):.2f} s")
        for name, value in measure_drawing(page).items():
            report(f"drawing, {name}: {value:.1f}")
        measure_corrections(page, url)
        browser.close()


if __name__ == "__main__":
    main()
