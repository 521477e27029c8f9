"""The labels of radiographs: a column of the manifest, or of a table of the user's."""

import csv
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lung_seg.errors import UserError
from lung_seg.prepared.manifest import COLUMNS, Row
from lung_seg.second_step.scores import Labels

MIN_PATIENTS = 10  # with each label in each source: two in each outer fold
NAME_COLUMNS = ("case_id", "film", "image", "file")  # of a user's table: the first of them that it has names the case

Positions = NDArray[np.int64]

log = logging.getLogger(__name__)


def read_labels(rows: Sequence[Row], column: str, table: Path | None = None) -> tuple[Positions, Labels]:
    """The positions of the radiographs with a label, and their labels.

    Args:
        rows: the radiographs.
        column: of the manifest, or of the table if there is one.
        table: a CSV file with a line for each radiograph: its case_id or file name, and the label.

    Raises:
        UserError: there is no such column, a label is neither 0 nor 1, the table names none of the radiographs, or a
            source has too few patients of a label.
    """
    found = _of_manifest(rows, column) if table is None else _of_table(rows, column, table)
    others = sorted(set(found) - {"0", "1", ""})
    if others:
        examples = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise UserError(f"second_step.label={column} holds {examples}.\nA label must be 0 or 1, or empty if unknown.")
    known = np.array([position for position, value in enumerate(found) if value], dtype=np.int64)
    if not len(known):
        raise UserError(
            f"No radiograph of this set has a label in the column {column}.\n"
            "Choose a set with labels, e.g. data=montgomery_shenzhen, another column, second_step.label=…, "
            "or give a table, second_step.table=labels.csv."
        )
    labels = np.array([int(found[position]) for position in known], dtype=np.int64)
    _check_sizes([rows[position] for position in known], labels, column)
    return known, labels


def _of_manifest(rows: Sequence[Row], column: str) -> list[str]:
    if column not in COLUMNS:
        raise UserError(f"second_step.label={column} is no column of manifest.csv.\nIt has: {', '.join(COLUMNS)}.")
    return ["" if getattr(row, column) is None else str(getattr(row, column)) for row in rows]


def _of_table(rows: Sequence[Row], column: str, table: Path) -> list[str]:
    """The label of each row, empty where the table has none; radiographs are known by case_id or file name."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            columns, entries = list(lines.fieldnames or ()), list(lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not CSV in UTF-8"
        raise UserError(f"second_step.table={table} cannot be read: {reason}.\nGive a CSV file: film,label") from error
    name_column = next((name for name in NAME_COLUMNS if name in columns), None)
    if name_column is None or column not in columns:
        raise UserError(
            f"second_step.table={table} has the columns {', '.join(columns)}.\n"
            f"It needs {' or '.join(NAME_COLUMNS)}, and {column} (second_step.label=) with 0 or 1."
        )
    labels: dict[str, str] = {}
    for entry in entries:
        name, label = (entry[name_column] or "").strip(), (entry[column] or "").strip()
        for key in {name, _without_suffix(name)}:
            if labels.setdefault(key, label) != label:
                raise UserError(f"{table} has two labels of {name}: {labels[key]} and {label}.\nKeep one line of it.")
    found = [labels.get(row.case_id, "") for row in rows]
    matched = sum(row.case_id in labels for row in rows)
    if not matched:
        names = ", ".join(entry[name_column] or "" for entry in entries[:2])
        raise UserError(
            f"{table} names none of the {len(rows)} radiographs of this set.\n"
            f"It has {names or 'no line'}; the set has {', '.join(row.case_id for row in rows[:2])}."
        )
    if matched < len(rows):
        log.warning("%s has no label of %d of the %d radiographs: left out.", table, len(rows) - matched, len(rows))
    return found


def _without_suffix(name: str) -> str:
    return re.sub(r"\.(?!\d+$)\w+$", "", name)  # "1.2.840" has none


def _check_sizes(rows: Sequence[Row], labels: Labels, column: str) -> None:
    patients = {(row.source, label, row.patient) for row, label in zip(rows, labels.tolist(), strict=True)}
    counts = Counter((source, label) for source, label, _ in patients)
    for source in sorted({row.source for row in rows}):
        with_label, without = counts[source, 1], counts[source, 0]
        if min(with_label, without) < MIN_PATIENTS:
            raise UserError(
                f"{source} has {with_label} patients with {column}=1 and {without} with {column}=0; "
                f"cross-validation needs {MIN_PATIENTS} of each.\nAdd radiographs, or choose a set without that source."
            )
