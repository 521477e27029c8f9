"""Batch prediction: radiographs in; masks, overlays and a table of measurements out, in constant memory."""

import csv
import errno
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lung_seg import __version__
from lung_seg.config import PredictConfig
from lung_seg.draw import fit_for_viewing, overlay, with_sides
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import locked, sha256, write_csv
from lung_seg.prediction.dicom_seg import write_dicom_seg
from lung_seg.prediction.inputs import (
    CROP,
    EVIDENCE,
    LUNGS,
    MASK,
    OVERLAY,
    SEG,
    TABLE,
    Inputs,
    Job,
    find_inputs,
    name_results,
    printable,
)
from lung_seg.prediction.measurements import Box, measure, soft_masked, spacing_warning, with_margin
from lung_seg.prediction.page import write_page
from lung_seg.prediction.predictor import Prediction, Predictor, SecondStep
from lung_seg.prediction.sharing import Share, shared
from lung_seg.prediction.table import COLUMNS, Row, error_row, read_table, result_row
from lung_seg.raw.decoding import Decoders
from lung_seg.raw.dicom import is_dicom
from lung_seg.raw.image_file import Grey, write_png
from lung_seg.raw.radiograph import Radiograph, open_radiograph, refuse_blank

CROP_MARGIN = 0.05  # around the box of the lungs, as a fraction of its longer side
HASH_DIGITS = 12  # of the SHA-256 of weights
BATCHES_AHEAD = 8  # per worker: finished batches that may wait for a slower one before them

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Numbers of radiographs, what was found wrong with them, and remarks on files that are not among them."""

    predicted: int
    skipped: int  # as existing
    replaced: int  # predicted, since their masks were made with other weights or settings
    warnings: list[str]  # of the predicted ones
    errors: list[str]  # of files that could not be used
    remarks: list[str]
    shared: int = 0  # predicted by another process at the same time


def predict(config: PredictConfig, output: Path, second_step: SecondStep | None = None) -> Outcome:
    """Predict every radiograph of the input; write its files and its row of predictions.csv to ``output``.

    A second step adds its columns and the picture of its evidence.

    Rows are appended as they are finished, so that an interrupted run can be resumed with ``skip_existing``. A second
    process that does the same in the same folder shares the radiographs with the first one; any other waits for it.

    Raises:
        UserError: no input or no network was found, or ``output`` holds a table with other columns.
    """
    inputs = find_inputs(config.input, output)
    output.mkdir(parents=True, exist_ok=True)
    cores = usable_cores()
    workers = max(1, min(cores, len(inputs.paths)))
    with closing(Decoders(workers, config.max_megapixels)) as decoders:
        predictor = Predictor(
            *config.checkpoints,
            flip=config.flip,
            cleaning=config.cleaning,
            device=config.device,
            precision=config.precision,
            second_step=second_step,
            threads=cores // workers,  # one radiograph per core is faster than two cores sharing a network's operations
        )
        origin = made_by(predictor, config)
        files = {key: getattr(config, key) for key in ("overlay", "crop", "dicom_seg")}
        work = json.dumps([[printable(path) for path in inputs.paths], origin, files])
        with shared(output / TABLE, work, len(inputs.paths)) as share:
            return _predict_share(config, inputs, output, predictor, decoders, origin, share)


def _predict_share(
    config: PredictConfig,
    inputs: Inputs,
    output: Path,
    predictor: Predictor,
    decoders: Decoders,
    origin: Row,
    share: Share,
) -> Outcome:
    """Predict the radiographs that are this process's share."""
    table = output / TABLE
    with locked(table):
        rows = read_table(table)
        write_csv(table, COLUMNS, rows.values())
    stems = {name: row["mask"].removeprefix("./").removesuffix(MASK) for name, row in rows.items() if row["mask"]}
    jobs = name_results(inputs.paths, known=stems)
    existing = [job for job in jobs if config.skip_existing and _is_done(job, rows, config, output)]
    skipped = {job for job in existing if all(rows[job.name][column] == value for column, value in origin.items())}
    todo = {job: number for number, job in enumerate(jobs) if job not in skipped}
    todo = dict(sorted(todo.items(), key=lambda item: item[1] in share.begun))
    if begun := [job.name for job, number in todo.items() if number in share.begun]:
        log.info("An earlier process ended while it predicted %s: done last.", ", ".join(begun))
    new = {}
    predicted = _predict_all(todo, predictor, decoders, config, output, share)
    with tqdm(total=len(todo), unit="image", disable=None if todo else True) as bar:
        for job, row in predicted:
            row |= origin
            with locked(table), table.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            share.finish(todo[job])
            new[job.name] = row
            bar.update()
    with locked(table):
        rows = read_table(table)
        write_csv(table, COLUMNS, rows.values())
        write_page(output, rows.values())
    errors, warnings = ([row[column] for row in new.values() if row.get(column)] for column in ("error", "warning"))
    replaced = len(existing) - len(skipped)
    shared_out = len(todo) - len(new)
    return Outcome(len(new) - len(errors), len(skipped), replaced, warnings, errors, inputs.remarks, shared_out)


