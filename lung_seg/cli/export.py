"""Write a network for other runtimes: ``python export.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli.command import command
from lung_seg.cli.latest import latest_training
from lung_seg.config import ExportConfig


@command("export", ExportConfig, main_key="checkpoint")
def main(config: ExportConfig, run_dir: Path) -> None:
    """Export, and print how far each file is from PyTorch."""
    from lung_seg.prediction.export import CARD, FILES, export
    from lung_seg.prediction.predictor import SHIPPED

    checkpoint = Path(config.checkpoint) if config.checkpoint else latest_training() or SHIPPED
    if not config.checkpoint:
        print(f"Exporting {'the included weights' if checkpoint == SHIPPED else f'{checkpoint}, the latest training'}.")
    formats = list(FILES) if config.format == "all" else [config.format]
    for file in export(checkpoint, run_dir, formats, config.half):
        print(
            f"{file.path} ({file.path.stat().st_size / 1e6:.2f} MB): probability at most {file.difference:.1e} off "
            f"PyTorch's, Dice of the masks at least {file.dice:.5f}"
        )
    print(f"Model card: {run_dir / CARD}")


if __name__ == "__main__":
    main()
