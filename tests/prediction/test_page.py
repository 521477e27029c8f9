"""predictions.html: every radiograph of the table, warned ones first, from the files of its folder alone."""

import csv
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image

from lung_seg.draw import CAPTION_COLOUR, PREDICTION_COLOUR, with_sides
from tests.conftest import Run
from tests.layouts import draw_chest, write_dicom, write_image


def test_the_page_shows_every_radiograph_warned_ones_first(trained: Path, run: Run) -> None:
    write_image(trained / "films/plain <b> #1.png", draw_chest(1, 96, 80)[0])
    write_dicom(trained / "films/spaced.dcm", draw_chest(3, 96, 80)[0], PixelSpacing=[4.0, 4.0])
    write_image(trained / "films/noise.png", np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8))
    (trained / "films/broken.png").write_bytes(b"no image")
    outcome = run("predict", "input=films", "checkpoint=runs/first", "output=out")
    assert "All on one page: out/predictions.html" in outcome.out
    page = (trained / "out/predictions.html").read_text(encoding="utf-8")
    with (trained / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    warned = [row for row in rows if row["warning"]]
    assert f"<b>{len(warned)} to check</b>, {3 - len(warned)} without a warning, 1 could not be used" in page
    assert "<td>cannot be read as an image: its content is not PNG" in page
    pictures = [unquote(name) for name in re.findall(r'<img src="([^"]+)"', page)]
    assert all((trained / "out" / name).is_file() for name in pictures)
    by_quality = sorted((row for row in rows if not row["error"]), key=lambda row: float(row["quality"]))
    expected = [row["mask"] for row in sorted(by_quality, key=lambda row: not row["warning"])]
    assert [name.replace("_overlay", "_mask") for name in pictures] == expected
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "plain <b>" not in page
    assert "plain &lt;b&gt; #1.png" in page
    area = next(float(row["right_lung_area_mm2"]) for row in rows if row["right_lung_area_mm2"])
    assert f"right {area / 100:.0f} cm²" in page
    plain = next(row for row in rows if row["input"].endswith("#1.png"))
    right, left = (float(plain[f"{side}_lung_area_px"]) / (96 * 80) for side in ("right", "left"))
    assert f"right {right:.0%}, left {left:.0%} of the image" in page
    # The rows of an earlier run are shown again.
    assert run("predict", "input=films/spaced.dcm", "checkpoint=runs/first", "output=out").code == 0
    assert (trained / "out/predictions.html").read_text(encoding="utf-8").count("<img") == 3


def test_an_overlay_says_right_and_left_and_carries_the_warning() -> None:
    black = np.zeros((300, 240, 3), np.uint8)
    usual, mirrored = with_sides(black, True, ""), with_sides(black, False, "")
    assert usual.shape == mirrored.shape == black.shape
    corner = slice(0, 40), slice(0, 40)
    assert (usual[corner] == CAPTION_COLOUR).all(axis=2).any()
    assert not np.array_equal(usual, mirrored), "R is on the other side"
    assert not usual[60:].any()
    short, long = (with_sides(black, True, "the network is unsure " * count) for count in (1, 9))
    assert 300 < len(short) < len(long)
    assert (short[300:] == PREDICTION_COLOUR).all(axis=2).any()
    assert np.array_equal(Image.fromarray(short[:300]), usual)