def made_by(predictor: Predictor, config: PredictConfig) -> Row:
    """The columns that say what makes a row: the weights, in any order, and the settings that change it."""
    settings = {
        "lung_seg": __version__,
        "flip": config.flip,
        "cleaning": config.cleaning,
        "inverted": config.inverted,
        "window": config.window,
        "spacing_mm": config.spacing_mm,
        "precision": "+".join(sorted({backend.precision for backend in predictor.backends})),
        "tuberculosis": predictor.second_step.digest[:HASH_DIGITS] if predictor.second_step else False,
    }
    return {
        "weights": " ".join(sorted(sha256(backend.path)[:HASH_DIGITS] for backend in predictor.backends)),
        "settings": " ".join(f"{key}={value}".lower() for key, value in settings.items()),
    }


def _is_done(job: Job, rows: Mapping[str, Row], config: PredictConfig, output: Path) -> bool:
    """Whether all requested files of a radiograph exist, and its mask is not older than the radiograph."""
    row = rows.get(job.name)
    if row is None or row["error"]:
        return False
    paths = _result_paths(job, config, output, bool(row["box_width_px"]), bool(row["tb_score"]))
    if not all(path.is_file() for path in paths.values()):
        return False
    return not job.path.is_file() or job.path.stat().st_mtime <= paths[MASK].stat().st_mtime


def _result_paths(
    job: Job, config: PredictConfig, output: Path, has_lungs: bool, has_evidence: bool
) -> dict[str, Path]:
    """The files to write for a radiograph, by the ending of their name."""
    endings = [MASK]
    if config.overlay:
        endings.append(OVERLAY)
    if has_evidence:
        endings.append(EVIDENCE)
    if config.crop and has_lungs:
        endings += [CROP, LUNGS]
    if config.dicom_seg and is_dicom(job.path):
        endings.append(SEG)
    return {ending: output / f"{job.stem}{ending}" for ending in endings}


