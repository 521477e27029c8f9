"""Files in; masks, overlays and a table of measurements out, however many there are."""

import csv
import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from lung_seg.config import PredictConfig
from lung_seg.draw import fit_within, overlay
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import atomic_path
from lung_seg.prediction.dicom_seg import write_dicom_seg
from lung_seg.prediction.inputs import Job, find_inputs, name_results
from lung_seg.prediction.measurements import Box, Measurements, measure, soft_masked, with_margin
from lung_seg.prediction.postprocess import Probability
from lung_seg.prediction.predictor import Prediction, Predictor
from lung_seg.raw.dicom import is_dicom
from lung_seg.raw.image_file import Grey, write_png
from lung_seg.raw.masks import Mask
from lung_seg.raw.radiograph import Radiograph, open_radiograph

TABLE = "predictions.csv"
# How the names of what is written end.
MASK, OVERLAY, CROP, LUNGS, SEG = "_mask.png", "_overlay.png", "_crop.png", "_lungs.png", "_seg.dcm"
COLUMNS = (
    "input",
    "mask",
    "width_px",
    "height_px",
    *(name for name in Measurements.__dataclass_fields__ if name != "box"),
    *(f"box_{name}" for name in Box._fields),
    "quality",
    "warning",
    "error",
)
CROP_MARGIN = 0.05  # room around the box of the lungs, as a fraction of its longer side
OVERLAY_PX = 1024  # the longer side of an overlay: people look at it, nobody measures on it
ROWS_AHEAD = 8  # finished batches, for each core, that may wait for a slower one before them

Row = dict[str, Any]
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Loaded:
    """A radiograph, and what the network sees of it."""

    job: Job
    radiograph: Radiograph
    network_input: Grey


@dataclass(frozen=True)
class Outcome:
    """How many radiographs were predicted, had been before, got a warning, and failed."""

    predicted: int
    skipped: int
    warned: int
    failed: int


def predict(config: PredictConfig, output: Path) -> Outcome:
    """Predict every radiograph of the input; write its files and its row of predictions.csv below ``output``.

    Memory does not grow with the number of radiographs: each core takes a batch of them from file to file.

    Raises:
        UserError: there is no input, no such network, or a table of somebody else's where this one would be.
    """
    rows = read_table(output / TABLE)
    paths = find_inputs(config.input, output)
    jobs = name_results(paths, {name: row["mask"].removesuffix(MASK) for name, row in rows.items() if row["mask"]})
    todo = [job for job in jobs if not (config.skip_existing and _is_done(rows.get(str(job.path)), config, output))]
    cores = usable_cores()
    workers = max(1, min(cores, len(todo)))
    # A core for each radiograph: two cores that share a network's work are slower than two networks side by side.
    predictor = Predictor(
        *config.checkpoints,
        flip=config.flip,
        cleaning=config.cleaning,
        device=config.device,
        precision=config.precision,
        threads=cores // workers,
    )
    write_table(output / TABLE, rows)
    new = []
    found = _predicted(todo, predictor, config, output, workers)
    for row in tqdm(found, total=len(todo), unit="image", disable=not todo):
        append_row(output / TABLE, row)
        new.append(row)
    write_table(output / TABLE, rows | {row["input"]: row for row in new})
    failed, warned = (sum(bool(row[column]) for row in new) for column in ("error", "warning"))
    return Outcome(len(new) - failed, len(jobs) - len(todo), warned, failed)


def read_table(path: Path) -> dict[str, Row]:
    """The whole rows of predictions.csv by their input, the last one of each; none where there is no such file.

    Raises:
        UserError: the file is not one of this program's, and would be lost.
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
    return {row["input"]: row for row in rows if _is_whole(row)}


def write_table(path: Path, rows: dict[str, Row]) -> None:
    """Write predictions.csv whole."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def append_row(path: Path, row: Row) -> None:
    """Add a row to predictions.csv at once, so that a run that is stopped keeps what it did."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)


def _is_whole(row: Row) -> bool:
    """Whether it is not the last one of a process that was killed, and its mask lies in the output folder."""
    if None in row or None in row.values():
        return False
    mask = PurePath(row["mask"])
    return not mask.is_absolute() and ".." not in mask.parts


def _is_done(row: Row | None, config: PredictConfig, output: Path) -> bool:
    """Whether all that is asked for has been written."""
    if row is None or row["error"]:
        return False
    stem = row["mask"].removesuffix(MASK)
    endings = _endings(config, Path(row["input"]), has_lungs=bool(row["box_width_px"]))
    return all((output / f"{stem}{ending}").is_file() for ending in endings)


def _endings(config: PredictConfig, path: Path, has_lungs: bool) -> Iterator[str]:
    """How the names of a radiograph's results end."""
    if config.overlay:
        yield OVERLAY
    if config.crop and has_lungs:
        yield from (CROP, LUNGS)
    if config.dicom_seg and is_dicom(path):
        yield SEG
    yield MASK


