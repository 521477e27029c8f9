"""The review queue: which radiographs are shown, what is known of each, and their prediction in the background."""

import csv
import hashlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lung_seg.files import write_csv
from lung_seg.page.corrections import Corrections
from lung_seg.page.network import Network
from lung_seg.prediction.batch import predict_batch
from lung_seg.prediction.inputs import TABLE, Job, find_inputs, name_results, printable
from lung_seg.prediction.table import COLUMNS, Row, read_table

WAITING, NEW, WARNED, LOOKED, CORRECTED, REFUSED = "waiting", "new", "warned", "looked", "corrected", "refused"
LOOKED_AT = "looked.csv"
UPLOADS = "films"


@dataclass
class Film:
    """One radiograph of the queue."""

    id: str
    job: Job
    row: Row = field(default_factory=dict)  # of predictions.csv; empty until it is predicted
    looked: bool = False
    revision: int = 0
    corrected: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # held while its mask is replaced

    @property
    def case(self) -> str:
        """Its name among the corrections."""
        return f"{Path(self.job.stem).name[:80]}-{self.id[:8]}"

    @property
    def state(self) -> str:
        """Where it stands in the review."""
        if not self.row:
            return WAITING
        if self.row.get("error"):
            return REFUSED
        if self.corrected:
            return CORRECTED
        if self.looked:
            return LOOKED
        return WARNED if self.row.get("warning") else NEW

    @property
    def quality(self) -> float | None:
        """How far to trust the network's mask."""
        value = self.row.get("quality")
        return None if value in (None, "") else float(value)

    def as_json(self) -> dict[str, Any]:
        """As the page shows it in the strip."""
        return {
            "id": self.id,
            "name": printable(self.job.path.name),
            "state": self.state,
            "quality": self.quality,
            "warning": self.row.get("warning") or None,
            "error": self.row.get("error") or None,
            "width_px": int(self.row.get("width_px") or 0),
            "height_px": int(self.row.get("height_px") or 0),
            "revision": self.revision,
        }


class Films:
    """The radiographs by their id, predicted in the background as they are added."""

    def __init__(
        self, output: Path, network: Network, corrections: Corrections, changed: Callable[[Film], None]
    ) -> None:
        self.output = output
        self.network = network
        self.corrections = corrections
        self.changed = changed
        self.films: dict[str, Film] = {}
        self.remarks: list[str] = []
        self._lock = threading.Lock()  # of the films and predictions.csv
        self._rows = read_table(output / TABLE)
        write_csv(output / TABLE, COLUMNS, self._rows.values())  # rows are appended to it
        self._looked = _read_looked(output / LOOKED_AT)
        # One core is left to the page, where there are several.
        self._pool = ThreadPoolExecutor(max(1, network.workers - 1), "queue")

    def add(self, paths: Iterable[Path]) -> list[Film]:
        """Add radiographs that are not in the queue yet; those without a mask of predict.py are predicted."""
        added = []
        with self._lock:
            new = [path for path in dict.fromkeys(paths) if film_id(path) not in self.films]
            known = {name: _stem(row) for name, row in self._rows.items() if row.get("mask")}
            known |= {film.job.name: film.job.stem for film in self.films.values()}
            for job in name_results(new, known) if new else []:
                film = Film(film_id(job.path), job, looked=film_id(job.path) in self._looked)
                if self.corrections.is_outdated(film.case, job.path):
                    self.corrections.remove(film.case)
                    self.remarks.append(f"{job.name} has changed since it was corrected: its mask is in removed/.")
                film.corrected = self.corrections.mask_path(film.case).is_file()
                film.revision = self.corrections.revision(film.case)
                row = self._rows.get(job.name, {})
                if self._is_done(job, row):
                    film.row = row
                self.films[film.id] = film
                added.append(film)
        for film in added:
            if not film.row:
                self._pool.submit(self._predict, film)
        return added

    def of(self, paths: Iterable[Path]) -> list[Film]:
        """The films of some files."""
        return [self.films[film_id(path)] for path in dict.fromkeys(paths)]

    def in_review_order(self) -> list[Film]:
        """The least trustworthy first; refused ones and those that wait for their mask last."""
        return sorted(self.films.values(), key=_review_order)

    def look(self, film: Film) -> None:
        """Note that a person has looked at a film."""
        with self._lock:
            film.looked = True
            self._looked.add(film.id)
            write_csv(self.output / LOOKED_AT, ("id",), ({"id": name} for name in sorted(self._looked)))
        self.changed(film)

    def predict_again(self) -> None:
        """Predict all but the refused and the corrected ones, with the network in use now."""
        for film in list(self.films.values()):
            if film.state in (NEW, WARNED, LOOKED):
                film.row = {}
                self._pool.submit(self._predict, film)
                self.changed(film)

    def close(self) -> None:
        """Stop after the radiograph that is being predicted."""
        self._pool.shutdown(cancel_futures=True)

    def _predict(self, film: Film) -> None:
        try:
            network = self.network
            (row,) = predict_batch([film.job], network.predictor, network.decoders, network.settings, self.output)
        except OSError as error:  # e.g. a full disk: the film is shown as refused, the others are predicted
            row = {"input": film.job.name, "error": f"its mask could not be written: {error.strerror or error}."}
        row = row | self.network.origin
        with self._lock:
            film.row = row
            self._rows[film.job.name] = row
            with (self.output / TABLE).open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        self.changed(film)

    def _is_done(self, job: Job, row: Row) -> bool:
        """Whether predict.py left a mask that is not older than the radiograph."""
        if not row or row.get("error"):
            return False
        mask = self.output / str(row["mask"])
        return mask.is_file() and job.path.is_file() and job.path.stat().st_mtime <= mask.stat().st_mtime


def film_id(path: Path) -> str:
    """An id that says nothing of the path, the same each time the server starts."""
    return hashlib.sha256(str(path.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]


def paths_of(text: str | None, output: Path) -> tuple[list[Path], list[str]]:
    """The radiographs of ``input=`` and the dropped ones of earlier, and remarks on what is none of them."""
    uploaded = sorted(path for path in (output / UPLOADS).glob("*/*") if not path.name.startswith("."))
    if text is None:
        return uploaded, []
    inputs = find_inputs(text, output)
    return [*inputs.paths, *uploaded], inputs.remarks


def _review_order(film: Film) -> tuple[int, float, str]:
    group = {WAITING: 1, REFUSED: 2}.get(film.state, 0)
    return group, film.quality if film.quality is not None else 1.0, film.job.name


def _stem(row: Row) -> str:
    return str(row["mask"]).removesuffix("_mask.png")


def _read_looked(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]) if path.is_file() else set()
