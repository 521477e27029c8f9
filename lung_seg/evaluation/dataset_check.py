"""What is wrong with a prepared set, and what is odd in it."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lung_seg.config import SPLITS
from lung_seg.draw import contact_sheet, overlay
from lung_seg.errors import UserError
from lung_seg.files import locked, sha256, write_text
from lung_seg.prediction.postprocess import find_lungs
from lung_seg.prediction.quality import features
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.store import MANIFEST, SUBFOLDERS, case_files, read_case
from lung_seg.raw.image_file import Grey, open_image, write_png
from lung_seg.raw.masks import Mask, size_text

Thumbnail = NDArray[np.float32]

# Of the 562 real radiographs no two correlate by more than 0.973 at this size; one film with its exposure changed or
# compressed again correlates by 0.989 with itself.
THUMBNAIL_PX = 32
SAME_FILM = 0.985
BLOCK = 2048  # thumbnails correlated at a time
FAR_OUT = 3.0  # interquartile ranges beyond the quartiles (Tukey 1977)
SHEET_CASES = 24
CHECK_TABLE, ODD_SHEET = "check.csv", "check.png"


class Finding(NamedTuple):
    """Something about one case or file; ``wrong`` where a training must not go on with it, else it is only odd."""

    case_id: str
    kind: str
    wrong: bool
    text: str


@dataclass(frozen=True)
class _Look:
    """What one case looks like."""

    findings: list[Finding]
    thumbnail: Thumbnail | None = None  # (THUMBNAIL_PX ** 2,), mean 0 and length 1
    features: dict[str, float] | None = None


def check(folder: Path) -> list[Finding]:
    """Hold a prepared set against its manifest, look for films in two splits and for cases unlike the others.

    All findings are left in check.csv, the odd cases as pictures in check.png.

    Raises:
        UserError: there is no prepared set.
    """
    with locked(folder):
        rows = read_manifest(folder / MANIFEST)
        with ThreadPoolExecutor() as pool:
            looks = list(tqdm(pool.map(lambda row: _look(folder, row), rows), "Checking", len(rows), unit="case"))
        findings = [finding for look in looks for finding in look.findings]
        findings += [*_extra(folder, rows), *_leaks(rows, looks), *_outliers(rows, looks), *_lacking_labels(rows)]
        _write_table(folder / CHECK_TABLE, findings)
        _write_sheet(folder, findings)
    return findings


def _look(folder: Path, row: Row) -> _Look:
    findings = list(_file_findings(folder, row))
    try:
        image, mask = (np.asarray(open_image(path)) for path, _ in case_files(folder, row))
    except UserError as error:
        told = findings or [Finding(row.case_id, "unreadable", True, str(error).splitlines()[0])]
        return _Look(told)
    if image.ndim != 2 or image.shape != mask.shape:
        shapes = f"the image is {_form(image)} and the mask {_form(mask)}; both must be grey and of one size"
        return _Look([*findings, Finding(row.case_id, "shape", True, shapes)])
    levels = np.unique(mask)
    if set(levels) - {0, 255}:
        findings.append(Finding(row.case_id, "mask values", True, f"the mask holds {levels[:5]}, not only 0 and 255"))
    return _Look(findings, _thumbnail(image), _features(image, mask > 0))


def _form(pixels: NDArray[np.generic]) -> str:
    return size_text(pixels) + ("" if pixels.ndim == 2 else " in colours")


def _file_findings(folder: Path, row: Row) -> Iterator[Finding]:
    for path, digest in case_files(folder, row):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            yield Finding(row.case_id, "missing", True, f"{name} is not there")
        elif sha256(path) != digest:
            yield Finding(row.case_id, "changed", True, f"{name} is not the file that was prepared")


def _extra(folder: Path, rows: list[Row]) -> Iterator[Finding]:
    known = {path for row in rows for path, _ in case_files(folder, row)}
    for kind in SUBFOLDERS:
        for path in sorted(set((folder / kind).glob("*")) - known):
            yield Finding(path.stem, "extra", True, f"{path.relative_to(folder).as_posix()} is not in the manifest")


def _leaks(rows: list[Row], looks: list[_Look]) -> Iterator[Finding]:
    """Pairs of cases in two splits that are one film or one patient."""
    seen = [(row, look.thumbnail) for row, look in zip(rows, looks, strict=True) if look.thumbnail is not None]
    for first, second in combinations(SPLITS, 2):
        ours, theirs = ([pair for pair in seen if pair[0].split == split] for split in (first, second))
        for one, other, alike in _same_films(ours, theirs):
            text = f"{first} case, the same film as {other.case_id} of {second} (correlation {alike:.3f})"
            yield Finding(one.case_id, "leak", True, text)
    splits_of: dict[str, set[str]] = {}
    for row in rows:
        splits_of.setdefault(row.patient_id, set()).add(row.split)
    for patient, splits in splits_of.items():
        if len(splits) > 1:
            yield Finding("", "leak", True, f"patient {patient} is in {' and '.join(sorted(splits))}")


def _same_films(
    ours: list[tuple[Row, Thumbnail]], theirs: list[tuple[Row, Thumbnail]]
) -> Iterator[tuple[Row, Row, float]]:
    """Pairs that correlate as one film does with itself, block by block: all pairs at once would fill the memory."""
    for start in range(0, len(ours), BLOCK):
        for other_start in range(0, len(theirs), BLOCK):
            some, others = ours[start : start + BLOCK], theirs[other_start : other_start + BLOCK]
            alike = np.stack([thumbnail for _, thumbnail in some]) @ np.stack([thumbnail for _, thumbnail in others]).T
            for i, j in np.argwhere(alike >= SAME_FILM):
                yield some[i][0], others[j][0], float(alike[i, j])


def _outliers(rows: list[Row], looks: list[_Look]) -> Iterator[Finding]:
    """Cases whose lungs are of a size, place or darkness far from all others'."""
    described = [(row, look.features) for row, look in zip(rows, looks, strict=True) if look.features]
    for row, look in zip(rows, looks, strict=True):
        if look.features == {}:
            yield Finding(row.case_id, "outlier", False, "the mask is not of two lungs")
    for name in described[0][1] if described else ():
        values = np.array([measured[name] for _, measured in described])
        low, high = _fences(values)
        for (row, _), value in zip(described, values, strict=True):
            if not low <= value <= high:
                text = f"{name} {value:.3f}, where the others have {low:.3f} to {high:.3f}"
                yield Finding(row.case_id, "outlier", False, text)


