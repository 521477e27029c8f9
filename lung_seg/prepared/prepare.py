"""Raw radiographs into a prepared set: square 8-bit PNGs, their masks, a manifest and a preview.

An interrupted preparation resumes: each prepared case is in the set's progress log.
"""

import dataclasses
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lung_seg.config import LUNG, SPLITS, UNKNOWN, DataConfig
from lung_seg.draw import contact_sheet, overlay
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import locked, remove_parts, sha256
from lung_seg.prepared import store
from lung_seg.prepared.manifest import TB_LABELS, Row, read_splits, write_manifest
from lung_seg.prepared.plausibility import (
    Appearance,
    describe,
    mask_remarks,
    refuse_masks,
    refuse_two_levels,
    remarks_by_text,
    set_warnings,
)
from lung_seg.prepared.settings import (
    RECORDED_KEYS,
    read_checked_record,
    refuse_other_files,
    refuse_other_place,
    refuse_other_reading,
    repeat_warnings,
)
from lung_seg.prepared.split import assign_splits
from lung_seg.raw.case import Case, Listing
from lung_seg.raw.decoding import Decoders
from lung_seg.raw.image_file import Grey, write_png
from lung_seg.raw.masks import Mask
from lung_seg.raw.partly_known import labels_to_grey, labels_to_network_input, read_case_masks
from lung_seg.raw.radiograph import open_radiograph, refuse_blank
from lung_seg.raw.resize import to_network_input
from lung_seg.raw.sources import find_cases

PREVIEW_CASES = 24
STOP_REMEDY = "Repair or remove the file, or skip such cases with data.on_error=skip."

log = logging.getLogger(__name__)


def prepare(data: DataConfig) -> Path:
    """Make the prepared set, or bring it up to date, and return its folder.

    Raises:
        UserError: no cases are found, a case is corrupt and ``data.on_error=stop``, or the set has another split.
    """
    folder = store.prepared_folder(data)
    record = read_checked_record(data, folder)
    try:
        listing = _find_raw_cases(data)
    except UserError as error:
        if not record:
            raise
        refuse_other_place(data, folder, record, str(error).splitlines()[0])
        refuse_other_reading(data, folder)
        if record["skipped"] and data.on_error == "stop":
            raise UserError(f"{next(iter(record['skipped'].values()))}\n{STOP_REMEDY}") from error
        log.info("%s is used unchanged: %s", folder, str(error).splitlines()[0])
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _update(data, folder, listing)
    repeat_warnings(folder)
    return folder


def prepare_shard(data: DataConfig, shard: tuple[int, int]) -> None:
    """Prepare one part of the cases, (3, 16) being the third of 16; other processes prepare the other parts.

    ``prepare`` then makes the set of all of them. The errors are those of ``prepare``.
    """
    number, of = shard
    folder = store.prepared_folder(data)
    read_checked_record(data, folder)
    cases = sorted(_find_raw_cases(data).cases, key=lambda case: case.case_id)[number - 1 :: of]
    folder.mkdir(parents=True, exist_ok=True)
    progress_log = folder / f"shard-{number}-of-{of}.jsonl"
    with locked(progress_log):
        progress_log.touch()
        skipped, _ = _prepare_cases(data, folder, cases, _fingerprints(cases, data.window), progress_log)
    log.info("Shard %d/%d: %d cases in %s.", number, of, len(cases) - len(skipped), folder)
    log.info("When all shards are done, run the same command without shard= to finish the set.")


def _find_raw_cases(data: DataConfig) -> Listing:
    if data.download:
        from lung_seg.raw.download import download  # only this needs pooch and requests

        download(data.source, Path(data.raw_dir))
    return find_cases(data)


