"""Raw radiographs into a prepared set: square 8-bit PNGs, their masks, a manifest and a sheet to look at.

Stopped half-way it goes on where it was: each finished case is in the set's journal.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lung_seg.config import MAX_MEGAPIXELS, SPLITS, DataConfig, Shard
from lung_seg.draw import contact_sheet, overlay
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import locked, remove_parts, sha256
from lung_seg.prepared.manifest import TB_LABELS, Row, write_manifest
from lung_seg.prepared.split import assign_splits
from lung_seg.prepared.store import (
    MANIFEST,
    PROGRESS_LOG,
    SUBFOLDERS,
    PreparedCase,
    append_progress,
    load_progress,
    prepared_folder,
    progress_logs,
    read_case,
    read_record,
    write_case_png,
    write_record,
)
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.download import download
from lung_seg.raw.image_file import Grey, write_png
from lung_seg.raw.masks import Mask, mask_to_network_input, merge_masks, read_mask, size_text
from lung_seg.raw.radiograph import read_radiograph
from lung_seg.raw.resize import to_network_input
from lung_seg.raw.sources import find_cases

PREVIEW_CASES = 24
SPLIT_KEYS = ("source", "test_cases", "validation_fraction", "split_seed", "folder")  # fixed once a set is split

log = logging.getLogger(__name__)


def prepare(data: DataConfig) -> Path:
    """Make the prepared set, or bring it up to date, and return its folder.

    Raises:
        UserError: no cases are found, a case is corrupt and ``data.on_error=stop``, or a set of that name was made
            with other settings.
    """
    folder = prepared_folder(data)
    record = _record(data, folder)
    listing = _listing(data, folder, ready=bool(record))
    if listing is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _bring_up_to_date(data, folder, listing)
    return folder


def prepare_shard(data: DataConfig, shard: Shard) -> None:
    """Prepare some of a set's cases, beside other processes and machines that share the folders and prepare the rest.

    ``prepare`` then makes the set of them all.

    Raises:
        UserError: as ``prepare`` does.
    """
    folder = prepared_folder(data)
    _record(data, folder)
    listing = find_cases(data)
    mine = sorted(listing.cases, key=lambda case: case.case_id)[shard.number - 1 :: shard.of]
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"shard-{shard.number}-of-{shard.of}.jsonl"
    with locked(journal):
        journal.touch()
        skipped = _prepare_cases(data, folder, mine, {case.case_id: _fingerprint(case) for case in mine}, journal)
    log.info("Shard %d/%d: %d cases in %s.", shard.number, shard.of, len(mine) - len(skipped), folder)
    log.info("When all shards are done, the same command without shard= makes the set of them.")


def _bring_up_to_date(data: DataConfig, folder: Path, listing: Listing) -> None:
    record = _record(data, folder)  # which another process may have written meanwhile
    fingerprints = {case.case_id: _fingerprint(case) for case in listing.cases}
    if record.get("raw") == fingerprints and not _may_mend(data, record):
        log.info("%s is up to date: %d cases.", folder, len(fingerprints) - len(record["skipped"]))
        return
    _check_none_gone(record, fingerprints, data, folder)
    with ExitStack() as shards:
        for journal in progress_logs(folder):
            shards.enter_context(locked(journal))  # of one that still runs the end is awaited
        for place in (folder, *(folder / kind for kind in SUBFOLDERS)):
            remove_parts(place)
        skipped = _prepare_cases(data, folder, listing.cases, fingerprints, folder / PROGRESS_LOG)
    rows = _finish(data, folder, fingerprints, skipped, len(listing.without_mask))
    _report(folder, rows, skipped, listing)


def _listing(data: DataConfig, folder: Path, ready: bool) -> Listing | None:
    """The raw cases; None where they are gone and the prepared set can stand alone."""
    try:
        if data.download:
            download(data.source, Path(data.raw_dir))
        return find_cases(data)
    except UserError as error:
        if not ready:
            raise
        log.info("%s is used as it is: %s", folder, str(error).splitlines()[0])
        return None


def _prepare_cases(
    data: DataConfig, folder: Path, cases: list[Case], fingerprints: dict[str, str], journal: Path
) -> dict[str, str]:
    """Prepare what is not prepared yet, on all cores; returns the reason of each case that is skipped."""
    prepared_from = {case_id: done.fingerprint for case_id, done in load_progress(folder).items()}
    todo = [case for case in cases if prepared_from.get(case.case_id) != fingerprints[case.case_id]]
    skipped: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with _all_cores() as pool:
        outcomes = pool.map(lambda case: _attempt(case, folder, data), todo)
        for case, outcome in zip(todo, _with_progress(outcomes, len(todo)), strict=True):
            if isinstance(outcome, Row):
                append_progress(journal, PreparedCase(outcome, fingerprints[case.case_id]))
            elif data.on_error == "stop":
                raise UserError(f"{outcome}\nMend or remove the file, or leave such cases out with data.on_error=skip.")
            else:
                skipped[case.case_id] = outcome
    return skipped


def _attempt(case: Case, folder: Path, data: DataConfig) -> Row | str:
    """Prepare one case; returns its row, or the reason why it cannot be used."""
    try:
        return _prepare_case(case, folder, data)
    except UserError as error:
        return str(error)


def _prepare_case(case: Case, folder: Path, data: DataConfig) -> Row:
    size_px, resize = data.image_size_px, data.resize
    image = read_radiograph(case.image_path, case.inverted, data.max_megapixels)
    masks = [read_mask(path, data.max_megapixels) for path in case.mask_paths]
    _check_fit(case, image, masks)
    network_mask = mask_to_network_input(merge_masks(masks), size_px, resize).astype(np.uint8) * np.uint8(255)
    image_path = write_case_png(folder, "images", case.case_id, to_network_input(image, size_px, resize))
    mask_path = write_case_png(folder, "masks", case.case_id, network_mask)
    return Row(
        case_id=case.case_id,
        source=case.source,
        split="",
        tb_label=case.tb_label,
        patient_id=case.patient_id,
        width_px=image.shape[1],
        height_px=image.shape[0],
        image_sha256=sha256(image_path),
        mask_sha256=sha256(mask_path),
        age_years=case.age_years,
        sex=case.sex,
    )


def _check_fit(case: Case, image: Grey, masks: list[Mask]) -> None:
    height_px, width_px = (side // case.mask_downscale for side in image.shape)
    for path, mask in zip(case.mask_paths, masks, strict=True):
        if mask.shape != (height_px, width_px):
            raise UserError(
                f"{path} is {size_text(mask)}, but {case.image_path} needs a mask of {width_px}x{height_px}."
            )
    if not any(mask.any() for mask in masks):
        raise UserError(f"{case.mask_paths[0]} is empty: no pixel is lung.")


def _finish(
    data: DataConfig, folder: Path, fingerprints: dict[str, str], skipped: dict[str, str], without_mask: int
) -> list[Row]:
    """Split the prepared cases and write manifest, preview and, last of all, dataset.json."""
    done = load_progress(folder)
    rows = [done[case_id].row for case_id in sorted(fingerprints) if case_id in done and case_id not in skipped]
    if not rows:
        raise UserError(f"None of the {len(fingerprints)} cases of {data.raw_dir} can be used.\n{_first(skipped)}")
    rows = assign_splits(rows, data.test_cases, data.validation_fraction, data.split_seed)
    write_manifest(folder / MANIFEST, rows)
    write_png(folder / "preview.png", _preview(folder, rows))
    asked = dataclasses.asdict(data)
    record = {key: asked[key] for key in ("name", "image_size_px", "resize", "max_megapixels", *SPLIT_KEYS)}
    counts = {"cases": len(rows), "without_mask": without_mask, "skipped": skipped, "raw": fingerprints}
    write_record(folder, record | counts)
    return rows


def _fingerprint(case: Case) -> str:
    """What a case's raw files are, without reading them: names, sizes and times of change."""
    paths = (case.image_path, *case.mask_paths)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr((stats, case.inverted, case.mask_downscale)).encode()).hexdigest()[:16]


