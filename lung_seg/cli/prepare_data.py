"""Write raw radiographs as a prepared set: ``python prepare_data.py --help`` lists the settings."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lung_seg.cli.command import command
from lung_seg.config import PrepareConfig
from lung_seg.environment import keep_freed_memory
from lung_seg.errors import FailureError

if TYPE_CHECKING:
    from lung_seg.evaluation.dataset_check import Finding

MAX_EXAMPLES = 5  # printed findings of each kind


@command("prepare_data", PrepareConfig, main_key="data")
def main(config: PrepareConfig, run_dir: Path) -> None:  # noqa: ARG001 - all commands have one signature
    """Prepare a set, or check one."""
    from lung_seg.prepared.pixel_cache import build_cache
    from lung_seg.prepared.prepare import prepare, prepare_shard

    keep_freed_memory()
    if config.check:
        _check(config)
    elif config.part:
        prepare_shard(config.data, config.part)
    else:
        build_cache(prepare(config.data))


def _check(config: PrepareConfig) -> None:
    from lung_seg.evaluation.dataset_check import CHECK_TABLE, ODD_SHEET, check
    from lung_seg.prepared.store import prepared_folder

    folder = prepared_folder(config.data)
    findings = check(folder)
    if not findings:
        print(f"{folder}: nothing wrong, nothing odd.")
        return
    print("\n".join(format_findings(findings)))
    print(f"All findings: {folder / CHECK_TABLE}; outliers are shown in {ODD_SHEET}.")
    errors = sum(finding.wrong for finding in findings)
    if errors:
        raise FailureError(
            f"{folder} cannot be trusted: {errors} of {len(findings)} findings are errors, listed in {CHECK_TABLE}.\n"
            "Restore the files, or delete that folder to prepare it again."
        )


def format_findings(findings: "list[Finding]") -> list[str]:
    """The number of findings of each kind, and some examples."""
    lines = []
    for kind, count in Counter(finding.kind for finding in findings).items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        lines += [f"{kind}: {count}", *(f"  {finding.case_id} {finding.text}" for finding in of_kind[:MAX_EXAMPLES])]
        lines += ["  …"] * (count > MAX_EXAMPLES)
    return lines


if __name__ == "__main__":
    main()
