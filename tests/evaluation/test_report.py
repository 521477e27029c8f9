import base64
import copy
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lung_seg.evaluation.report import write_report

METRICS = ("accuracy", "dice", "iou", "precision", "recall", "bce", "delivered_dice", "hd95_px", "assd_px")
IN_MM = {"hd95_mm": None, "assd_mm": None}  # no spacing is known
HOSTILE = '<script>alert("1")</script>&amp'


def case(case_id: str, dice: float, source: str = "montgomery", tb_label: int | None = 0) -> dict[str, Any]:
    return {
        "case_id": case_id,
        "source": source,
        "tb_label": tb_label,
        **dict.fromkeys(METRICS, 0.5),
        **IN_MM,
        "dice": dice,
    }


def group(cases: int, dice: float = 0.9) -> dict[str, Any]:
    scores = {name: {"mean": dice, "low": dice - 0.01, "high": dice + 0.01} for name in METRICS}
    counts = {"cases": cases, "patients": cases, "cases_with_spacing": 0}
    return {**counts, "pooled_dice": 0.8765, "surface_failed": 3, **scores, **IN_MM}


CASES = [
    case("good", 0.9871),
    case("bad", 0.4312, "shenzhen", 1),
    case("middling", 0.9012, "shenzhen", None),
    case("fine", 0.9523),
]
OVERLAYS = {row["case_id"]: np.full((40, 30, 3), index, np.uint8) for index, row in enumerate(CASES)}
CURVES = [
    {"epoch": 0, "train/learning_rate": 0.001, "train/loss": 0.6, "train/dice": 0.5},
    {"epoch": 0, "validation/loss": 0.5, "validation/dice": math.nan},
    {"epoch": 1, "train/learning_rate": 0.0005, "train/loss": 0.3, "train/dice": 0.8},
    {"epoch": 1, "validation/loss": 0.4, "validation/dice": 0.7},
]
SUMMARY: dict[str, Any] = {
    "title": "U-Net on two hospitals",
    "command": "python train.py data=montgomery",
    "checkpoint": "runs/train/now/checkpoints/best.ckpt",
    "split": "test",
    "seen_in_training": 0,
    "data": {
        "name": "two-256",
        "manifest_sha256": "abc123",
        "cases": {"train": 9, "validation": 2, "test": 4},
    },
    "scores": {
        "all": group(4, 0.9345),
        "source": {"montgomery": group(2), "shenzhen": group(2)},
        "tb_label": {"normal": group(2), "tuberculosis": group(1), "unknown": group(1)},
    },
    "training": {
        "epochs": 2,
        "steps": 20,
        "seconds": 754.0,
        "images_per_s": 8.7,
        "best_epoch": 1,
        "validation_dice": 0.7,
    },
    "seed": 42,
    "config": {"seed": 42, "resume": None, "model": {"depth": 4, "inner": {"betas": [0.9, 0.999]}}},
    "versions": {"torch": "2.13.0"},
    "git_revision": "f00ba4",
}


