"""A person at the page: adding films, drawing, saving, and what goes wrong meanwhile."""

import re
from collections.abc import Callable

import numpy as np
from playwright.sync_api import expect

from tests.page.browser.conftest import WAIT_MS, Reviewer, Server, film_bytes
from tests.page.browser.geometry import brush_stroke, inside_polygon

RIGHT, LEFT = 1, 2
STROKE = [(70, 60), (110, 90), (108, 150), (60, 151)]


def drawn_right(before: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """The mask after the right lung was chosen and drawn."""
    return np.where(stroke, RIGHT, before)


def test_what_is_drawn_on_a_dropped_film_is_saved_bit_for_bit(tab: Reviewer, server: Server) -> None:
    tab.drop({"dropped.png": film_bytes(11), "corrupt.png": b"\x89PNG\r\n\x1a\nno image", "notes.txt": b"no film"})
    row = tab.page.locator("#queue li", has_text="dropped.png")
    expect(row.locator(".quality")).to_be_visible(timeout=WAIT_MS)
    tab.open("dropped.png")
    before = server.mask("dropped.png")
    tab.tool("Brush")
    tab.choose("Right")
    tab.draw(STROKE)
    tab.wait_until_saved()
    first = drawn_right(before, brush_stroke(before.shape, STROKE, tab.size))
    assert np.array_equal(server.corrected("dropped.png"), first)
    assert first.sum() != before.sum()

    tab.draw([(200, 100), (220, 180)])
    tab.page.keyboard.press("Control+z")
    tab.wait_until_saved()
    assert np.array_equal(server.corrected("dropped.png"), first)
    tab.page.keyboard.press("Control+y")
    tab.wait_until_saved()
    second = drawn_right(first, brush_stroke(before.shape, [(200, 100), (220, 180)], tab.size))
    assert np.array_equal(server.corrected("dropped.png"), second)

    tab.page.reload()
    expect(tab.page.locator("#queue li", has_text="dropped.png").locator(".state")).to_have_text("Corrected")
    tab.open("dropped.png")
    tab.tool("Eraser")
    tab.draw([(100, 100), (101, 100)])
    tab.wait_until_saved()
    erased = np.where(brush_stroke(before.shape, [(100, 100), (101, 100)], tab.size), 0, second)
    assert np.array_equal(server.corrected("dropped.png"), erased)


def test_corrupt_films_are_named_and_the_others_are_not_held_up(tab: Reviewer) -> None:
    tab.drop({"broken.png": b"\x89PNG\r\n\x1a\nno image", "fine.png": film_bytes(12)})
    refused = tab.page.locator("#queue li", has_text="broken.png")
    expect(refused.locator(".state")).to_have_text("Refused", timeout=WAIT_MS)
    fine = tab.page.locator("#queue li", has_text="fine.png")
    expect(fine.locator(".quality")).to_be_visible(timeout=WAIT_MS)
    refused.locator("button").click()
    expect(tab.page.locator("#notice")).to_contain_text("broken.png cannot be read")
    fine.locator("button").click()
    expect(tab.page.locator("#notice")).to_be_hidden()


def test_every_tool_changes_the_pixels_that_it_says(tab: Reviewer, server: Server) -> None:
    tab.open("tools.png")
    mask = server.mask("tools.png").copy()
    page = tab.page

    corners = [(20, 20), (80, 25), (75, 70), (22, 60)]
    tab.tool("Polygon")
    tab.choose("Left")
    for corner in corners:
        tab.click(corner)
    page.keyboard.press("Enter")
    tab.wait_until_saved()
    mask[inside_polygon(mask.shape, corners)] = LEFT
    assert np.array_equal(server.mask("tools.png"), mask)

    tab.tool("Lasso")
    tab.choose("Take away")
    tab.draw([(40, 30), (70, 40), (60, 60), (30, 50)])
    tab.wait_until_saved()
    mask[inside_polygon(mask.shape, [(40, 30), (70, 40), (60, 60), (30, 50)])] = 0
    assert np.array_equal(server.mask("tools.png"), mask)

    page.get_by_role("button", name="Fill holes").click()
    tab.wait_until_saved()
    assert (server.mask("tools.png")[inside_polygon(mask.shape, corners)] == LEFT).all()

    page.get_by_role("button", name="Swap sides").click()
    tab.wait_until_saved()
    assert (server.mask("tools.png")[inside_polygon(mask.shape, corners)] == RIGHT).all()

    tab.tool("Delete part")
    tab.click((30, 30))
    tab.wait_until_saved()
    assert (server.mask("tools.png")[inside_polygon(mask.shape, corners)] == 0).all()

    page.get_by_role("button", name="Network’s mask").click()
    expect(page.locator("#live")).to_have_text("The network’s mask is back.")
    tab.wait_until_saved()
    assert np.array_equal(server.mask("tools.png"), server.mask("tools.png", "network"))


def test_new_pixels_belong_to_the_nearest_lung_and_leave_the_other_alone(tab: Reviewer, server: Server) -> None:
    tab.open("tools.png")
    before = server.mask("tools.png").copy()
    rows, columns = np.nonzero(before == LEFT)
    start = (int(columns[rows == rows[len(rows) // 2]].max()) + 8, int(rows[len(rows) // 2]))
    across = [start, (60, start[1])]  # from beyond the left lung to the right one
    tab.tool("Brush")
    tab.draw(across)
    tab.wait_until_saved()
    stroke = brush_stroke(before.shape, across, tab.size)
    assert np.array_equal(server.mask("tools.png"), np.where(stroke & (before == 0), LEFT, before))


def test_view_changes_neither_film_nor_mask(tab: Reviewer, server: Server) -> None:
    tab.open("tools.png")
    page = tab.page
    before = server.mask("tools.png")
    shown = page.locator("#readout").inner_text()
    picture = tab.picture
    middle = re.findall(r"\d+", shown)
    x, y = tab.left + int(middle[0]), tab.top + int(middle[1])
    page.mouse.down(button="right")
    page.mouse.move(x + 150, y - 80)
    page.mouse.up(button="right")
    page.mouse.move(x, y)
    expect(page.locator("#readout")).to_have_text(shown)
    assert tab.picture != picture
    for key in ("c", "i", "i", "o", "o"):
        page.keyboard.press(key)
    assert tab.picture == picture
    page.mouse.wheel(0, -400)
    expect(page.locator("#zoom-text")).not_to_have_text("100 %")
    page.mouse.move(x, y + 200)
    expect(page.locator("#readout")).not_to_have_text(shown)
    page.mouse.move(x, y)
    expect(page.locator("#readout")).to_have_text(shown)  # zoomed to the pointer: the same pixel is under it
    assert np.array_equal(server.mask("tools.png"), before)


def test_20_megapixels_are_saved_bit_for_bit(tab: Reviewer, server: Server) -> None:
    tab.open("large.png")
    before = server.mask("large.png")
    assert before.size == 4892 * 4020
    x, y = 4020 // 2, 4892 // 2
    points = [(x - 200, y - 150), (x + 190, y - 140), (x + 180, y + 170)]
    tab.tool("Brush")
    tab.choose("Right")
    tab.draw(points)
    tab.wait_until_saved()
    window = np.s_[y - 500 : y + 500, x - 500 : x + 500]
    shifted = [(column - x + 500, row - y + 500) for column, row in points]
    expected = before.copy()
    expected[window][brush_stroke((1000, 1000), shifted, tab.size)] = RIGHT
    assert np.array_equal(server.corrected("large.png"), expected)
    assert not np.array_equal(before, expected)


def test_strokes_survive_a_server_that_is_killed(tab: Reviewer, server: Server) -> None:
    tab.open("killed.png")
    before = server.mask("killed.png")
    tab.tool("Brush")
    tab.choose("Right")
    mouse = tab.page.mouse
    mouse.move(tab.left + STROKE[0][0], tab.top + STROKE[0][1])
    mouse.down()
    server.kill()
    for x, y in STROKE[1:]:
        mouse.move(tab.left + x, tab.top + y)
    mouse.up()
    expect(tab.page.locator("#saving")).to_have_attribute("data-state", "retrying")
    expect(tab.page.locator("#alert")).to_contain_text("The server does not answer. Start it again")
    server.start()
    tab.wait_until_saved()
    expect(tab.page.locator("#alert")).to_be_hidden()
    drawn = drawn_right(before, brush_stroke(before.shape, STROKE, tab.size))
    assert np.array_equal(server.corrected("killed.png"), drawn)


def test_the_second_of_two_tabs_is_asked(open_tab: Callable[[], Reviewer], server: Server) -> None:
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.page.bring_to_front()
        tab.open("tabs.png")
        tab.tool("Brush")
        tab.choose("Right")
    before = server.mask("tabs.png")
    # The second tab cannot save until the first one has: as if both had drawn at the same moment.
    second.page.route("**/mask?seconds=*", lambda route: route.abort())
    second.draw([(200, 60), (220, 60)])
    first.page.bring_to_front()
    first.draw(STROKE)
    first.wait_until_saved()
    theirs = drawn_right(before, brush_stroke(before.shape, STROKE, first.size))
    second.page.bring_to_front()
    second.page.unroute("**/mask?seconds=*")
    dialog = second.page.get_by_role("dialog", name="Saved elsewhere meanwhile")
    expect(dialog).to_be_visible(timeout=WAIT_MS)
    assert np.array_equal(server.mask("tabs.png"), theirs)  # nothing is overwritten before the choice
    dialog.get_by_role("button", name="Show the other").click()
    second.wait_until_saved()
    second.page.keyboard.press("Control+z")
    second.wait_until_saved()
    mine = drawn_right(before, brush_stroke(before.shape, [(200, 60), (220, 60)], second.size))
    assert np.array_equal(server.mask("tabs.png"), mine)
    first.page.bring_to_front()
    expect(first.page.locator("#alert")).to_contain_text("This film was saved elsewhere meanwhile")


def test_keyboard_alone_reviews_and_corrects(tab: Reviewer, server: Server) -> None:
    page = tab.page
    expect(page.locator("body")).to_have_attribute("data-film", "", timeout=WAIT_MS)
    while "keys.png" not in str(page.locator("#viewer").get_attribute("aria-label")):
        label = str(page.locator("#viewer").get_attribute("aria-label"))
        page.keyboard.press("j")
        expect(page.locator("#viewer")).not_to_have_attribute("aria-label", label)
    expect(page.locator("body")).to_have_attribute("data-film", "", timeout=WAIT_MS)
    before = server.mask("keys.png")
    page.locator("#viewer").focus()
    for key in ("9", "b", "1", *["["] * 3, "Alt+ArrowLeft"):
        page.keyboard.press(key)
    middle = (before.shape[1] // 2 + 0.5 - 1, before.shape[0] // 2 + 0.5)
    page.keyboard.press("Space")
    for _ in range(3):
        page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Space")
    tab.wait_until_saved()
    points = [(middle[0], middle[1] + step) for step in range(4)]
    drawn = drawn_right(before, brush_stroke(before.shape, points, tab.size))
    assert np.array_equal(server.corrected("keys.png"), drawn)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).not_to_have_attribute("aria-label", "Radiograph keys.png")
