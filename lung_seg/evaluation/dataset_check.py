"""Check a prepared set: changed files, leaks between splits, outliers and missing labels."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lung_seg.config import LUNG, SPLITS, UNKNOWN
from lung_seg.draw import Rgb, contact_sheet, enlarge, overlay
from lung_seg.errors import UserError
from lung_seg.files import locked, sha256, write_csv
from lung_seg.prediction.postprocess import find_lungs
from lung_seg.prediction.quality import features
from lung_seg.prepared.manifest import Row, read_manifest
from lung_seg.prepared.plausibility import (
    BLACK_LUNGS,
    BRIGHT_LUNGS,
    Appearance,
    describe,
    remarks_by_text,
    set_warnings,
)
from lung_seg.prepared.store import (
    MANIFEST,
    SUBFOLDERS,
    case_files,
    read_case,
    read_original_mask,
    read_record,
    refuse_other_version,
)
from lung_seg.raw.image_file import Grey, open_image, write_png
from lung_seg.raw.masks import size_text
from lung_seg.raw.partly_known import UNKNOWN_GREY, Labels, grey_to_labels

# Of the 562 real radiographs no two correlate by more than 0.973 at this size; one radiograph with its exposure changed
# or compressed again correlates by 0.989 with itself.
THUMBNAIL_PX = 32
SAME_RADIOGRAPH = 0.985
OUTLIER_IQR = 3.0  # interquartile ranges beyond the quartiles (Tukey 1977)
SHEET_CASES = 24
CHECK_TABLE, OUTLIER_SHEET = "check.csv", "check.png"


class Finding(NamedTuple):
    """Something about one case or file: an error if ``wrong``, else only unusual."""

    case_id: str
    kind: str
    wrong: bool
    text: str


class _Inspection(NamedTuple):
    """Findings and descriptors of one case."""

    row: Row
    findings: list[Finding]
    thumbnail: NDArray[np.float32] | None = None  # (THUMBNAIL_PX ** 2,), mean 0 and length 1
    features: dict[str, float] | None = None  # see quality.features; empty where there are not two lungs
    appearance: Appearance | None = None


def check(folder: Path) -> list[Finding]:
    """Check a prepared set against its manifest, and search for leaks between splits and for outliers.

    All findings are written to check.csv, the outliers as pictures to check.png.

    Raises:
        UserError: there is no prepared set, or another version of this package made it.
    """
    with locked(folder):
        if (folder / MANIFEST).is_file():
            refuse_other_version(folder)
        rows = read_manifest(folder / MANIFEST)
        with ThreadPoolExecutor() as pool:
            inspected = list(
                tqdm(pool.map(partial(_inspect, folder), rows), "Checking", len(rows), unit="case", disable=None)
            )
        findings = [finding for case in inspected for finding in case.findings]
        findings += [*_extra_files(folder, rows), *_same_radiographs(inspected), *_same_patients(rows)]
        findings += [*_set_findings(folder, inspected), *_outliers(inspected), *_missing_labels(rows)]
        write_csv(folder / CHECK_TABLE, Finding._fields, (finding._asdict() for finding in findings))
        _write_sheet(folder, findings)
    return findings


def _inspect(folder: Path, row: Row) -> _Inspection:
    findings = list(_file_findings(folder, row))
    try:
        image, mask = (np.asarray(open_image(path)) for path, _ in case_files(folder, row)[:2])
        original_mask = read_original_mask(folder, row)
        labels = grey_to_labels(mask)
    except UserError as error:
        return _Inspection(row, findings or [Finding(row.case_id, "unreadable", True, str(error).splitlines()[0])])
    if wrong := _wrong_shape(row, image, mask, original_mask):
        return _Inspection(row, [*findings, Finding(row.case_id, "shape", True, wrong)])
    levels = np.unique(mask)
    if set(levels) - {0, UNKNOWN_GREY, 255}:
        text = f"the mask holds {levels[:5]}, not only 0, 255 and {UNKNOWN_GREY} for not known"
        findings.append(Finding(row.case_id, "mask values", True, text))
    lungs = labels == (LUNG if LUNG in labels else UNKNOWN)
    right, left = find_lungs(lungs)
    described = {} if right is None or left is None else features(image, right, left)
    return _Inspection(row, findings, _thumbnail(image), described, describe(image, lungs))


def _wrong_shape(row: Row, image: Grey, mask: Grey, original_mask: Labels) -> str:
    if image.ndim != 2 or image.shape != mask.shape:
        sizes = [size_text(pixels) + (" in colours" if pixels.ndim > 2 else "") for pixels in (image, mask)]
        return f"the image is {sizes[0]} and the mask {sizes[1]}; both must be grey and of one size"
    if original_mask.shape != (row.height_px, row.width_px):
        return f"the original mask is {size_text(original_mask)} and the radiograph {row.width_px}x{row.height_px}"
    return ""


def _file_findings(folder: Path, row: Row) -> Iterator[Finding]:
    for path, digest in case_files(folder, row):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            yield Finding(row.case_id, "missing", True, f"{name} is missing")
        elif sha256(path) != digest:
            yield Finding(row.case_id, "changed", True, f"{name} is not the file that was prepared")


def _thumbnail(image: Grey) -> NDArray[np.float32]:
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    centred = small - small.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


def _extra_files(folder: Path, rows: list[Row]) -> Iterator[Finding]:
    known = {path for row in rows for path, _ in case_files(folder, row)}
    for kind in SUBFOLDERS:
        for path in sorted(set((folder / kind).glob("*")) - known):
            yield Finding(path.stem, "extra", True, f"{path.relative_to(folder).as_posix()} is not in the manifest")


def _same_radiographs(inspected: list[_Inspection]) -> Iterator[Finding]:
    """Pairs of cases in two splits that correlate as one radiograph does with a copy of itself."""
    thumbnails: dict[str, dict[str, NDArray[np.float32]]] = {split: {} for split in SPLITS}
    for case in inspected:
        if case.thumbnail is not None:
            thumbnails[case.row.split][case.row.case_id] = case.thumbnail
    for first, second in combinations(SPLITS, 2):
        others, matrix = list(thumbnails[second]), np.array(list(thumbnails[second].values()))
        for case_id, thumbnail in thumbnails[first].items() if others else ():
            correlation = matrix @ thumbnail
            for index in np.flatnonzero(correlation >= SAME_RADIOGRAPH):
                other = f"{others[index]} of {second} (correlation {correlation[index]:.3f})"
                yield Finding(case_id, "leak", True, f"{first} case, the same radiograph as {other}")


def _same_patients(rows: list[Row]) -> Iterator[Finding]:
    patients: dict[str, list[Row]] = {}
    for row in rows:
        patients.setdefault(row.patient, []).append(row)
    for patient in patients.values():
        splits = sorted({row.split for row in patient})
        if len(splits) > 1:
            yield Finding("", "leak", True, f"patient {patient[0].patient_id} is in {' and '.join(splits)}")


def _set_findings(folder: Path, inspected: list[_Inspection]) -> Iterator[Finding]:
    """What is wrong with most cases, and what preparing remarked on single ones."""
    appearances = {case.row.case_id: case.appearance for case in inspected if case.appearance}
    remarks = {case_id: texts for case_id, texts in read_record(folder)["remarks"].items() if case_id in appearances}
    for warning in set_warnings(appearances, remarks):
        yield Finding("", "set", True, warning)
    for text, case_ids in remarks_by_text(remarks).items():
        kind = "outlier" if text in (BLACK_LUNGS, BRIGHT_LUNGS) else "remark"
        yield from (Finding(case_id, kind, False, text) for case_id in case_ids)


def _outliers(inspected: list[_Inspection]) -> Iterator[Finding]:
    """Cases whose lungs differ in size, position or darkness from those of all others."""
    for case in inspected:
        if case.features == {}:
            yield Finding(case.row.case_id, "outlier", False, "the mask does not show two lungs")
    described = {case.row.case_id: case.features for case in inspected if case.features}
    for name in next(iter(described.values()), ()):
        first, third = np.quantile([values[name] for values in described.values()], (0.25, 0.75))
        margin = OUTLIER_IQR * (third - first)
        low, high = first - margin, third + margin
        for case_id, values in described.items():
            if not low <= values[name] <= high:
                text = f"{name} {values[name]:.3f}, expected {low:.3f} to {high:.3f}"
                yield Finding(case_id, "outlier", False, text)


def _missing_labels(rows: list[Row]) -> Iterator[Finding]:
    """TB labels that a split lacks: its scores by label would not be those of the whole set."""
    present = {(row.split, row.tb_label) for row in rows}
    for split, label in product(SPLITS, sorted({row.tb_label for row in rows}, key=str)):
        if (split, label) not in present:
            yield Finding("", "label", False, f"{split} has no case with tb_label={label}")


def _write_sheet(folder: Path, findings: list[Finding]) -> None:
    """The first outliers, lungs outlined; without any, a sheet of an earlier check is removed."""
    outliers = {finding.case_id: finding.text for finding in findings if finding.kind == "outlier"}
    (folder / OUTLIER_SHEET).unlink(missing_ok=True)
    if outliers:
        shown = list(outliers)[:SHEET_CASES]
        pictures = [_outlined(*read_case(folder, name)) for name in shown]
        captions = [f"{case_id}: {outliers[case_id]}" for case_id in shown]
        write_png(folder / OUTLIER_SHEET, contact_sheet(pictures, captions, columns=6, tile_px=240))


def _outlined(image: Grey, labels: Labels) -> Rgb:
    larger, (mask,) = enlarge(image, labels == LUNG)
    return overlay(larger, None, mask)