def _predict_all(
    jobs: Mapping[Job, int],
    predictor: Predictor,
    decoders: Decoders,
    config: PredictConfig,
    output: Path,
    share: Share,
) -> Iterator[tuple[Job, Row]]:
    """Predict this process's share of the jobs in parallel; yields the rows in the order of the jobs.

    What another process had begun is tried again at the end: it may have been killed.
    """
    size = config.batch_size or predictor.best_batch_size

    def predict_claimed(batch: list[Job]) -> list[tuple[Job, Row]]:
        claimed = [job for job in batch if share.claim(jobs[job])]
        return list(zip(claimed, predict_batch(claimed, predictor, decoders, config, output), strict=True))

    left, count = list(jobs), -1
    with ThreadPoolExecutor(decoders.threads) as pool:
        while len(left) != count:
            count = len(left)
            done = set()
            for job, row in _in_order(pool, predict_claimed, left, size, BATCHES_AHEAD * decoders.threads):
                done.add(job)
                yield job, row
            left = [job for job in left if job not in done]


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[list[Job]], list[tuple[Job, Row]]],
    jobs: list[Job],
    size: int,
    ahead: int,
) -> Iterator[tuple[Job, Row]]:
    """The results of a function of batches, of which so many may wait for a slower one before them."""
    pending: deque[Future[list[tuple[Job, Row]]]] = deque()
    try:
        for start in range(0, len(jobs), size):
            pending.append(pool.submit(function, jobs[start : start + size]))
            if len(pending) >= ahead:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def predict_batch(
    jobs: list[Job], predictor: Predictor, decoders: Decoders, config: PredictConfig, output: Path
) -> list[Row]:
    """Predict a batch and write its files; a radiograph that fails gets a row with its error."""
    rows: dict[Job, Row] = {}
    loaded: list[tuple[Job, Radiograph, Grey]] = []
    for job in jobs:
        with _failures_in(rows, job):
            settings = (config.inverted, config.max_megapixels, config.window)
            radiograph = decoders.run(job.path, open_radiograph, job.path, *settings)
            refuse_blank(job.path, radiograph.pixels)
            loaded.append((job, radiograph, predictor.to_network_input(radiograph.pixels, radiograph.mirrored)))
    probabilities = predictor.probabilities([network_input for *_, network_input in loaded])
    for (job, radiograph, network_input), probability in zip(loaded, probabilities, strict=True):
        with _failures_in(rows, job):
            prediction = predictor.finish(radiograph, network_input, probability)
            spacing_mm = (config.spacing_mm, config.spacing_mm) if config.spacing_mm else radiograph.spacing_mm
            measured = measure(prediction.right, prediction.left, spacing_mm)
            implausible = spacing_warning(measured, radiograph.pixels.shape, spacing_mm, not config.spacing_mm)
            warning = "; ".join(filter(None, [prediction.warning, implausible]))
            _write_files(job, radiograph.pixels, prediction, measured.box, warning, config, output)
            rows[job] = result_row(job, prediction, measured, warning)
    return [rows[job] for job in jobs]


@contextmanager
def _failures_in(rows: dict[Job, Row], job: Job) -> Iterator[None]:
    """Turn whatever a radiograph raises into its row, so that the others are predicted.

    Errors of the machine, such as a full disk, are raised: they would meet every radiograph.
    """
    try:
        yield
    except UserError as error:
        rows[job] = error_row(job, error)
    except MemoryError:
        rows[job] = error_row(job, UserError(f"{job.path} needs more memory than this machine has free."))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        rows[job] = error_row(job, UserError(f"{job.path} has a name too long for those of its results."))
    except Exception as error:
        rows[job] = error_row(job, UserError(f"{job.path} cannot be predicted: {type(error).__name__}."))


def _write_files(
    job: Job, image: Grey, prediction: Prediction, box: Box | None, warning: str, config: PredictConfig, output: Path
) -> None:
    """Write the requested files of a radiograph, the mask last: where it exists the others do."""
    mask = prediction.mask
    evidence = prediction.finding.picture if prediction.finding else None
    paths = _result_paths(job, config, output, box is not None, evidence is not None)
    if OVERLAY in paths:
        picture = overlay(*fit_for_viewing(image, mask), None)
        write_png(paths[OVERLAY], with_sides(picture, not prediction.mirrored, printable(warning)))
    if evidence is not None:
        write_png(paths[EVIDENCE], evidence)
    if CROP in paths and box:
        inside = with_margin(box, CROP_MARGIN, *image.shape)
        write_png(paths[CROP], image[inside])
        write_png(paths[LUNGS], soft_masked(image, mask)[inside])
    if SEG in paths:
        write_dicom_seg(paths[SEG], job.path, prediction.right, prediction.left)
    write_png(paths[MASK], mask.astype(np.uint8) * np.uint8(255))
