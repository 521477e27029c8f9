"""The rows of predictions.csv."""

import csv
import dataclasses
from pathlib import Path, PurePath
from typing import Any

from lung_seg.errors import UserError
from lung_seg.prediction.finding import Finding
from lung_seg.prediction.inputs import MASK, Job, printable, safe_cell
from lung_seg.prediction.measurements import Box, Measurements
from lung_seg.prediction.predictor import Prediction

COLUMNS = (
    *("input", "mask", "width_px", "height_px"),
    *(field.name for field in dataclasses.fields(Measurements) if field.name != "box"),
    *(f"box_{name}" for name in Box._fields),
    *("quality", "warning", "error"),
    *("tb_score", "tb_zones", "tb_text"),  # of the second step; empty without it
    *("weights", "settings"),  # what made the mask
)

Row = dict[str, Any]  # by column; columns left out are empty


def read_table(path: Path) -> dict[str, Row]:
    """The complete rows of predictions.csv by their input, the last one of each; empty if the file does not exist.

    Raises:
        UserError: the file has other columns, so it would be overwritten.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), tuple(reader.fieldnames or COLUMNS)
    except (csv.Error, UnicodeDecodeError):
        rows, columns = [], ()
    if columns != COLUMNS:
        raise UserError(f"{path} has other columns than predict.py writes.\nMove it away, or give another output=.")
    return {row["input"]: row for row in rows if _is_complete(row)}


def _is_complete(row: Row) -> bool:
    """Whether a row was not cut short by a killed process, and its mask lies in the output folder."""
    if None in row or None in row.values():
        return False
    mask = PurePath(row["mask"])
    return not mask.is_absolute() and ".." not in mask.parts


def result_row(job: Job, prediction: Prediction, measured: Measurements, warning: str) -> Row:
    """The row of a radiograph; what made it is not yet in it."""
    height_px, width_px = prediction.right.shape
    return {
        "input": job.name,
        "mask": safe_cell(Path(f"{job.stem}{MASK}").as_posix()),
        "width_px": width_px,
        "height_px": height_px,
        **measurement_columns(measured),
        "quality": round(prediction.quality, 4),
        "warning": printable(warning),
        **(_finding_columns(prediction.finding) if prediction.finding else {}),
    }


def measurement_columns(measured: Measurements) -> Row:
    """The columns of a mask's measurements."""
    numbers = dataclasses.asdict(measured)
    box: Box | None = numbers.pop("box")
    return numbers | ({f"box_{name}": value for name, value in box._asdict().items()} if box else {})


def _finding_columns(finding: Finding) -> Row:
    zones = " ".join(f"{zone}={evidence:+.3f}" for zone, evidence in finding.zones.items())
    return {"tb_score": finding.score, "tb_zones": zones, "tb_text": printable(finding.text)}


def error_row(job: Job, error: UserError) -> Row:
    """The row of a radiograph that could not be predicted."""
    return {"input": job.name, "error": printable(" ".join(str(error).splitlines()))}