def _may_mend(data: DataConfig, record: dict[str, Any]) -> bool:
    """Whether cases that were skipped may be of use by now, their files unchanged: larger ones may be allowed."""
    return bool(record["skipped"]) and data.max_megapixels > record.get("max_megapixels", MAX_MEGAPIXELS)


def _record(data: DataConfig, folder: Path) -> dict[str, Any]:
    """How the set was made, empty where none is; raises a UserError if that was with other settings."""
    record = read_record(folder)
    asked = dataclasses.asdict(data)
    changed = [key for key in SPLIT_KEYS if record and record.get(key) != asked[key]]
    if changed:
        key = changed[0]
        raise UserError(
            f"data.{key}={asked[key]}, but {folder} was prepared with {record.get(key)}, and its split is kept.\n"
            "Choose another data.name, or delete that folder to prepare it anew."
        )
    return record


def _check_none_gone(record: dict[str, Any], fingerprints: dict[str, str], data: DataConfig, folder: Path) -> None:
    gone = sorted(set(record.get("raw", {})) - set(record.get("skipped", {})) - set(fingerprints))
    if gone:
        raise UserError(
            f"{len(gone)} cases of {folder} are not in data.raw_dir={data.raw_dir} any more, the first is {gone[0]}.\n"
            "Bring them back, choose another data.name, or delete that folder to prepare it anew."
        )


def _preview(folder: Path, rows: list[Row]) -> Grey:
    """Contact sheet of cases spread evenly over the set, lungs outlined."""
    chosen = rows[:: max(1, len(rows) // PREVIEW_CASES)][:PREVIEW_CASES]
    cases = [read_case(folder, row.case_id) for row in chosen]
    draw = [overlay(image, None, mask) for image, mask in cases]
    captions = [f"{row.case_id} {row.split}" for row in chosen]
    return contact_sheet(draw, captions, columns=6, tile_px=200)


def _report(folder: Path, rows: list[Row], skipped: dict[str, str], listing: Listing) -> None:
    splits = ", ".join(f"{sum(row.split == split for row in rows)} {split}" for split in SPLITS)
    labels = ", ".join(f"{sum(row.tb_label == label for row in rows)} {word}" for label, word in TB_LABELS.items())
    log.info("Prepared %d cases in %s: %s (%s). Look at preview.png.", len(rows), folder, splits, labels)
    if listing.without_mask:
        log.info("%d radiographs have no mask and were left out.", len(listing.without_mask))
    if skipped:
        log.warning("%d corrupt cases were skipped; dataset.json lists them. %s", len(skipped), _first(skipped))


def _first(skipped: dict[str, str]) -> str:
    return f"The first: {next(iter(skipped.values()))}"


@contextmanager
def _all_cores() -> Iterator[ThreadPoolExecutor]:
    """Threads suffice: decoding, resizing and hashing all release the interpreter's lock."""
    pool = ThreadPoolExecutor(usable_cores())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the rest


def _with_progress(outcomes: Iterable[Row | str], total: int) -> Iterable[Row | str]:
    bar: Iterable[Row | str] = tqdm(outcomes, "Preparing", total, unit="case", disable=None if total else True)
    return bar
