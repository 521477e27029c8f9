"""A trained network, and the cases to score it on."""

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lung_seg.config import AS_TRAINED, SPLITS, DataConfig, EvaluateConfig
from lung_seg.environment import is_outside
from lung_seg.errors import UserError
from lung_seg.model.checkpoint import Seen, find_checkpoint, load_network
from lung_seg.model.unet import UNet
from lung_seg.training.augment import Augment
from lung_seg.training.datamodule import LungDataModule

# Settings of the data that do not change which cases they are.
RUNTIME_KEYS = {"batch_size", "workers", "raw_dir", "prepared_dir", "max_megapixels"}
TRAINING_ONLY: dict[str, Any] = {"synthetic_per_epoch": 0, "additional": None, "exclude": None}


@dataclass(frozen=True)
class Member:
    """The network of a checkpoint, the data it was trained on, and what it has seen of them."""

    path: Path
    network: UNet
    data: DataConfig
    cases: dict[str, list[str]]  # SHA-256 of each split's prepared files; empty in exports of earlier versions
    seen: Seen | None  # None: an earlier version kept none


def load_member(path: Path) -> Member:
    """The network of a checkpoint file or of a run directory.

    Raises:
        UserError: it holds none, or no settings of the data that it was trained on.
    """
    path = find_checkpoint(path)
    network, description = load_network(path)
    try:
        data = DataConfig.from_plain(description["data"])
    except (UserError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not hold the settings of the data that it was trained on.\n"
            "Give a checkpoint that train.py of this version wrote."
        ) from error
    return Member(path, network, data, description.get("cases", {}), description["seen"])


def scoring_datamodule(config: EvaluateConfig, member: Member, split: str) -> LungDataModule:
    """The cases of a split, or of "all", unchanged or corrupted for a robustness test.

    Raises:
        UserError: the set is not prepared, or its cases are not those that the checkpoint was trained with.
    """
    data = dataclasses.replace(data_to_score(config.data, member.data), **TRAINING_ONLY)
    datamodule = LungDataModule(data, config.augmentation, seed=0, prepares=False)
    datamodule.test_splits = SPLITS if split == "all" else (split,)
    if any(vars(config.augmentation).values()):
        datamodule.test_augment = Augment(config.augmentation, data.image_size_px)
    if config.data.source == AS_TRAINED:
        if not member.cases:
            raise UserError(
                f"{member.path} does not hold the cases that it was trained with.\n"
                "Name the set to score, e.g. data=montgomery data.raw_dir=<folder>."
            )
        datamodule.expected_cases = {name: member.cases[name] for name in datamodule.test_splits}
    return datamodule


def data_to_score(given: DataConfig, trained: DataConfig) -> DataConfig:
    """The data to score, at the image size that the network was trained at.

    Raises:
        UserError: a setting would have no effect, since the cases are those of the training; or these lie outside the
            current folder, which is followed only if it is given: a checkpoint may be a stranger's.
    """
    if given.source != AS_TRAINED:
        return dataclasses.replace(given, image_size_px=trained.image_size_px, resize=trained.resize)
    default = vars(DataConfig(name=AS_TRAINED, source=AS_TRAINED))
    changes = {key: value for key, value in vars(given).items() if value != default[key]}
    if without_effect := sorted(changes.keys() - RUNTIME_KEYS):
        raise UserError(
            f"data.{without_effect[0]} has no effect where the cases are those of the training.\n"
            "Name the set to score as well, e.g. data=montgomery."
        )
    place = trained.prepared_dir
    if "prepared_dir" not in changes and is_outside(place) and Path(place).is_dir():
        given_too = shlex.quote(f"data.prepared_dir={place}")
        raise UserError(
            f"The cases of the training were in data.prepared_dir={place}, outside the current folder.\n"
            f"If you trust that, add {given_too}; or name the set to score, e.g. data=montgomery."
        )
    # The weights of another machine name folders that are not here.
    absent = {key: default[key] for key in ("raw_dir", "prepared_dir") if not Path(vars(trained)[key]).is_dir()}
    return dataclasses.replace(trained, **(absent | changes))
