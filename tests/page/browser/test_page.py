"""What the page shows and how it is used, apart from drawing."""

import json
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np
from playwright.sync_api import Route, expect

from tests.page.browser.conftest import WAIT_MS, Reviewer, Server

RUNNING = {
    "state": "running",
    "epoch": 2,
    "epochs": 8,
    "seconds": 20,
    "remaining_s": 60,
    "message": "Training on 9 corrected films.",
    "curve": [{"epoch": 1, "loss": 0.5, "val_dice": 0.9}, {"epoch": 2, "loss": 0.25, "val_dice": 0.95}],
    "comparison": None,
}
COMPARISON = {
    "films": 6,
    "old": {"dice": 0.9384, "ci": [0.921, 0.952]},
    "new": {"dice": 0.9371, "ci": [0.92, 0.95]},
    "helps": False,
    "text": "The new network is no better on the films put aside.",
    "weights": "new.ckpt",
}
FINISHED = RUNNING | {"state": "finished", "epoch": 8, "message": COMPARISON["text"], "comparison": COMPARISON}


def test_learning_shows_its_progress_and_compares_before_anything_is_replaced(tab: Reviewer) -> None:
    page, used = tab.page, []

    def use(route: Route) -> None:
        used.append(route.request.url)
        route.fulfill(json={"network": {"name": "new.ckpt", "hash": "0123456789"}})

    page.route("**/api/learning/use*", use)
    for state in (RUNNING, FINISHED):
        page.unroute("**/api/learning")
        page.route("**/api/learning", answer_with(state))
        dialog = tab.open_learning()
        if state is RUNNING:
            expect(dialog).to_contain_text("Epoch 2 of 8 · about 60 s left · Training on 9 corrected films.")
            expect(dialog.get_by_role("img", name="Loss: 0.500 to 0.250 after 2 epochs")).to_be_visible()
    expect(dialog).to_contain_text("It does not help")
    expect(dialog.get_by_role("row", name="Old network 0.9384 0.9210 to 0.9520")).to_be_visible()
    expect(dialog.get_by_role("row", name="New network 0.9371")).to_be_visible()
    assert used == []
    dialog.get_by_role("button", name="Use the new network").click()
    expect(page.locator("#network")).to_have_text("Network new.ckpt, 01234567")
    assert len(used) == 1


def answer_with(state: dict[str, Any]) -> Callable[[Route], None]:
    return lambda route: route.fulfill(json=state)


def test_what_the_server_refuses_to_learn_from_is_said(tab: Reviewer) -> None:
    tab.page.route("**/api/films", lambda route: route.fulfill(json=with_a_corrected(route)))
    dialog = tab.open_learning()
    dialog.get_by_role("textbox", name="Folder of your own set").fill("/nowhere")
    dialog.get_by_role("button", name="Start learning").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()


def with_a_corrected(route: Route) -> dict[str, object]:
    answer = route.fetch().json()
    answer["films"][0]["state"] = "corrected"
    return dict(answer)


def test_patient_data_are_asked_for_only_by_the_button(tab: Reviewer) -> None:
    page, asked = tab.page, []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        shown = route.fetch().json()
        route.fulfill(json=shown | {"header": {"PatientName": "Doe^Jane"}})

    page.route("**/api/films/*?header=true", answer)
    tab.open("tools.png")
    expect(page.locator("#facts")).to_contain_text("Measurements")
    assert asked == []
    page.get_by_role("button", name="Show patient data").click()
    expect(page.get_by_role("row", name="Patient name Doe^Jane")).to_be_visible()
    tab.open("draw.png")
    expect(page.get_by_text("Doe^Jane")).to_have_count(0)


