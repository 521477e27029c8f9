"""Look for signs of tuberculosis inside the lungs: ``python tuberculosis.py --help`` lists the settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lung_seg.cli.command import command
from lung_seg.config import TuberculosisConfig
from lung_seg.environment import keep_freed_memory


@command("tuberculosis", TuberculosisConfig, main_key="data")
def main(config: TuberculosisConfig, run_dir: Path) -> None:
    """Prepare the set if it is not, compute its features once, cross-validate, and write the report."""
    from lung_seg.prepared.prepare import prepare
    from lung_seg.second_step.analysis import analyse

    keep_freed_memory()
    summary = analyse(config, prepare(config.data), run_dir)
    print("\n".join(_table(summary)))
    print(f"\nReport: {run_dir / 'report.html'}")


def _table(summary: dict[str, Any]) -> Iterator[str]:
    """AUC of the lungs and of each control, and what it is worth."""
    from lung_seg.second_step.report import verdict

    kinds = list(summary["trials"][0]["scores"])
    yield f"\n{summary['title']}: AUC, mean of {summary['seeds']} seeds\n"
    yield f"{'':28}{'radiographs':>6}" + "".join(f"{kind:>20}" for kind in kinds)
    for trial in summary["trials"]:
        yield f"{trial['name']:28}{trial['radiographs']:6d}" + "".join(
            f"{trial['scores'][kind]['auc']:20.3f}" for kind in kinds
        )
    for source in summary["sources"]:
        yield f"{source['name'] + '?':28}{source['radiographs']:6d}{source['scores'][kinds[0]]['auc']:20.3f}"
    yield ""
    for trial in summary["trials"]:
        yield f"{trial['name']}: {verdict(trial, summary['finding'])}"
    yield "\nA research tool, not a device."


if __name__ == "__main__":
    main()
