"""Every configuration file composes, follows the rules of its schema and does what its name says."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from lung_seg.cli.schema import help_page, key_names, register, settings
from lung_seg.config import (
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    ServeConfig,
    TrainConfig,
    TuberculosisConfig,
)
from lung_seg.environment import CONF_DIR

GROUPS = sorted(path for path in CONF_DIR.glob("*/*.yaml"))


def composed(name: str, schema: Any, *overrides: str) -> Any:
    register()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return settings(compose(name, list(overrides)), schema)


def test_the_configuration_files_are_found() -> None:
    assert len(GROUPS) > 20


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_file_composes(path: Path) -> None:
    name = ["data.name=mine"] if path.stem == "folder" else []
    config = composed("train", TrainConfig, f"{path.parent.name}={path.stem}", *name)
    assert isinstance(config, TrainConfig)


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_file_begins_with_a_comment(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("name", "schema", "needed"),
    [
        ("train", TrainConfig, []),
        ("evaluate", EvaluateConfig, ["checkpoint=runs/train/one"]),
        ("export", ExportConfig, []),
        ("prepare_data", PrepareConfig, []),
        ("predict", PredictConfig, ["input=xray.png"]),
        ("tuberculosis", TuberculosisConfig, []),
        ("serve", ServeConfig, []),
    ],
)
def test_every_script_has_its_configuration(name: str, schema: Any, needed: list[str]) -> None:
    assert isinstance(composed(name, schema, *needed), schema)


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "tuberculosis"])
def test_runs_that_start_in_the_same_second_have_separate_folders(name: str) -> None:
    times = re.findall(r"\$\{now:(.*?)\}", (CONF_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    assert times
    assert all(time.endswith("%S-%f") for time in times), "microseconds"


def test_every_key_is_explained() -> None:
    register()
    page = help_page("train", TrainConfig, [])
    unexplained = [key for key in key_names(TrainConfig) if key not in page]
    assert not unexplained


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_targets_exist(group: str) -> None:
    for path in (CONF_DIR / group).glob("*.yaml"):
        assert get_class(OmegaConf.load(path)._target_)


def test_the_defaults_of_the_field() -> None:
    montgomery = composed("train", TrainConfig, "data=montgomery").data
    both = composed("train", TrainConfig, "data=montgomery_shenzhen").data
    assert (montgomery.image_size_px, montgomery.resize, montgomery.validation_fraction) == (512, "stretch", 0.2)
    assert (montgomery.test_cases, both.test_cases) == (50, 100)


def test_the_number_of_epochs_depends_on_the_data_unless_it_is_given() -> None:
    assert composed("train", TrainConfig, "data=montgomery_shenzhen").trainer.max_epochs == 60
    assert composed("train", TrainConfig, "data=montgomery_shenzhen", "trainer.max_epochs=3").trainer.max_epochs == 3


def test_the_release_is_the_small_network_on_both_sets() -> None:
    by_hand = ("data=montgomery_shenzhen", "model=unet_small", "data.image_size_px=256")
    assert composed("train", TrainConfig, "experiment=release_plain") == composed("train", TrainConfig, *by_hand)
    further = composed("train", TrainConfig, "experiment=release")
    assert further.init == "runs/train/release_plain"
    assert further.trainer.check_val_every_n_epoch == further.trainer.max_epochs, "the last epoch is kept"
    strong = ("augmentation=strong", "augmentation.horizontal_flip=0.1")
    assert further.augmentation == composed("train", TrainConfig, *strong).augmentation