def test_measurements_follow_the_mask(tab: Reviewer, server: Server) -> None:
    def answer_late(route: Route) -> None:  # after the event that says that the film was saved
        answer = route.fetch()
        time.sleep(0.5)
        route.fulfill(response=answer)

    tab.open("draw.png")
    tab.page.route(re.compile(r"/api/films/[^/]+$"), answer_late)
    tab.tool("Brush")
    tab.choose("Left")
    tab.draw([(200, 200), (260, 200)])
    tab.wait_until_saved()
    area = int((server.mask("draw.png") == 2).sum())
    expect(tab.page.get_by_role("row", name="Left lung")).to_contain_text(f"{area:,} px".replace(",", "\u2009"))
    expect(tab.page.locator("#facts")).to_contain_text("300 × 240 px, 8 bits, pixel spacing not known: no mm²")


def test_looks_right_goes_on_to_the_next_film_that_nobody_has_seen(tab: Reviewer, server: Server) -> None:
    page = tab.page
    tab.open("tools.png")
    states = {film["name"]: film["state"] for film in json.loads(server.get("/api/films"))["films"]}
    page.get_by_role("button", name="Looks right").click()
    expect(page.locator("#viewer")).not_to_have_attribute("aria-label", "Radiograph tools.png")
    assert server.film("tools.png")["state"] in ("looked", "corrected")
    shown = str(page.locator("#viewer").get_attribute("aria-label")).removeprefix("Radiograph ")
    assert states[shown] in ("new", "warned")


def test_two_fingers_zoom_and_draw_nothing(tab: Reviewer, server: Server) -> None:
    tab.open("tools.png")
    before = server.mask("tools.png")
    tab.tool("Brush")
    tab.choose("Left")
    touch = tab.page.context.new_cdp_session(tab.page)

    def send(kind: str, *points: tuple[int, int]) -> None:
        given = [{"x": tab.left + x, "y": tab.top + y, "id": index} for index, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})

    send("touchStart", (100, 100))
    send("touchMove", (110, 104))
    send("touchStart", (110, 104), (150, 104))
    send("touchMove", (90, 104), (170, 104))
    send("touchEnd")
    expect(tab.page.locator("#zoom-text")).to_have_text("200 %")
    expect(tab.page.locator("#undo")).to_be_disabled()
    tab.page.keyboard.press("Control+s")
    tab.wait_until_saved()
    assert np.array_equal(server.mask("tools.png"), before)


def test_an_empty_page_says_what_to_do(tab: Reviewer) -> None:
    tab.page.route("**/api/films", lambda route: route.fulfill(json={"films": []}))
    tab.page.reload()
    expect(tab.page.get_by_role("heading", name="Drop chest radiographs here")).to_be_visible()
    expect(tab.page.get_by_role("button", name="Choose a folder")).to_be_visible()
    expect(tab.page.get_by_text("Nothing leaves this machine. Not a medical device")).to_be_visible()


def test_every_control_has_a_name_and_a_place_on_the_screen(tab: Reviewer) -> None:
    tab.open("tools.png")
    for width, height in ((1280, 800), (1024, 768)):
        tab.page.set_viewport_size({"width": width, "height": height})
        nameless, outside = tab.page.evaluate(
            """() => {
                const all = [...document.querySelectorAll("button, input, [tabindex]")];
                const shown = all.filter((each) => each.checkVisibility());
                const textOf = (each) => each?.textContent.trim();
                const nameOf = (each) => each.ariaLabel || textOf(each) || textOf(each.labels?.[0]);
                const isOutside = (each) => {
                    const { left, top, right, bottom } = each.getBoundingClientRect();
                    const isCut = each.scrollWidth > each.clientWidth + 1;
                    return isCut || left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
                };
                const outside = shown.filter((each) => !each.closest("nav") && isOutside(each));
                return [shown.filter((each) => !nameOf(each)).map((each) => each.outerHTML), outside.map(nameOf)];
            }"""
        )
        assert nameless == []
        assert outside == []


def test_the_server_gets_the_time_spent(tab: Reviewer) -> None:
    tab.open("tools.png")
    with tab.page.expect_request("**/mask?seconds=*") as saving:
        tab.page.get_by_role("button", name="Swap sides").click()
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(saving.value.url).query)
    assert 0 < float(query["seconds"][0]) < WAIT_MS / 1000
    tab.wait_until_saved()
