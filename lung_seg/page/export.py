"""The reviewed masks in a folder of their own, as predict.py writes its results."""

from pathlib import Path

import numpy as np

from lung_seg.draw import fit_for_viewing, overlay
from lung_seg.files import locked, write_csv
from lung_seg.page.films import REFUSED, WAITING, Film
from lung_seg.page.opened import OpenedFilm
from lung_seg.page.review import Review
from lung_seg.prediction.dicom_seg import write_dicom_seg
from lung_seg.prediction.inputs import MASK, OVERLAY, SEG, TABLE
from lung_seg.prediction.measurements import measure
from lung_seg.prediction.page import write_page
from lung_seg.prediction.postprocess import LEFT, RIGHT
from lung_seg.prediction.table import COLUMNS, Row, measurement_columns, read_table
from lung_seg.raw.dicom import is_dicom
from lung_seg.raw.image_file import write_png

FOLDER = "reviewed"  # below the output folder, whose masks stay the network's
CORRECTED = "corrected=true"  # among the settings of a row


def export(review: Review, dicom_seg: bool) -> tuple[Path, int]:
    """Write mask, overlay and row of every film, corrected where it was; with ``dicom_seg`` Segmentations too.

    Returns:
        The folder, and how many films were written.
    """
    folder = review.output / FOLDER
    folder.mkdir(exist_ok=True)
    films = [film for film in review.films.in_review_order() if film.state not in (WAITING, REFUSED)]
    with locked(folder / TABLE):
        rows = read_table(folder / TABLE)
        for number, film in enumerate(films, start=1):
            rows[film.job.name] = _write(OpenedFilm(film, review.films), folder, dicom_seg)
            review.events.send("message", {"text": f"Exporting: {number} of {len(films)} films."})
        write_csv(folder / TABLE, COLUMNS, rows.values())
        write_page(folder, list(rows.values()))
    return folder, len(films)


def _write(opened: OpenedFilm, folder: Path, dicom_seg: bool) -> Row:
    film, radiograph = opened.film, opened.radiograph
    labels = opened.current_mask
    right, left = labels == RIGHT, labels == LEFT
    stem = film.job.stem
    mask = right | left
    write_png(folder / f"{stem}{OVERLAY}", overlay(*fit_for_viewing(radiograph.pixels, mask), None))
    if dicom_seg and is_dicom(film.job.path):
        write_dicom_seg(folder / f"{stem}{SEG}", film.job.path, right, left, corrected=film.corrected)
    write_png(folder / f"{stem}{MASK}", mask.astype(np.uint8) * np.uint8(255))
    return _corrected_row(film, measurement_columns(measure(right, left, radiograph.spacing_mm))) | {
        "mask": f"{stem}{MASK}"
    }


def _corrected_row(film: Film, measured: Row) -> Row:
    """The row of a film; of a corrected one with its own measurements, without what was said of the old mask."""
    if not film.corrected:
        return film.row
    kept = {name: film.row[name] for name in ("input", "width_px", "height_px", "weights")}
    return kept | measured | {"settings": f"{film.row['settings']} {CORRECTED}"}
