"""The LightningDataModule: a prepared set as batches."""

import dataclasses
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lung_seg.config import SPLITS, AugmentationConfig, DataConfig
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import open_in_use
from lung_seg.prediction.quality import ReferenceRanges, reference_ranges
from lung_seg.prepared.manifest import Row
from lung_seg.prepared.pixel_cache import PixelCache, build_cache
from lung_seg.prepared.prepare import prepare
from lung_seg.prepared.split import assign_folds
from lung_seg.prepared.store import prepared_folder
from lung_seg.training.augment import Augment
from lung_seg.training.dataset import EpochSampler, LungDataset, ResumableLoader, Sample, SampleIndex, WithSynthetic

MOST_WORKERS = 8  # a core augments a 512 px sample in a few ms: eight feed a GPU
MANY_CASES = 2000  # more say no more about what lungs look like, and each takes half a millisecond


class LungDataModule(pl.LightningDataModule):
    """Prepares the set where it is missing, and batches its splits.

    Args:
        data: where the cases come from, how they are prepared, split and batched.
        augmentation: how training samples are varied.
        seed: order of the cases and augmentation follow from it.
    """

    def __init__(self, data: DataConfig, augmentation: AugmentationConfig, seed: int):
        super().__init__()
        self.prepare_data_per_node = False  # the nodes of a cluster share the folder: one of them prepares
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.cache: PixelCache | None = None
        self.phantoms: PixelCache | None = None  # to train on beside the cases
        self.rows: list[Row] = []
        self.test_splits: tuple[str, ...] = ("test",)  # an evaluation may score others
        self.test_augment: Augment | None = None  # and vary them, to see what a network stands

    @property
    def folder(self) -> Path:
        """The prepared set's folder."""
        return prepared_folder(self.data)

    def prepare_data(self) -> None:
        """Prepare and pack the set; only one process of a run does."""
        if not self.cache:  # Lightning asks again before the test that follows a training
            self.cache = build_cache(prepare(self.data))
            if self.data.synthetic_per_epoch:
                self.phantoms = build_cache(prepare(_phantom_set(self.data)))

    def setup(self, stage: str) -> None:
        """Take the set as the one process found it, and deal the folds when asked.

        All processes keep to it from the training to the test, even if another run prepares the folder anew.
        """
        if self.rows:
            return
        prepared = (self.cache, self.phantoms)
        cache, self.phantoms = self.trainer.strategy.broadcast(prepared) if self.trainer else prepared
        assert cache is not None  # Lightning has the main process prepare the data first
        self.pixels, self.rows, self.manifest_sha256 = cache
        for read in filter(None, (cache, self.phantoms)):
            weakref.finalize(self, open_in_use(read.path).close)
        if self.data.folds:
            self.rows = assign_folds(self.rows, self.data.folds, self.data.fold, self.data.split_seed)

    def state_dict(self) -> dict[str, Any]:
        """Kept in each checkpoint: SHA-256 of the prepared radiographs of each split, and what their lungs look like.

        By the hashes an evaluation can tell which cases a network has seen, and a resumed training that nothing
        changed; by the ranges of the lungs' features a prediction can tell what is no chest.
        """
        return self._hashes() | {"ranges": self._ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other cases than the training began with.

        Raises:
            UserError: the splits differ.
        """
        changed = [split for split, ours in self._hashes().items() if set(ours) != set(state_dict[split])]
        if changed:
            raise UserError(
                f"The {changed[0]} cases of {self.folder} are not those that the training began with.\n"
                "Resume it with the same data, split and fold, or start a new run."
            )

    def dataset(self, *splits: str, augment: Augment | None = None) -> LungDataset:
        """The cases of some splits."""
        return LungDataset(self.pixels, self.rows, splits, augment, self.seed)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented batches in a new order each epoch; a last batch that is not full is left out.

        Raises:
            UserError: there are fewer training cases than one batch on each device takes.
        """
        dataset = self._training_samples()
        needed = self.data.batch_size * self._world_size
        if len(dataset) < needed:
            devices = f" on {self._world_size} devices" if self._world_size > 1 else ""
            raise UserError(
                f"data.batch_size={self.data.batch_size}{devices} exceeds the {len(dataset)} training cases in "
                f"{self.folder}.\nLower data.batch_size or prepare more cases."
            )
        return self._loader(dataset, shuffle=True)

    def case_id(self, row: int) -> str:
        """The case of a sample, or the phantom."""
        rows = self.rows + (self.phantoms.rows if self.phantoms else [])
        return rows[row].case_id

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation cases as they were prepared."""
        return self._loader(self.dataset("validation"), shuffle=False)

    def test_dataloader(self) -> DataLoader[Sample]:
        """The cases of ``test_splits``, as they were prepared or varied by ``test_augment``."""
        return self._loader(self.dataset(*self.test_splits, augment=self.test_augment), shuffle=False)

    def workers(self, device: str) -> int:
        """How many processes load and augment for a kind of device."""
        if self.data.workers is not None:
            return self.data.workers
        return min(MOST_WORKERS, usable_cores()) if device == "cuda" else 0

    def _hashes(self) -> dict[str, list[str]]:
        return {split: [row.image_sha256 for row in self.rows if row.split == split] for split in SPLITS}

    @cached_property
    def _ranges(self) -> ReferenceRanges:
        """Of each feature of the lungs, over the training cases as they were prepared, or some thousands of them."""
        dataset = self.dataset("train")
        every = max(1, len(dataset) // MANY_CASES)
        samples = (dataset[SampleIndex(0, position)] for position in range(0, len(dataset), every))
        return reference_ranges((sample.image[0].numpy(), sample.mask[0].numpy()) for sample in samples)

    def _training_samples(self) -> LungDataset | WithSynthetic:
        augment = Augment(self.augmentation, self.data.image_size_px)
        cases = self.dataset("train", augment=augment)
        if not self.phantoms:
            return cases
        phantoms = LungDataset(self.phantoms.path, self.phantoms.rows, SPLITS, augment, self.seed)
        return WithSynthetic(cases, phantoms, self.data.synthetic_per_epoch, first_row=len(self.rows))

    def _loader(self, dataset: LungDataset | WithSynthetic, shuffle: bool) -> DataLoader[Sample]:
        trainer = self.trainer
        rank = trainer.global_rank if trainer else 0
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        workers = self.workers("cuda" if on_gpu else "cpu")
        sampler = EpochSampler(dataset, self._world_size, rank, shuffle, self.seed, drop_last=shuffle)
        return ResumableLoader(
            dataset,
            self.data.batch_size,
            sampler=sampler,
            num_workers=workers,
            pin_memory=on_gpu,
            drop_last=shuffle,
            persistent_workers=workers > 0,  # where they are spawned, each start takes seconds
        )

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1


def _phantom_set(data: DataConfig) -> DataConfig:
    """The phantoms to train on beside the cases, drawn at least as large as those are prepared."""
    phantom = dataclasses.replace(data.phantom, size_px=max(data.phantom.size_px, data.image_size_px))
    return DataConfig(
        name=f"phantoms_beside-{phantom.cases}-seed{phantom.seed}",
        source="phantom",
        raw_dir=data.prepared_dir,
        prepared_dir=data.prepared_dir,
        image_size_px=data.image_size_px,
        resize=data.resize,
        phantom=phantom,
    )
