"""``manifest.csv``, the table of a prepared set: one row per case."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lung_seg.config import SPLITS
from lung_seg.errors import UserError
from lung_seg.files import write_csv

TB_LABELS = {0: "normal", 1: "tuberculosis", None: "unknown"}


@dataclass(frozen=True)
class Row:
    """One prepared case; its files are ``images/<case_id>.png`` and ``masks/<case_id>.png``."""

    case_id: str
    source: str
    split: str  # "train", "validation", "test", or "" before the set is split
    tb_label: int | None  # 0 normal, 1 tuberculosis, None unknown
    patient_id: str
    width_px: int  # of the raw radiograph
    height_px: int
    image_sha256: str  # of the prepared files
    mask_sha256: str
    age_years: int | None = None
    sex: str | None = None


COLUMNS = [field.name for field in dataclasses.fields(Row)]
WHOLE_NUMBERS = ("tb_label", "width_px", "height_px", "age_years")


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write manifest.csv; unknown values are left empty."""
    write_csv(path, COLUMNS, map(dataclasses.asdict, rows))


def read_manifest(path: Path) -> list[Row]:
    """Read manifest.csv; a missing file and invalid columns or cells raise a UserError."""
    if not path.is_file():
        raise UserError(f"{path} is not there.\nPrepare the set first: python prepare_data.py data=…")
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets add a byte order mark
        lines = csv.DictReader(file)
        if lines.fieldnames != COLUMNS:
            raise UserError(f"{path} has the columns {lines.fieldnames}, not {COLUMNS}.\nPrepare the set again.")
        return [_row(line, f"{path}, line {lines.line_num},") for line in lines]


def _row(line: dict[str, str], place: str) -> Row:
    if line["split"] not in SPLITS:
        raise UserError(f"{place} has the split {line['split']!r}.\nIt must be one of: {', '.join(SPLITS)}.")
    values: dict[str, Any] = line | {"sex": line["sex"] or None}
    for name in WHOLE_NUMBERS:
        if line[name] and not line[name].isdecimal():
            raise UserError(f"{place} has {name}={line[name]}.\nIt must be a whole number or empty.")
        values[name] = int(line[name]) if line[name] else None
    return Row(**values)