class Page(HTMLParser):
    """The page as a browser takes it apart: text, tags, addresses of resources."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses = "", [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def write(path: Path, **changes: Any) -> str:
    parts = {"summary": SUMMARY, "cases": CASES, "curves": CURVES, "overlays": OVERLAYS} | changes
    write_report(path / "report.html", **parts)
    return (path / "report.html").read_text(encoding="utf-8")


def evaluation() -> dict[str, Any]:
    return SUMMARY | {"training": None, "seed": None, "git_revision": None}


def test_the_report_needs_nothing_from_the_network(tmp_path: Path) -> None:
    html = write(tmp_path)
    page = Page(html)
    links = {address for address in page.addresses if not address.startswith(("data:image/png;base64,", "#"))}
    assert links == {f"overlays/{case_id}.png" for case_id in OVERLAYS}, "files of its own folder"
    assert all(f'<a href="{link}">' in html for link in links)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_verdict_says_what_was_trained_on_what_and_how_it_scored(tmp_path: Path) -> None:
    text = " ".join(Page(write(tmp_path)).text.split())
    assert "Trained on 9 radiographs of two-256 for 2 epochs in 13 min" in text
    assert "On 4 test cases of two-256, which were not used in training" in text
    assert re.search(r"mean Dice of 0\.93[45] \(95\s% interval 0\.92[45] to 0\.94[45]\)", text)
    assert "the worst case, bad, has a Dice of 0.431" in text
    assert "Not a medical device." in text


def test_every_case_and_every_group_is_in_a_table(tmp_path: Path) -> None:
    text = Page(write(tmp_path)).text
    for expected in ("0.9871", "0.4312", "0.9012", "0.9523", "0.9345", "0.8765", "shenzhen", "tuberculosis"):
        assert expected in text


def test_a_group_without_cases_is_left_out_and_no_nan_is_shown(tmp_path: Path) -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["scores"]["tb_label"]["tuberculosis"] = group(0, math.nan)
    text = Page(write(tmp_path, summary=summary, cases=[case("good", 0.9)])).text
    assert "tuberculosis" not in text
    assert "nan" not in text.lower()


def test_worst_cases_come_first_and_best_cases_best_first(tmp_path: Path) -> None:
    addresses = [url for url in Page(write(tmp_path)).addresses if url.startswith("data:")]
    images = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) for url in addresses]
    shown = [CASES[np.asarray(image)[0, 0, 0]]["case_id"] for image in images]
    assert shown == ["bad", "middling", "good", "fine"]


def test_large_overlays_are_shrunk(tmp_path: Path) -> None:
    html = write(tmp_path, overlays={"good": np.zeros((2000, 1000, 3), np.uint8)})
    url = next(url for url in Page(html).addresses if url.startswith("data:"))
    assert Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).size == (320, 640)


def test_hostile_names_are_shown_and_not_run(tmp_path: Path) -> None:
    cases = [case(HOSTILE, 0.5, source="a $\\frac <b> & c"), case("other", 0.6)]
    html = write(tmp_path, cases=cases, overlays={HOSTILE: np.zeros((8, 8, 3), np.uint8)})
    page = Page(html)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "a $\\frac <b> & c" in page.text


def test_curves_of_rows_with_gaps_become_three_charts(tmp_path: Path) -> None:
    page = Page(write(tmp_path))
    assert page.tags.count("svg") == 3 + 1
    assert all(title in page.text for title in ("Loss", "Learning rate", "validation"))


def test_an_evaluation_has_no_training_section(tmp_path: Path) -> None:
    page = Page(write(tmp_path, summary=evaluation(), curves=[]))
    assert page.tags.count("svg") == 1
    assert "Trained on" not in page.text
    assert "were not used" not in page.text


def test_one_case_has_neither_interval_in_its_verdict_nor_a_worst_case(tmp_path: Path) -> None:
    summary = evaluation() | {"scores": {"all": group(1), "source": {}, "tb_label": {}}}
    text = Page(write(tmp_path, summary=summary, cases=CASES[:1], curves=[])).text
    assert "On 1 test case of" in " ".join(text.split())
    assert "worst case" not in text
    assert "0.9871" in text


@pytest.mark.parametrize("row", [("model.depth", "4"), ("model.inner.betas", "[0.9, 0.999]"), ("resume", "null")])
def test_settings_are_dotted_keys(tmp_path: Path, row: tuple[str, str]) -> None:
    key, value = row
    assert f"<code>{key}</code></td><td><code>{value}</code>" in write(tmp_path)


def test_where_it_came_from_can_be_read(tmp_path: Path) -> None:
    text = Page(write(tmp_path)).text
    for expected in (SUMMARY["command"], SUMMARY["checkpoint"], "abc123", "f00ba4", "2.13.0", "42"):
        assert expected in text


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    assert write(tmp_path / "one") == write(tmp_path / "two")
