"""Measure this machine: ``python benchmark.py --help`` lists the settings."""

from pathlib import Path

from lung_seg.cli import command
from lung_seg.config import BenchmarkConfig


@command("benchmark", BenchmarkConfig)
def main(config: BenchmarkConfig, run_dir: Path) -> None:
    """Measure, and say what was found."""
    from lung_seg.benchmark import benchmark, table  # imports torch: not needed for --help and refused settings

    print(f"\n{table(benchmark(config, run_dir))}\n\nEach round's figures are in {run_dir / 'benchmark.json'}.")


if __name__ == "__main__":
    main()
