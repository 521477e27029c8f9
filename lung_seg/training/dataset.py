"""The samples of a prepared set, read from its memory map, and their order."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lung_seg.prepared.manifest import Row
from lung_seg.training.augment import Augment


class Sample(NamedTuple):
    """One case, or with a batch dimension in front, several."""

    image: Tensor  # (1, S, S) uint8
    mask: Tensor  # (1, S, S) bool
    row: Tensor  # int64, the case's row in the manifest


class SampleIndex(NamedTuple):
    """Which case to load, and the epoch that its augmentation is drawn for."""

    epoch: int
    position: int


class LungDataset(Dataset[Sample]):
    """The cases of one split.

    Args:
        path: the set's memory map, see ``packed``.
        rows: the set's whole manifest.
        splits: which of its cases.
        augment: how a training sample is varied; None leaves it as it was prepared.
        seed: with the epoch and the case's row it decides each variation, whatever the number of workers.
    """

    def __init__(self, path: Path, rows: list[Row], splits: tuple[str, ...], augment: Augment | None, seed: int):
        self.path = path
        self.row_numbers = [number for number, row in enumerate(rows) if row.split in splits]
        self.augment = augment
        self.seed = seed
        self._pixels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __getitem__(self, draw: SampleIndex) -> Sample:
        row = self.row_numbers[draw.position]
        image, mask = self.pixels[row].copy()
        if self.augment is not None:
            image, mask = self.augment(image, mask, seed=(self.seed, draw.epoch, row))
        return Sample(torch.from_numpy(image[None]), torch.from_numpy(mask[None].view(np.bool_)), torch.tensor(row))

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The memory map, opened at the first use in each process."""
        if self._pixels is None:
            self._pixels = np.asarray(np.load(self.path, mmap_mode="r"))  # plain, for a memmap takes 5 µs to be sliced
        return self._pixels

    def __getstate__(self) -> dict[str, Any]:
        """A pickled memory map would be copied whole to every worker; each opens its own."""
        return self.__dict__ | {"_pixels": None}


class WithSynthetic(Dataset[Sample]):
    """Training cases, and beside them in each epoch some phantoms of a larger set, others each time.

    Args:
        cases: the training cases.
        phantoms: what to take from.
        per_epoch: how many.
        first_row: the row that the phantoms count from, above those of all cases.
    """

    def __init__(self, cases: LungDataset, phantoms: LungDataset, per_epoch: int, first_row: int):
        self.cases = cases
        self.phantoms = phantoms
        self.per_epoch = per_epoch
        self.first_row = first_row

    def __len__(self) -> int:
        return len(self.cases) + self.per_epoch

    def __getitem__(self, draw: SampleIndex) -> Sample:
        beyond = draw.position - len(self.cases)
        if beyond < 0:
            return self.cases[draw]
        number = (draw.epoch * self.per_epoch + beyond) % len(self.phantoms)
        phantom = self.phantoms[SampleIndex(draw.epoch, number)]
        return phantom._replace(row=phantom.row + self.first_row)


class EpochSampler(DistributedSampler[SampleIndex]):
    """Draws each case once per epoch, in an order that follows from seed and epoch alone.

    Several devices share the cases; the last ones are repeated where they do not divide evenly, and the metrics count
    each case once all the same.
    """

    resume_from: tuple[int, int] = (0, 0)  # an epoch, and how many of its cases a resumed training has seen already

    def __iter__(self) -> Iterator[SampleIndex]:
        epoch, seen = self.resume_from
        draws = (SampleIndex(self.epoch, int(position)) for position in super().__iter__())  # type: ignore[call-overload]
        return islice(draws, seen if self.epoch == epoch else 0, None)


class ResumableLoader(DataLoader[Sample]):
    """A DataLoader over an ``EpochSampler`` that a resumed training goes on with in the middle of an epoch.

    Lightning keeps its state in each checkpoint.
    """

    sampler: EpochSampler
    batch_size: int
    batches_yielded = 0  # batches of this epoch

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        epoch, seen = self.sampler.resume_from
        self.batches_yielded = seen // self.batch_size if self.sampler.epoch == epoch else 0
        for batch in super().__iter__():
            self.batches_yielded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How far the epoch is."""
        return {"epoch": self.sampler.epoch, "batches": self.batches_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out in that epoch what it has given already."""
        self.sampler.resume_from = state["epoch"], state["batches"] * self.batch_size
