"""predictions.html: all radiographs of a folder of predictions on one page, those with a warning first."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lung_seg.files import write_text
from lung_seg.prediction.inputs import MASK, OVERLAY, PAGE
from lung_seg.templates import template


def write_page(output: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the page of the rows of predictions.csv; it shows the overlays of its folder and needs no network."""
    entries = [_entry(output, row) for row in rows]
    predicted = sorted((entry for entry in entries if not entry["error"]), key=lambda entry: entry["quality"])
    page = template(Path(__file__).parent / "predictions.html.j2").render(
        warned=[entry for entry in predicted if entry["warning"]],
        ordinary=[entry for entry in predicted if not entry["warning"]],
        failed=[entry for entry in entries if entry["error"]],
        count=len(entries),
    )
    write_text(output / PAGE, page)


def _entry(output: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a radiograph; values of an earlier run are texts, as the table has them."""
    values = {name: value for name, value in row.items() if value not in (None, "")}
    stem = str(values.get("mask", "")).removesuffix(MASK)
    pictures = [name for name in (f"{stem}{OVERLAY}", f"{stem}{MASK}") if (output / name).is_file()]
    return {
        "name": Path(str(values["input"])).name,
        "input": values["input"],
        "picture": quote(pictures[0]) if pictures else None,
        "quality": float(values.get("quality", 0)),
        "warning": values.get("warning", ""),
        "error": str(values.get("error", "")).removeprefix(f"{values['input']} "),  # which the page shows beside it
        "areas": "" if "error" in values else _areas(values),
        "tuberculosis": values.get("tb_text", ""),
    }


def _areas(values: Mapping[str, Any]) -> str:
    """The area of each lung in cm² where the spacing is known, else as a fraction of the image."""
    sides = ("right", "left")
    if "lung_area_mm2" in values:
        return ", ".join(f"{side} {float(values[f'{side}_lung_area_mm2']) / 100:.0f} cm²" for side in sides)
    pixels = float(values["width_px"]) * float(values["height_px"])
    return ", ".join(f"{side} {float(values[f'{side}_lung_area_px']) / pixels:.0%}" for side in sides) + " of the image"