def _update(data: DataConfig, folder: Path, listing: Listing) -> None:
    record = read_checked_record(data, folder)  # again: another process may have written it before the lock was free
    fingerprints = _fingerprints(listing.cases, data.window)
    is_current = record.get("version") == store.FORMAT_VERSION
    is_same = is_current and record["raw"] == fingerprints
    if record and not is_current:
        log.info("%s was prepared by another version of lung_seg: it is prepared again, with the same split.", folder)
    if is_same and not record["skipped"]:
        log.info("%s is up to date: %d cases.", folder, len(fingerprints))
        return
    removed = sorted(set(record.get("raw", {})) - set(record.get("skipped", {})) - set(fingerprints))
    if removed:
        raise UserError(
            f"{len(removed)} cases of {folder} are no longer in data.raw_dir={data.raw_dir}, first {removed[0]}.\n"
            "Restore them, choose another data.name, or delete that folder to prepare it again."
        )
    if is_current and not is_same:
        refuse_other_files(data, folder, record, {case.case_id: case.image_path for case in listing.cases})
    if not is_same:
        for remark in listing.remarks:
            log.info(remark)
    with ExitStack() as shards:
        for path in store.progress_logs(folder):
            shards.enter_context(locked(path))  # waits for shards that are still running
        for place in (folder, *(folder / name for name in store.SUBFOLDERS)):
            remove_parts(place)
        # Skipped cases are tried again: another limit, an installed package or data.on_error=stop may change them.
        skipped, prepared = _prepare_cases(data, folder, listing.cases, fingerprints, folder / store.PROGRESS_LOG)
    if is_same and not prepared:
        log.info("%s is up to date: %d cases, %d skipped.", folder, len(fingerprints) - len(skipped), len(skipped))
        return
    _report(folder, _finish(data, folder, fingerprints, skipped, len(listing.without_mask)), skipped)
    if listing.without_mask:
        log.info("%d radiographs have no mask and were left out.", len(listing.without_mask))


def _report(folder: Path, rows: list[Row], skipped: dict[str, str]) -> None:
    splits = ", ".join(f"{sum(row.split == split for row in rows)} {split}" for split in SPLITS)
    labels = ", ".join(f"{sum(row.tb_label == label for row in rows)} {word}" for label, word in TB_LABELS.items())
    log.info("Prepared %d cases in %s: %s (%s). Look at preview.png.", len(rows), folder, splits, labels)
    for text, case_ids in remarks_by_text(store.read_record(folder)["remarks"]).items():
        log.info("%d of %d radiographs, first %s: %s.", len(case_ids), len(rows), case_ids[0], text)
    if skipped:
        first = next(iter(skipped.values()))
        log.warning("%d corrupt cases were skipped; dataset.json lists them. The first: %s", len(skipped), first)


def _prepare_cases(
    data: DataConfig, folder: Path, cases: list[Case], fingerprints: dict[str, str], progress_log: Path
) -> tuple[dict[str, str], int]:
    """Prepare the cases that are not prepared yet, on all cores.

    Returns the reason of each skipped case, and how many were prepared.
    """
    prepared_from = {case_id: case.fingerprint for case_id, case in store.load_progress(folder).items()}
    todo = [case for case in cases if prepared_from.get(case.case_id) != fingerprints[case.case_id]]
    skipped: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    decoders = Decoders(usable_cores(), data.max_megapixels)
    pool = ThreadPoolExecutor(decoders.threads)  # resizing and hashing release the interpreter's lock
    try:
        futures = {pool.submit(_prepare_case, case, decoders, folder, data): case for case in todo}
        for future, case in tqdm(futures.items(), "Preparing", unit="case", disable=None if todo else True):
            try:
                row, appearance, remarks = future.result()
            except OSError:  # of the machine, such as a full disk: it would meet every case
                raise
            except Exception as error:  # whatever a case raises, the others can be prepared
                reason = _reason(error, case)
                if data.on_error == "stop":
                    raise UserError(f"{reason}\n{STOP_REMEDY}") from error
                skipped[case.case_id] = reason
            else:
                prepared = store.PreparedCase(row, fingerprints[case.case_id], appearance, remarks)
                store.append_progress(progress_log, prepared)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what was prepared is kept: the same command continues.") from None
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the remaining cases
        decoders.close()
    return skipped, len(todo) - len(skipped)


def _reason(error: Exception, case: Case) -> str:
    """Why a case is not prepared, in one line that names its file."""
    if not isinstance(error, UserError):
        return f"{case.image_path} cannot be prepared: {type(error).__name__}."
    text = str(error).replace("\n", " ")
    is_named = any(str(path) in text for path in (case.image_path, *case.mask_paths))
    return text if is_named else f"{case.image_path}: {text}"


