"""The LightningDataModule: a prepared set as batches."""

import dataclasses
import logging
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lung_seg.config import LUNG, SPLITS, AugmentationConfig, DataConfig
from lung_seg.environment import usable_cores
from lung_seg.errors import UserError
from lung_seg.files import open_in_use
from lung_seg.prediction.quality import ReferenceRanges, combine_ranges, reference_ranges
from lung_seg.prepared.manifest import Row
from lung_seg.prepared.pixel_cache import PixelCache, build_cache
from lung_seg.prepared.prepare import prepare
from lung_seg.prepared.settings import find_prepared
from lung_seg.prepared.split import assign_folds
from lung_seg.prepared.store import prepared_folder, read_record, refuse_other_version
from lung_seg.training.augment import Augment
from lung_seg.training.dataset import (
    EpochSampler,
    LungDataset,
    Part,
    ResumableLoader,
    Sample,
    SampleIndex,
    TrainingSamples,
)

log = logging.getLogger(__name__)

MAX_WORKERS = 8  # a core augments a 512 px sample in a few ms: eight feed a GPU
MAX_RANGE_CASES = 2000  # enough for the reference ranges; each takes half a millisecond


class LungDataModule(pl.LightningDataModule):
    """Prepares the set if it is missing, unless ``prepares`` is False, and batches its splits.

    The seed determines the order of the training cases and their augmentation.
    """

    def __init__(self, data: DataConfig, augmentation: AugmentationConfig, seed: int, prepares: bool = True):
        super().__init__()
        self.prepare_data_per_node = False  # the nodes of a cluster share the folder: one of them prepares
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.prepares = prepares
        self.cache: PixelCache | None = None
        self.additional: PixelCache | None = None  # to train on in addition to the cases
        self.phantoms: PixelCache | None = None  # likewise
        self.rows: list[Row] = []
        self.excluded: set[str] = set()  # cases that are not trained on
        self.test_splits: tuple[str, ...] = ("test",)  # an evaluation may score others
        self.test_augment: Augment | None = None  # and augment them, to measure a network's robustness
        self.expected_cases: dict[str, list[str]] = {}  # that splits must have, as in a checkpoint's state
        self.earlier_ranges: ReferenceRanges = {}  # of the network that the training starts from

    @property
    def folder(self) -> Path:
        """The prepared set's folder."""
        return prepared_folder(self.data)

    def prepare_data(self) -> None:
        """Prepare the set and its memory map; Lightning calls this in one process of a run."""
        if not self.cache:  # Lightning calls it again before the test that follows a training
            folder = prepare(self.data) if self.prepares else find_prepared(self.data)
            self.cache = build_cache(folder, owner=self)
            if self.data.additional:
                self.additional = _open_additional(Path(self.data.additional), self.data, owner=self)
            if self.data.synthetic_per_epoch:
                self.phantoms = build_cache(prepare(_phantom_set(self.data)), owner=self)

    def setup(self, stage: str) -> None:
        """Take over the set that the one process prepared, and assign folds if requested.

        All processes keep this set from training to test, even if another run prepares the folder anew.
        """
        if self.rows:
            return
        caches = (self.cache, self.additional, self.phantoms)
        cache, self.additional, self.phantoms = self.trainer.strategy.broadcast(caches) if self.trainer else caches
        assert cache is not None  # prepare_data was called before
        self.pixels, self.rows, self.manifest_sha256 = cache
        for used in filter(None, (cache, self.additional, self.phantoms)):
            weakref.finalize(self, open_in_use(used.path).close)
        if self.data.folds:
            self.rows = assign_folds(self.rows, self.data.folds, self.data.fold, self.data.split_seed)
        self.excluded = _read_excluded(self.data.exclude, self._all_rows)
        self._refuse_other_cases(self.expected_cases, "Score them by naming the set, e.g. data=montgomery.")

    def state_dict(self) -> dict[str, Any]:
        """Kept in each checkpoint: prepared cases and identities of each split, and the reference ranges.

        By the SHA-256 of the prepared files a resumed training and an evaluation find changed data, by the identities
        an evaluation finds the cases that a network has seen. The ranges of the lungs' features let a
        prediction detect what is no chest.
        """
        identities = {split: self._identities(split) for split in SPLITS}
        ranges = combine_ranges([self.earlier_ranges, self._ranges])
        return self._hashes() | {"identities": identities, "ranges": ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to resume with other cases."""
        self.earlier_ranges = state_dict["ranges"]
        expected = {split: state_dict[split] for split in SPLITS}
        self._refuse_other_cases(expected, "Resume it with the same data, split and fold, or start a new run.")

    def dataset(self, *splits: str, augment: Augment | None = None) -> LungDataset:
        """The cases of some splits, in the order of the manifest."""
        return LungDataset(self.pixels, self.rows, splits, augment, self.seed)

    @property
    def training_rows(self) -> list[Row]:
        """The radiographs that are trained on; phantoms are not among them."""
        rows = [row for row in self.rows if row.split == "train"] + (self.additional.rows if self.additional else [])
        return [row for row in rows if row.case_id not in self.excluded]

    @property
    def _all_rows(self) -> list[Row]:
        """Of the set, and of the cases that are trained on in addition."""
        others = filter(None, (self.additional, self.phantoms))
        return self.rows + [row for cache in others for row in cache.rows]

    def case_id(self, row: int) -> str:
        """The case or phantom of a sample."""
        return self._all_rows[row].case_id

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented batches in a new order each epoch; the last batch is dropped if it is not full."""
        dataset = TrainingSamples(self._parts(Augment(self.augmentation, self.data.image_size_px)))
        loader = self._loader(dataset, training=True)
        devices = loader.sampler.num_replicas
        if len(dataset) < self.data.batch_size * devices:
            on_devices = f" on {devices} devices" if devices > 1 else ""
            raise UserError(
                f"data.batch_size={self.data.batch_size}{on_devices} exceeds the {len(dataset)} training cases in "
                f"{self.folder}.\nLower data.batch_size or prepare more cases."
            )
        return loader

    def _parts(self, augment: Augment | None) -> list[Part]:
        """What an epoch is made of: the training cases, the additional ones and phantoms."""
        cases = LungDataset(self.pixels, self.rows, ("train",), augment, self.seed, self.excluded)
        parts = [Part(cases, len(cases), first_row=0)]
        first_row = len(self.rows)
        if self.additional:
            others = LungDataset(self.additional.path, self.additional.rows, SPLITS, augment, self.seed, self.excluded)
            parts.append(Part(others, self.data.additional_repeats * len(others), first_row))
            first_row += len(self.additional.rows)
        if self.phantoms:
            phantoms = LungDataset(self.phantoms.path, self.phantoms.rows, SPLITS, augment, self.seed)
            parts.append(Part(phantoms, self.data.synthetic_per_epoch, first_row))
        return parts

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation cases as they were prepared."""
        return self._loader(self.dataset("validation"))

    def test_dataloader(self) -> DataLoader[Sample]:
        """The cases of ``test_splits``, augmented by ``test_augment`` if there is one."""
        return self._loader(self.dataset(*self.test_splits, augment=self.test_augment))

    def _loader(self, dataset: LungDataset | TrainingSamples, training: bool = False) -> ResumableLoader:
        world_size, rank, on_gpu, workers = 1, 0, False, self.data.workers
        if self.trainer:
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
            on_gpu = self.trainer.strategy.root_device.type == "cuda"
        if workers is None:
            workers = min(MAX_WORKERS, usable_cores()) if on_gpu else 0
        return ResumableLoader(
            dataset,
            self.data.batch_size,
            sampler=EpochSampler(dataset, world_size, rank, training, self.seed, drop_last=training),
            num_workers=workers,
            pin_memory=on_gpu,
            drop_last=training,
            persistent_workers=workers > 0,  # where they are spawned, each start takes seconds
        )

    def _refuse_other_cases(self, expected: dict[str, list[str]], remedy: str) -> None:
        hashes = self._hashes()
        for split, theirs in expected.items():
            digits = max(map(len, theirs), default=0)  # earlier versions kept the radiographs' hashes only
            ours = {case[:digits] for case in hashes[split]}
            more, fewer = len(ours - set(theirs)), len(set(theirs) - ours)
            if more or fewer:
                raise UserError(
                    f"The {split} cases of {self.folder} are not those that the training began with: "
                    f"{more} others, {fewer} missing.\n{remedy}"
                )

    def _identities(self, split: str) -> list[str]:
        rows = [row for row in self.rows if row.split == split]
        if split == "train":
            rows = self.training_rows + (self.phantoms.rows if self.phantoms else [])
        return sorted(set().union(*(row.identities for row in rows)))

    def _hashes(self) -> dict[str, list[str]]:
        return {
            split: [row.image_sha256 + row.mask_sha256 for row in self.rows if row.split == split] for split in SPLITS
        }

    @cached_property
    def _ranges(self) -> ReferenceRanges:
        dataset = TrainingSamples(self._parts(None)[: 2 if self.additional else 1])
        every = max(1, len(dataset) // MAX_RANGE_CASES)
        samples = (dataset[SampleIndex(0, position)] for position in range(0, len(dataset), every))
        return reference_ranges((sample.image[0].numpy(), (sample.mask[0] == LUNG).numpy()) for sample in samples)


def _open_additional(folder: Path, data: DataConfig, owner: object) -> PixelCache:
    """The cases of a prepared set to train on as well.

    Raises:
        UserError: there is no such set, or it has another size.
    """
    record = read_record(folder)
    if not record:
        raise UserError(
            f"data.additional={folder} is no prepared set.\nMake it with prepare_data.py, or name its folder."
        )
    refuse_other_version(folder)
    theirs, ours = ((values["image_size_px"], values["resize"]) for values in (record, vars(data)))
    if theirs != ours:
        raise UserError(
            f"data.additional={folder} was prepared with {theirs[0]} px ({theirs[1]}), this set with {ours[0]} px "
            f"({ours[1]}).\nPrepare it with the same data.image_size_px and data.resize."
        )
    return build_cache(folder, owner=owner)


def _read_excluded(path: str | None, rows: list[Row]) -> set[str]:
    """The case ids in a file, one a line; a UserError if it cannot be read or names none of the cases."""
    if path is None:
        return set()
    try:
        excluded = {line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.exclude={path} cannot be read.\nName a text file with a case id per line.") from error
    unknown = sorted(excluded - {row.case_id for row in rows})
    if len(unknown) == len(excluded):
        raise UserError(
            f"data.exclude={path} names none of the cases, which are called like {rows[0].case_id}.\n"
            "Write a case id per line, as in manifest.csv."
        )
    if unknown:
        log.warning(
            "data.exclude=%s: no case is called %s (unknown: %d of %d).", path, unknown[0], len(unknown), len(excluded)
        )
    return excluded


def _phantom_set(data: DataConfig) -> DataConfig:
    """The phantoms to train on in addition to the cases, drawn at least at the size of the network input."""
    phantom = dataclasses.replace(data.phantom, size_px=max(data.phantom.size_px, data.image_size_px))
    name = f"synthetic-{phantom.cases}-seed{phantom.seed}"
    default = DataConfig(name=name, source="phantom", raw_dir=data.prepared_dir, prepared_dir=data.prepared_dir)
    return dataclasses.replace(default, image_size_px=data.image_size_px, resize=data.resize, phantom=phantom)
