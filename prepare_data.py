"""Make a prepared set of raw radiographs: ``python prepare_data.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli import command
from lung_seg.config import PrepareConfig
from lung_seg.data.prepare import prepare


@command("prepare_data", PrepareConfig)
def main(config: PrepareConfig, run_dir: Path) -> None:  # noqa: ARG001 - all scripts are called alike
    """Prepare the set; what was done is logged case by case and in its dataset.json."""
    prepare(config.data)


if __name__ == "__main__":
    main()
