"""--help: the values that will be used, in at most 100 columns; dry_run=true: what a training would do."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lung_seg.cli.schema import SCHEMAS, key_names
from tests.conftest import SMALL, Run

# Groups of conf/ that a script takes, by its settings.
GROUPS = {
    "train": {"data", "augmentation", "model", "optimizer", "scheduler", "trainer", "experiment", "search"},
    "evaluate": {"data", "augmentation", "trainer"},
    "prepare_data": {"data"},
    "predict": set(),
    "export": set(),
    "tuberculosis": {"data"},
}


@pytest.mark.parametrize("script", GROUPS)
def test_help_fits_a_terminal_and_lists_the_script_s_own_groups(script: str, run: Run) -> None:
    page = run(script, "--help").out
    assert max(map(len, page.splitlines())) <= 100
    assert set(re.findall(r"^  (\w+): ", page, re.MULTILINE)) == GROUPS[script]
    assert all(f"  {key}=" in page for key in key_names(SCHEMAS[script]))


def test_help_shows_the_values_that_will_be_used(run: Run) -> None:
    page = run("train", "data=montgomery", "model.depth=2", "--help").out
    composed = OmegaConf.create(run("train", "data=montgomery", "model.depth=2", "--cfg", "job").out)
    assert "  data.name=montgomery " in page
    assert "  model.depth=2 " in page
    assert "  trainer.max_epochs=100 " in page
    assert f"  model.base_channels={composed.model.base_channels} " in page
    assert f"  augmentation.rotation_deg={composed.augmentation.rotation_deg} " in page
    assert "  data.name=… " in run("train", "data=folder", "--help").out
    assert "  output=runs/predict/<time> " in run("predict", "--help").out
    assert run("train", "data=nowhere", "--help").code == 2


@pytest.mark.parametrize("prepared", [True, False])
def test_a_dry_run_counts_and_writes_nothing(workplace: Path, run: Run, prepared: bool) -> None:
    if prepared:
        assert run("prepare_data", *(key for key in SMALL if key.startswith("data") and "batch" not in key)).code == 0
    before = sorted(workplace.rglob("*"))
    outcome = run("train", *SMALL, "dry_run=true")
    assert outcome.code == 0, outcome.err
    assert "12 train, 3 validation, 5 test" in outcome.out
    assert "Steps: 9 in 3 epochs, of 4 radiographs" in outcome.out
    assert re.search(r"Time: about \d+ s \(\d+ ms per step measured on ", outcome.out)
    assert re.search(r"Memory: about \d+\.\d GB on ", outcome.out)
    assert "Would write: runs/train/" in outcome.out
    assert "data/segmentation/montgomery-32" in outcome.out
    assert sorted(workplace.rglob("*")) == before


def test_a_dry_run_generates_and_finds_nothing(workplace: Path, run: Run) -> None:
    outcome = run("train", "data.phantom.cases=50", "trainer.max_epochs=1", "dry_run=true")
    assert "in 1 epoch, of 8 radiographs" in outcome.out
    assert "50 radiographs to be generated in data/raw: 36 train, 9 validation, 5 test" in outcome.out
    assert not (workplace / "data").exists()
    assert run("train", "data=montgomery", "data.raw_dir=nowhere", "dry_run=true").code == 2


def test_a_dry_run_of_preparing_shows_how_files_pair_and_writes_nothing(workplace: Path, run: Run) -> None:
    data = ("data=montgomery", "data.raw_dir=raw", "data.test_cases=5")
    for path in sorted((workplace / "raw/MontgomerySet/ManualMask").rglob("*_0003_*")):
        path.unlink()
    before = sorted(workplace.rglob("*"))
    outcome = run("prepare_data", *data, "dry_run=true")
    assert outcome.code == 0, outcome.err
    assert "19 radiographs with masks in raw, to be prepared: 11 train, 3 validation, 5 test" in outcome.out
    paired = re.search(r"The first: \S+/CXR_png/(\w+\.png) with (\S+), (\S+)\n", outcome.out)
    assert paired
    assert {Path(mask).parent.name for mask in paired.groups()[1:]} == {"leftMask", "rightMask"}
    assert {Path(mask).name for mask in paired.groups()[1:]} == {paired[1]}
    assert re.search(r"Without a mask, left out: 1, the first: \S+MCUCXR_0003_\d\.png", outcome.out)
    assert "Would write: data/segmentation/montgomery-512" in outcome.out
    assert sorted(workplace.rglob("*")) == before
    assert "to be downloaded" in run("prepare_data", *data, "data.download=true", "dry_run=true").out
    assert "1600 radiographs to be generated" in run("prepare_data", "dry_run=true").out
    assert sorted(workplace.rglob("*")) == before