def _prepare_case(
    case: Case, decoders: Decoders, folder: Path, data: DataConfig
) -> tuple[Row, Appearance, tuple[str, ...]]:
    size_px, resize = data.image_size_px, data.resize
    settings = (case.inverted, data.max_megapixels, data.window)
    radiograph = decoders.run(case.image_path, open_radiograph, case.image_path, *settings)
    image, spacing_mm = radiograph.pixels, radiograph.spacing_mm or (None, None)
    refuse_blank(case.image_path, image)
    refuse_two_levels(case.image_path, image)
    masks = decoders.run(", ".join(map(str, case.mask_paths)), read_case_masks, case, data.max_megapixels)
    refuse_masks(case, image, masks, radiograph.turned)
    labels = masks.labels().repeat(case.mask_downscale, axis=0).repeat(case.mask_downscale, axis=1)
    if radiograph.mirrored:  # training and evaluation see every radiograph in the usual orientation
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    network_labels = labels_to_network_input(labels, size_px, resize)
    network_input = to_network_input(image, size_px, resize)
    appearance = describe(network_input, network_labels == (LUNG if LUNG in network_labels else UNKNOWN))
    original_mask = labels_to_grey(labels) if UNKNOWN in labels else labels == LUNG
    pictures: tuple[Grey | Mask, ...] = (network_input, labels_to_grey(network_labels), original_mask)
    image_sha256, mask_sha256, original_mask_sha256 = (
        store.write_case_png(folder, kind, case.case_id, picture)
        for kind, picture in zip(store.SUBFOLDERS, pictures, strict=True)
    )
    row = Row(
        case_id=case.case_id,
        source=case.source,
        split="",
        tb_label=case.tb_label,
        patient_id=case.patient_id,
        width_px=image.shape[1],
        height_px=image.shape[0],
        raw_sha256=sha256(case.image_path),
        image_sha256=image_sha256,
        mask_sha256=mask_sha256,
        original_mask_sha256=original_mask_sha256,
        spacing_row_mm=spacing_mm[0],
        spacing_column_mm=spacing_mm[1],
        age_years=case.age_years,
        sex=case.sex,
    )
    return row, appearance, radiograph.remarks + mask_remarks(case, masks.lungs, radiograph.turned) + appearance.remarks


def _finish(
    data: DataConfig, folder: Path, fingerprints: dict[str, str], skipped: dict[str, str], without_mask: int
) -> list[Row]:
    """Split the prepared cases and write manifest, preview and, last of all, dataset.json."""
    prepared = store.load_progress(folder)
    usable = [case_id for case_id in sorted(fingerprints) if case_id in prepared and case_id not in skipped]
    if not usable:
        first = next(iter(skipped.values()))
        raise UserError(f"None of the {len(fingerprints)} cases of {data.raw_dir} can be used.\nThe first: {first}")
    splits = read_splits(folder / store.MANIFEST)
    rows = [dataclasses.replace(prepared[case_id].row, split=splits.get(case_id, "")) for case_id in usable]
    rows = assign_splits(rows, data.test_cases, data.validation_fraction, data.split_seed)
    write_manifest(folder / store.MANIFEST, rows)
    chosen = rows[:: max(1, len(rows) // PREVIEW_CASES)][:PREVIEW_CASES]  # spread evenly over the set
    moved = [row.case_id for row in rows if splits.get(row.case_id, row.split) != row.split]
    if moved:
        log.warning("%d cases moved to the split of their patient, first %s.", len(moved), moved[0])
    cases = [store.read_case(folder, row.case_id) for row in chosen]
    pictures = [overlay(image, None, labels == LUNG) for image, labels in cases]
    captions = [f"{row.case_id} {row.split}" for row in chosen]
    write_png(folder / "preview.png", contact_sheet(pictures, captions, columns=6, tile_px=200))
    settings = dataclasses.asdict(data)
    record = {"version": store.FORMAT_VERSION} | {key: settings[key] for key in RECORDED_KEYS}
    counts = {"cases": len(rows), "without_mask": without_mask, "skipped": skipped, "raw": fingerprints}
    appearance = {case_id: prepared[case_id].appearance for case_id in usable}
    remarks = {case_id: prepared[case_id].remarks for case_id in usable if prepared[case_id].remarks}
    seen = {"warnings": set_warnings(appearance, remarks), "remarks": remarks, "appearance": appearance}
    store.write_record(folder, record | counts | seen)
    return rows


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size and modification time in ns; zeros for a broken link, which reading reports."""
    try:
        return path.stat().st_size, path.stat().st_mtime_ns
    except OSError:
        return 0, 0


def _fingerprints(cases: list[Case], window: str) -> dict[str, str]:
    """Of each case a hash of its labels, how it is read, and its files' names, sizes and modification times."""
    fingerprints = {}
    for case in cases:
        paths = (case.image_path, *case.mask_paths, *filter(None, [case.bounds_path]))
        stats = [(path.name, *_size_and_time(path)) for path in paths]
        labels: tuple[object, ...] = (case.lung_labels, case.patient_id, case.tb_label, case.age_years, case.sex)
        if case.ignore_value is not None:
            labels = (*labels, case.ignore_value)
        values = repr((stats, case.inverted, window, case.mask_downscale, labels))
        fingerprints[case.case_id] = hashlib.sha256(values.encode()).hexdigest()[:16]
    return fingerprints
