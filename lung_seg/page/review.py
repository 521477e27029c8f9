"""What stands behind the page: the review queue, its network, corrections and trainings, and how a mask is saved."""

from pathlib import Path
from typing import Any

from lung_seg.config import ServeConfig
from lung_seg.page.corrections import Corrections
from lung_seg.page.events import Events
from lung_seg.page.films import Film, Films, paths_of
from lung_seg.page.label_map import decode_labels, measure_lungs
from lung_seg.page.learning import Learning
from lung_seg.page.network import Network
from lung_seg.page.opened import OpenedFilm, OpenedFilms
from lung_seg.prediction.predictor import SecondStep
from lung_seg.raw.dicom import is_dicom, read_patient


class StaleMaskError(Exception):
    """A mask was changed by somebody else since it was read."""


class Review:
    """The state of a server.

    Raises:
        UserError: ``input`` names no radiograph, or a network or table cannot be read.
    """

    def __init__(self, config: ServeConfig, second_step: SecondStep | None = None):
        self.config = config
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.events = Events()
        self.network = Network(config, second_step)
        self.corrections = Corrections(Path(config.corrections))
        self.films = Films(self.output, self.network, self.corrections, self.announce)
        self.opened = OpenedFilms(self.films)
        self.learning = Learning(self.output / "learning", self.corrections, self.network, self.events)
        self.learning.use_remembered()
        paths, self.remarks = paths_of(config.input, self.output)
        self.films.add(paths)
        self.remarks += self.films.remarks

    def announce(self, film: Film) -> None:
        """Tell every page what has changed of a film."""
        self.events.send("film", film.as_json())

    def close(self) -> None:
        """Stop predictions and a training; what was saved is kept."""
        self.learning.stop()
        self.events.close()
        self.films.close()
        self.network.close()

    def describe(self, opened: OpenedFilm, header: bool) -> dict[str, Any]:
        """What the page shows beside a film; ``header`` asks for what DICOM says of the patient."""
        film, radiograph, depth = opened.film, opened.radiograph, opened.full_depth
        return film.as_json() | {
            "bits": 8 * depth.values.itemsize,
            "spacing_mm": radiograph.spacing_mm,
            "measurements": measure_lungs(opened.current_mask, radiograph.spacing_mm),
            "remarks": list(radiograph.remarks),
            "finding": _finding(film),
            "header": read_patient(film.job.path) if header and is_dicom(film.job.path) else None,
        }

    def save(self, opened: OpenedFilm, body: bytes, compressed: bool, revision: str, seconds: float) -> dict[str, Any]:
        """Save a corrected mask.

        Raises:
            StaleMaskError: ``revision`` is not that of the mask on disk.
            UserError: the bytes are no mask of this film.
        """
        film = opened.film
        labels = decode_labels(body, compressed, *opened.radiograph.pixels.shape)
        with film.lock:
            if revision != str(film.revision):
                raise StaleMaskError
            row = self.corrections.save(
                film.case,
                film.job.path,
                opened.radiograph,
                before=opened.network_mask,
                after=labels,
                seconds=seconds,
                weights=str(film.row["weights"]),
            )
            film.revision, film.corrected = row["revision"], True
        self.announce(film)
        return film.as_json() | {"dice_before_after": row["dice_before_after"]}

    def reset(self, film: Film) -> dict[str, Any]:
        """Go back to the network's mask; the corrected one is moved aside."""
        with film.lock:
            if film.corrected:
                self.corrections.remove(film.case)
                film.revision, film.corrected = film.revision + 1, False
        self.announce(film)
        return film.as_json()

    def use_learned(self, back: bool) -> None:
        """Predict with the network that was learned, or with the one before; all but corrected films anew."""
        self.learning.use(back)
        self.films.predict_again()


def _finding(film: Film) -> dict[str, Any] | None:
    """What the second step says, from the columns of predictions.csv."""
    if not film.row.get("tb_text"):
        return None
    zones = dict(part.split("=") for part in str(film.row["tb_zones"] or "").split())
    score = film.row["tb_score"]
    return {
        "score": float(score) if score not in (None, "") else None,
        "zones": {zone: float(value) for zone, value in zones.items()},
        "text": film.row["tb_text"],
    }
