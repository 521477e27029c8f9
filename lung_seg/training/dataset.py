"""The samples of a prepared set, read from its memory map, and their order."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
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
    """One case, or a batch of N cases."""

    image: Tensor  # (1, S, S) uint8; (N, 1, S, S) in a batch
    mask: Tensor  # (1, S, S) uint8: BACKGROUND, LUNG or UNKNOWN
    row: Tensor  # int64, the case's row in the manifest


class SampleIndex(NamedTuple):
    """Which case to load, and the epoch that its augmentation is drawn for."""

    epoch: int
    position: int


class LungDataset(Dataset[Sample]):
    """The cases of some splits.

    Args:
        path: the set's pixel cache, which is mapped into memory.
        rows: the set's whole manifest.
        splits: which of its cases.
        augment: how samples are augmented; None leaves them as they were prepared.
        exclude: ids of cases that are left out.
        seed: together with the epoch and the case's row it determines the augmentation, for any number of workers.
    """

    def __init__(
        self,
        path: Path,
        rows: list[Row],
        splits: tuple[str, ...],
        augment: Augment | None,
        seed: int,
        exclude: Collection[str] = (),
    ):
        self.path = path
        self.row_numbers = [
            number for number, row in enumerate(rows) if row.split in splits and row.case_id not in exclude
        ]
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __getitem__(self, index: SampleIndex) -> Sample:
        row = self.row_numbers[index.position]
        image, mask = np.array(self.pixels[row])
        if self.augment is not None:
            image, mask = self.augment(image, mask, seed=(self.seed, index.epoch, row))
        return Sample(torch.from_numpy(image[None]), torch.from_numpy(mask[None]), torch.tensor(row))

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The memory map, opened on first use in each process."""
        return np.load(self.path, mmap_mode="r")  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory map: pickled, it would be copied whole to every worker."""
        return {name: value for name, value in self.__dict__.items() if name != "pixels"}


class Part(NamedTuple):
    """Cases of one prepared set, of which each epoch takes the next ``per_epoch``, in turn."""

    cases: LungDataset
    per_epoch: int
    first_row: int  # of the samples' ``row``, which numbers the cases of all parts


class TrainingSamples(Dataset[Sample]):
    """The cases of several sets, one after the other; a case that is taken again is augmented differently."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts

    def __len__(self) -> int:
        return sum(part.per_epoch for part in self.parts)

    def __getitem__(self, index: SampleIndex) -> Sample:
        position = index.position
        for part in self.parts:
            if position < part.per_epoch:
                number = index.epoch * part.per_epoch + position
                sample = part.cases[SampleIndex(*divmod(number, len(part.cases)))]
                return sample._replace(row=sample.row + part.first_row)
            position -= part.per_epoch
        raise IndexError(index)


class EpochSampler(DistributedSampler[SampleIndex]):
    """Each case once per epoch, in an order that depends on seed and epoch only.

    Several devices share the cases. Where they do not divide evenly the last ones are repeated; the metrics count each
    case once.
    """

    resume_from = (0, 0)  # an epoch, and how many of its samples a resumed training has seen

    def __iter__(self) -> Iterator[SampleIndex]:
        indices = (SampleIndex(self.epoch, int(position)) for position in super().__iter__())  # type: ignore[call-overload]
        return islice(indices, self.samples_seen, None)

    @property
    def samples_seen(self) -> int:
        """Samples of this epoch that are left out because a resumed training has seen them."""
        epoch, seen = self.resume_from
        return seen if self.epoch == epoch else 0


class ResumableLoader(DataLoader[Sample]):
    """A DataLoader over an ``EpochSampler`` that can resume within an epoch; Lightning saves its state."""

    sampler: EpochSampler
    batch_size: int
    batches_yielded = 0  # of this epoch

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        self.batches_yielded = self.sampler.samples_seen // self.batch_size
        for batch in super().__iter__():
            self.batches_yielded += 1
            yield batch

    @property
    def cases_per_batch(self) -> int:
        """Samples of a batch of all devices together."""
        return self.batch_size * self.sampler.num_replicas

    def state_dict(self) -> dict[str, int]:
        """The position within the epoch, in samples of all devices: a resumed training may have other batches."""
        return {"epoch": self.sampler.epoch, "samples": self.batches_yielded * self.cases_per_batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the samples of that epoch that were yielded before; earlier versions counted batches."""
        batches = state["samples"] // self.cases_per_batch if "samples" in state else state["batches"]
        self.sampler.resume_from = state["epoch"], batches * self.batch_size