def _lacking_labels(rows: list[Row]) -> Iterator[Finding]:
    """Labels that some splits lack: scores by label would not be those of the whole set."""
    counts = Counter((row.split, row.tb_label) for row in rows)
    for split in SPLITS:
        for label in sorted({row.tb_label for row in rows}, key=str):
            if not counts[split, label]:
                yield Finding("", "label", False, f"{split} has no case with tb_label={label}")


def _fences(values: NDArray[np.float64]) -> tuple[float, float]:
    first, third = np.quantile(values, (0.25, 0.75))
    return float(first - FAR_OUT * (third - first)), float(third + FAR_OUT * (third - first))


def _thumbnail(image: Grey) -> Thumbnail:
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    centred = small - small.mean()
    thumbnail: Thumbnail = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return thumbnail


def _features(image: Grey, mask: Mask) -> dict[str, float]:
    """What ``quality.features`` measures; nothing where there are not two lungs."""
    right, left = find_lungs(mask)
    return features(image, right, left) if right is not None and left is not None else {}


def _write_table(path: Path, findings: Iterable[Finding]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Finding._fields)
    writer.writerows(findings)
    write_text(path, text.getvalue())


def _write_sheet(folder: Path, findings: list[Finding]) -> None:
    """The first odd cases, lungs outlined; no file where there are none."""
    odd = {finding.case_id: finding.text for finding in findings if finding.kind == "outlier"}
    (folder / ODD_SHEET).unlink(missing_ok=True)
    if odd:
        chosen = list(odd)[:SHEET_CASES]
        cases = [read_case(folder, case_id) for case_id in chosen]
        draw = [overlay(image, None, mask) for image, mask in cases]
        captions = [f"{case_id}: {odd[case_id]}" for case_id in chosen]
        write_png(folder / ODD_SHEET, contact_sheet(draw, captions, columns=6, tile_px=240))