def _predicted(
    jobs: list[Job], predictor: Predictor, config: PredictConfig, output: Path, workers: int
) -> Iterator[Row]:
    """A row for each job, in their order."""
    size = config.batch_size or predictor.best_batch_size
    batches = (jobs[start : start + size] for start in range(0, len(jobs), size))
    with ThreadPoolExecutor(workers) as pool:
        try:
            done = _ahead(pool, partial(_predict_batch, predictor, config, output), batches, ROWS_AHEAD * workers)
            yield from chain.from_iterable(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[ItemT], ResultT], items: Iterable[ItemT], most: int
) -> Iterator[ResultT]:
    """The function's results in order, so many of them at most computed before they are asked for."""
    pending: deque[Future[ResultT]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _predict_batch(predictor: Predictor, config: PredictConfig, output: Path, jobs: list[Job]) -> list[Row]:
    """From files to files and rows; a radiograph that fails gets a row with its error."""
    loaded = [_load(predictor, config, job) for job in jobs]
    probabilities = iter(predictor.probabilities([item.network_input for item in loaded if isinstance(item, Loaded)]))
    return [
        _finish(predictor, config, output, item, next(probabilities)) if isinstance(item, Loaded) else _failed(*item)
        for item in loaded
    ]


def _load(predictor: Predictor, config: PredictConfig, job: Job) -> Loaded | tuple[Job, UserError]:
    try:
        radiograph = open_radiograph(job.path, config.inverted, config.max_megapixels)
        return Loaded(job, radiograph, predictor.to_network_input(radiograph.pixels))
    except UserError as error:
        return job, error


def _finish(predictor: Predictor, config: PredictConfig, output: Path, loaded: Loaded, probability: Probability) -> Row:
    """Write the files of one radiograph and return its row."""
    prediction = predictor.finish(loaded.network_input, probability, *loaded.radiograph.pixels.shape)
    spacing_mm = (config.spacing_mm,) * 2 if config.spacing_mm else loaded.radiograph.spacing_mm
    measured = measure(prediction.right, prediction.left, spacing_mm)
    try:
        mask_name = _write_files(loaded, prediction, measured.box, config, output)
    except UserError as error:
        return _failed(loaded.job, error)
    return _row(loaded, mask_name, measured, prediction)


def _write_files(loaded: Loaded, prediction: Prediction, box: Box | None, config: PredictConfig, output: Path) -> str:
    """Write the mask and what else is asked for; returns the mask's name below the output folder."""
    image, mask = loaded.radiograph.pixels, prediction.mask
    target = partial(_target, output, loaded.job)
    endings = set(_endings(config, loaded.job.path, has_lungs=box is not None))
    if OVERLAY in endings:
        write_png(target(OVERLAY), _small_overlay(image, mask))
    if CROP in endings and box:
        rows, columns = with_margin(box, CROP_MARGIN, *image.shape)
        write_png(target(CROP), image[rows, columns])
        write_png(target(LUNGS), soft_masked(image, mask)[rows, columns])
    if SEG in endings:
        write_dicom_seg(target(SEG), loaded.job.path, prediction.right, prediction.left)
    write_png(target(MASK), mask.astype(np.uint8) * np.uint8(255))
    return target(MASK).relative_to(output).as_posix()


def _target(output: Path, job: Job, ending: str) -> Path:
    return output / f"{job.stem}{ending}"


def _small_overlay(image: Grey, mask: Mask) -> Grey:
    """The radiograph with the mask's outline, its longer side at most OVERLAY_PX."""
    small = fit_within(image, OVERLAY_PX)
    small_mask = cv2.resize(mask.view(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return overlay(small, small_mask, None)


def _row(loaded: Loaded, mask_name: str, measured: Measurements, prediction: Prediction) -> Row:
    height_px, width_px = loaded.radiograph.pixels.shape
    numbers = dataclasses.asdict(measured)
    box = numbers.pop("box") or ("",) * len(Box._fields)
    return _empty_row(loaded.job) | {
        "mask": mask_name,
        "width_px": width_px,
        "height_px": height_px,
        **numbers,
        **{f"box_{name}": value for name, value in zip(Box._fields, box, strict=True)},
        "lung_area_fraction": round(measured.lung_area_fraction, 6),
        "quality": round(prediction.quality, 4),
        "warning": prediction.warning,
    }


def _empty_row(job: Job) -> Row:
    return dict.fromkeys(COLUMNS, "") | {"input": str(job.path)}


def _failed(job: Job, error: UserError) -> Row:
    return _empty_row(job) | {"error": " ".join(str(error).splitlines())}
