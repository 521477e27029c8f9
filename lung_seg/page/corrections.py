"""Corrected masks on disk, in the layout that ``data=folder`` reads: images/, masks/ and corrections.csv.

Each save is complete before the next one begins: a server that is killed has the masks that were saved before. Images
are written as pixels alone, so that nothing of a DICOM or EXIF header is in the folder.
"""

import csv
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lung_seg.errors import UserError
from lung_seg.files import remove_parts, sha256, write_csv
from lung_seg.page.label_map import LabelMap, read_labels, write_labels
from lung_seg.prediction.inputs import printable
from lung_seg.prediction.predictor import mirror
from lung_seg.prediction.quality import dice
from lung_seg.raw.image_file import write_png
from lung_seg.raw.radiograph import Radiograph

TABLE = "corrections.csv"
COLUMNS = ("case", "file", "sha256", "weights", "dice_before_after", "seconds", "time", "revision")
IMAGES, MASKS, REMOVED = "images", "masks", "removed"


class Corrections:
    """The folder of corrections; its methods may be called from several threads."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()
        self._rows = _read_table(folder / TABLE)
        for name in (IMAGES, MASKS):
            remove_parts(folder / name)

    def __len__(self) -> int:
        return sum(1 for _ in (self.folder / MASKS).glob("*.png"))

    def mask_path(self, case: str) -> Path:
        """Where a case's mask is or would be."""
        return self.folder / MASKS / f"{case}.png"

    def row(self, case: str) -> dict[str, str]:
        """What corrections.csv says of a case; empty if nothing."""
        return self._rows.get(case, {})

    def revision(self, case: str) -> int:
        """When the case was saved; 0 if it was not."""
        return int(self.row(case).get("revision") or 0)

    def read(self, case: str, radiograph: Radiograph) -> LabelMap | None:
        """The corrected mask as the radiograph is stored; None without one."""
        path = self.mask_path(case)
        if not path.is_file():
            return None
        labels = read_labels(path, radiograph.pixels.shape)
        return mirror(labels) if radiograph.mirrored else labels

    def save(
        self,
        case: str,
        path: Path,
        radiograph: Radiograph,
        before: LabelMap,
        after: LabelMap,
        seconds: float,
        weights: str,
    ) -> dict[str, Any]:
        """Save the corrected mask of a radiograph; returns its row of corrections.csv.

        Radiograph and mask are written with the patient's right side on the left, as training sees them.

        Args:
            case: its name in the folder.
            path: its file, which the table names.
            radiograph: what the file holds.
            before: the network's mask.
            after: the corrected one.
            seconds: spent since the last save.
            weights: beginning of the SHA-256 of the weights that made ``before``.
        """
        image_path = self.folder / IMAGES / f"{case}.png"
        if not image_path.is_file():
            write_png(image_path, mirror(radiograph.pixels) if radiograph.mirrored else radiograph.pixels)
        write_labels(self.mask_path(case), mirror(after) if radiograph.mirrored else after)
        with self._lock:
            earlier = self.row(case)
            now = datetime.now(UTC)
            self._rows[case] = {
                "case": case,
                "file": printable(path),
                "sha256": earlier.get("sha256") or sha256(path),
                "weights": weights,
                "dice_before_after": round(dice(before > 0, after > 0), 4),
                "seconds": round(float(earlier.get("seconds") or 0) + seconds, 1),
                "time": now.isoformat(timespec="seconds"),
                # No revision occurs twice, even after a removal and a new start: a tab of before cannot overwrite.
                "revision": max(int(now.timestamp() * 1000), self.revision(case) + 1),
            }
            self._write()
            return self._rows[case]

    def is_outdated(self, case: str, path: Path) -> bool:
        """Whether the file that was corrected has been replaced by another."""
        mask = self.mask_path(case)
        if not (mask.is_file() and path.is_file() and path.stat().st_mtime > mask.stat().st_mtime):
            return False
        return bool(self.row(case)) and self.row(case)["sha256"] != sha256(path)

    def remove(self, case: str) -> None:
        """Take a case out of the corrections; its last mask is kept in removed/."""
        mask = self.mask_path(case)
        removed = self.folder / REMOVED / f"{case}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.png"
        removed.parent.mkdir(exist_ok=True)
        mask.replace(removed)
        (self.folder / IMAGES / f"{case}.png").unlink(missing_ok=True)
        with self._lock:
            self._rows.pop(case, None)
            self._write()

    def _write(self) -> None:
        write_csv(self.folder / TABLE, COLUMNS, self._rows.values())


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of corrections.csv by their case.

    Raises:
        UserError: it has other columns or values than ``Corrections`` writes.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if not {*COLUMNS} <= {*(table.fieldnames or COLUMNS)}:
                raise KeyError(table.fieldnames)
            rows = {row["case"]: {name: row[name] or "" for name in COLUMNS} for row in table}
        for row in rows.values():
            float(row["seconds"] or 0), int(row["revision"] or 0)
    except (csv.Error, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is no table of corrections.\nRestore it, or delete it: the corrected masks are kept."
        ) from error
    return rows
