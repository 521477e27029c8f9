"""The films that are looked at: their pixels and masks, of which the last few stay in memory."""

import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np

from lung_seg.draw import fit_within
from lung_seg.page.films import Film, Films
from lung_seg.page.label_map import LabelMap, label_lungs, read_channel
from lung_seg.prediction.inputs import EVIDENCE
from lung_seg.prediction.predictor import Prediction
from lung_seg.raw.image_file import Grey, png_bytes
from lung_seg.raw.radiograph import FullDepth

KEPT = 3  # the film in view, the one before and the next one; a full Montgomery film takes 20 MB as 8-bit grey
THUMBNAIL_PX = 160


class OpenedFilm:
    """A film's pixels; what is derived from them is worked out on first use."""

    def __init__(self, film: Film, films: Films):
        self.film = film
        self.row = film.row  # by another one its mask was made anew
        self._films = films
        self.radiograph = films.network.open(film.job.path)

    @cached_property
    def full_depth(self) -> FullDepth:
        """The grey values of the file's own depth."""
        return self._films.network.open_full_depth(self.film.job.path, self.radiograph.pixels)

    @cached_property
    def network_mask(self) -> LabelMap:
        """The label map of the mask that the network, or predict.py, left in the output folder."""
        mask = read_channel(self._films.output / str(self.film.row["mask"]), self.radiograph.pixels.shape)
        return label_lungs(mask > 0, self.radiograph.mirrored)

    @cached_property
    def prediction(self) -> Prediction:
        """A prediction anew, for what is not kept on disk: the probability and the evidence."""
        return self._films.network.predict(self.radiograph)

    @property
    def current_mask(self) -> LabelMap:
        """The corrected mask, or that of the network."""
        corrected = self._films.corrections.read(self.film.case, self.radiograph)
        return self.network_mask if corrected is None else corrected

    @property
    def evidence_path(self) -> Path:
        """Where the picture of the second step's evidence is, if there is one."""
        return self._films.output / f"{self.film.job.stem}{EVIDENCE}"

    @property
    def thumbnail(self) -> bytes:
        """A PNG of at most 160 px."""
        return png_bytes(fit_within(self.radiograph.pixels, THUMBNAIL_PX))

    @property
    def probability(self) -> Grey:
        """The network's probability of lung as 0 to 255, (H, W)."""
        return np.rint(self.prediction.probability * 255).astype(np.uint8)


class OpenedFilms:
    """Opens films, and keeps the last few."""

    def __init__(self, films: Films):
        self._films = films
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, OpenedFilm] = OrderedDict()
        self._thumbnails: dict[str, bytes] = {}

    def open(self, film: Film) -> OpenedFilm:
        """The opened film; a UserError if its file cannot be read."""
        with film.lock:  # a page asks for pixels, mask and facts at once: the file is decoded for the first of them
            opened = self._kept.get(film.id)
            if opened is None or opened.row is not film.row:
                opened = OpenedFilm(film, self._films)
        with self._lock:
            self._kept[film.id] = opened
            self._kept.move_to_end(film.id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return opened

    def thumbnail(self, film: Film) -> bytes:
        """The film's thumbnail, kept after the first time without the film itself."""
        if film.id not in self._thumbnails:
            opened = self._kept.get(film.id) or OpenedFilm(film, self._films)
            self._thumbnails[film.id] = opened.thumbnail
        return self._thumbnails[film.id]
