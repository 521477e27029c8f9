"""The page's modules without the page: pixels of masks, held by NumPy and SciPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page
from scipy import ndimage

from tests.page.browser.conftest import Server
from tests.page.browser.geometry import brush_stroke, inside_polygon

SHAPE = (90, 110)


@pytest.fixture
def page(server: Server, context: BrowserContext) -> Iterator[Page]:
    """A page of the server that runs no script of its own: modules are imported by the tests."""
    page = context.new_page()
    page.goto(f"{server.url}static/icon.svg")
    yield page
    page.close()


def run(page: Page, body: str, mask: np.ndarray, **given: Any) -> np.ndarray:
    """Run JavaScript on a mask; what it leaves in the mask."""
    height_px, width_px = mask.shape
    values = page.evaluate(
        f"""async ({{ width, height, bytes, given }}) => {{
            const names = ["mask", "brush", "polygon", "components"];
            const loaded = await Promise.all(names.map((name) => import(`/static/${{name}}.js`)));
            const {{ Mask, History, drawSegment, fillPolygon, ...components }} = Object.assign({{}}, ...loaded);
            const mask = new Mask(width, height, Uint8Array.from(bytes));
            {body}
            return [...mask.bytes];
        }}""",
        {"width": width_px, "height": height_px, "bytes": mask.ravel().tolist(), "given": given},
    )
    return np.array(values, np.uint8).reshape(mask.shape)


def random_mask(seed: int) -> np.ndarray:
    """Ragged areas of both labels, with holes and islands."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.5)
    labels = np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, 1, 2)
    return np.where(field > 0, labels, 0).astype(np.uint8)


def test_brush_sets_the_pixels_of_a_line_with_round_ends(page: Page) -> None:
    rng = np.random.default_rng(0)
    strokes = [(radius, rng.integers(-20, 130, (5, 2)).tolist()) for radius in (0.5, 1, 3.5, 12, 40)]
    strokes.append((5, [[30.5, 30.5], [60.5, 30.5]]))  # centres of pixels at exactly this distance belong to it
    for radius, points in strokes:
        body = """given.points.slice(1).forEach(([x, y], index) => {
            const [fromX, fromY] = given.points[index];
            drawSegment(mask, { x: fromX, y: fromY }, { x, y }, given.radius, 2);
        });"""
        drawn = run(page, body, np.zeros(SHAPE, np.uint8), points=points, radius=radius)
        assert np.array_equal(drawn == 2, brush_stroke(SHAPE, points, 2 * radius)), (radius, points)


def test_polygon_sets_the_pixels_inside_it(page: Page) -> None:
    rng = np.random.default_rng(1)
    for count in (3, 4, 9):
        points = [tuple(point) for point in rng.uniform(-20, 130, (count, 2)).tolist()]
        body = "fillPolygon(mask, given.points.map(([x, y]) => ({ x, y })), 1);"
        drawn = run(page, body, np.zeros(SHAPE, np.uint8), points=points)
        assert np.array_equal(drawn == 1, inside_polygon(SHAPE, points))


def test_undo_and_redo_return_to_every_mask_there_was(page: Page) -> None:
    body = """const history = new History(mask);
        const states = [mask.bytes.slice()];
        for (const [x, y, label] of given.dabs) {
            history.record(drawSegment(mask, { x, y }, { x: y, y: x }, 9, label, true));
            states.push(mask.bytes.slice());
        }
        const isState = (index) => states[index].every((label, at) => label === mask.bytes[at]);
        for (let index = states.length - 2; index >= 0; index -= 1) {
            history.undo();
            if (!isState(index)) throw new Error(`undo to ${index}`);
        }
        if (history.undo() !== null) throw new Error("undo of nothing");
        for (let index = 1; index < states.length; index += 1) {
            history.redo();
            if (!isState(index)) throw new Error(`redo to ${index}`);
        }
        history.undo();
        history.record(drawSegment(mask, { x: 30, y: 30 }, { x: 30, y: 30 }, 3, 1, true));
        if (history.redo() !== null) throw new Error("redo after a new stroke");
        history.undo();
        if (!isState(states.length - 2)) throw new Error("undo of a stroke after an undo");"""
    dabs = [[20, 30, 1], [40, 60, 2], [70, 30, 0], [30, 30, 2]]
    run(page, body, random_mask(2), dabs=dabs)


def test_holes_of_each_lung_are_filled(page: Page) -> None:
    mask = random_mask(3)
    expected = mask.copy()
    for label in (1, 2):
        expected[ndimage.binary_fill_holes(mask == label) & (mask == 0)] = label
    assert np.array_equal(run(page, "components.fillHoles(mask);", mask), expected)
    assert not np.array_equal(mask, expected)


def test_component_of_one_lung_is_deleted(page: Page) -> None:
    mask = random_mask(4)
    parts, count = ndimage.label(mask == 2, np.ones((3, 3)))
    assert count > 2
    for part in range(1, count + 1):
        row, column = np.argwhere(parts == part)[0].tolist()
        left = run(page, "components.deleteComponent(mask, given.x + 0.5, given.y + 0.5);", mask, x=column, y=row)
        assert np.array_equal(left, np.where(parts == part, 0, mask))


def test_smooth_takes_the_majority_around_each_pixel(page: Page) -> None:
    mask, radius = random_mask(5), 2
    size = 2 * radius + 1
    right, left = (
        ndimage.uniform_filter((mask == label) * float(size**2), size, mode="nearest").round() for label in (1, 2)
    )
    expected = np.where(right + left < size**2 / 2, 0, np.where(right >= left, 1, 2))
    assert np.array_equal(run(page, "components.smooth(mask, 2);", mask), expected)


def test_nearest_side_is_that_of_the_nearest_lung_or_of_the_half(page: Page) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    body = "mask.bytes.fill(components.nearestSide(mask, given.x, given.y));"
    assert run(page, body, mask, x=10, y=50)[0, 0] == 1  # the patient's right lung is on the image's left
    assert run(page, body, mask, x=90, y=50)[0, 0] == 2
    mask[10:80, 20:40], mask[10:80, 45:60] = 2, 1
    assert run(page, body, mask, x=5, y=50)[0, 0] == 2
    assert run(page, body, mask, x=41, y=50)[0, 0] == 2
    assert run(page, body, mask, x=100, y=50)[0, 0] == 1


def test_window_and_level_show_16_bits_without_changing_them(page: Page) -> None:
    shown = page.evaluate(
        """async () => {
            const { Film, windowTable } = await import("/static/film.js");
            const pixels = Uint16Array.from({ length: 600 * 4 }, (_, index) => index * 27);
            const film = new Film(600, 4, pixels, 0, 64773);
            const table = windowTable(film.largest, 1000, 2000, false);
            const inverted = windowTable(film.largest, 1000, 2000, true);
            const isSame = pixels.every((value, index) => value === index * 27);
            const values = [999, 1000, 1500, 2000, 65535].map((value) => table[value]);
            return [isSame, ...values, inverted[1000], film.levels[1].pixels[0]];
        }"""
    )
    assert shown == [True, 0, 0, 128, 255, 255, 255, round((0 + 27 + 600 * 27 + 601 * 27) / 4)]
