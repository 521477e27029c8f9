"""``manifest.csv``, the table of a prepared set: one row per case."""

import csv
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lung_seg.config import SPLITS
from lung_seg.errors import UserError
from lung_seg.files import write_csv

TB_LABELS = {0: "normal", 1: "tuberculosis", None: "unknown"}
PUBLIC_SOURCES = ("montgomery", "shenzhen", "jsrt")  # whose case ids name one radiograph in the world


@dataclass(frozen=True)
class Row:
    """One prepared case; its files are named by its ``case_id``, see ``store.SUBFOLDERS``."""

    case_id: str
    source: str
    split: str  # "train", "validation", "test", or "" before the set is split
    tb_label: int | None  # 0 normal, 1 tuberculosis, None unknown
    patient_id: str
    width_px: int  # of the raw radiograph
    height_px: int
    raw_sha256: str  # of the radiograph's raw file
    image_sha256: str  # of the prepared files
    mask_sha256: str
    original_mask_sha256: str
    spacing_row_mm: float | None = None  # from row to row of the raw radiograph
    spacing_column_mm: float | None = None
    age_years: int | None = None
    sex: str | None = None

    @property
    def identities(self) -> set[str]:
        """What identifies the radiograph, whatever it was prepared as: its raw file, and its name in a public set."""
        names = {f"{self.source}/{self.case_id}"} if self.source in PUBLIC_SOURCES else set()
        return {self.raw_sha256} | names

    @property
    def patient(self) -> str:
        """The patient; the sources number theirs independently, so that equal ids of two sources are two people."""
        return f"{self.source}/{self.patient_id}"

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance from row to row and from column to column, None if it is not known."""
        if self.spacing_row_mm is None or self.spacing_column_mm is None:
            return None
        return self.spacing_row_mm, self.spacing_column_mm


COLUMNS = [field.name for field in dataclasses.fields(Row)]
WHOLE_NUMBERS = ("tb_label", "width_px", "height_px", "age_years")
LENGTHS = ("spacing_row_mm", "spacing_column_mm")
MAX_DIGITS = 9  # of a whole number


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write manifest.csv; unknown values are left empty."""
    write_csv(path, COLUMNS, map(dataclasses.asdict, rows))


def read_manifest(path: Path) -> list[Row]:
    """Read manifest.csv, which somebody else may have written.

    Raises:
        UserError: the file is missing, or has an encoding, columns or cells that ``write_manifest`` would not write.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there.\nPrepare the set first: python prepare_data.py data=…")
    with _table(path) as lines:
        if lines.fieldnames != COLUMNS:
            raise UserError(f"{path} has the columns {lines.fieldnames}, not {COLUMNS}.\nPrepare the set again.")
        return [_row(line, f"{path}, line {lines.line_num},") for line in lines]


@contextmanager
def _table(path: Path) -> Iterator["csv.DictReader[str]"]:
    """The lines of a CSV file; a UserError if it is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets add a byte order mark
            yield csv.DictReader(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} is no table in UTF-8; a spreadsheet may have saved it in another encoding.\n"
            "Save it as CSV UTF-8, restore it, or delete its folder and prepare the set again."
        ) from error


def _row(line: dict[str, str], place: str) -> Row:
    if None in line or None in line.values():
        raise UserError(f"{place} has more or fewer than {len(COLUMNS)} cells.\nRestore it, or prepare the set again.")
    case_id = line["case_id"]
    if case_id in ("", ".", "..") or set(case_id) & set("/\\\0"):
        raise UserError(f"{place} has case_id={case_id!r}.\nIt must be a file name, not a path.")
    if line["split"] not in SPLITS:
        raise UserError(f"{place} has the split {line['split']!r}.\nIt must be one of: {', '.join(SPLITS)}.")
    values: dict[str, Any] = line | {"sex": line["sex"] or None}
    for name in WHOLE_NUMBERS:
        if line[name] and not (line[name].isdecimal() and len(line[name]) <= MAX_DIGITS):
            raise UserError(f"{place} has {name}={line[name]}.\nIt must be a whole number or empty.")
        values[name] = int(line[name]) if line[name] else None
    for name in ("width_px", "height_px"):
        if not values[name]:
            raise UserError(f"{place} has {name}={line[name]}.\nIt must be a whole number above 0.")
    for name in LENGTHS:
        try:
            values[name] = float(line[name]) if line[name] else None
        except ValueError:
            raise UserError(f"{place} has {name}={line[name]}.\nIt must be a number or empty.") from None
    return Row(**values)


def read_splits(path: Path) -> dict[str, str]:
    """The split of each case in a manifest of any version of the format; empty if there is none."""
    if not path.is_file():
        return {}
    with _table(path) as lines:
        return {line["case_id"]: line["split"] for line in lines if {"case_id", "split"} <= line.keys()}
