"""Make a prepared set of raw radiographs: ``python prepare_data.py --help`` lists the settings."""

from collections import Counter
from pathlib import Path

from lung_seg.cli.command import command
from lung_seg.config import PrepareConfig
from lung_seg.environment import keep_freed_memory
from lung_seg.errors import FailureError
from lung_seg.evaluation.dataset_check import CHECK_TABLE, ODD_SHEET, Finding, check
from lung_seg.prepared.pixel_cache import build_cache
from lung_seg.prepared.prepare import prepare, prepare_shard
from lung_seg.prepared.store import prepared_folder

EXAMPLES = 5  # findings of a kind that are printed


@command("prepare_data", PrepareConfig)
def main(config: PrepareConfig, run_dir: Path) -> None:  # noqa: ARG001 - all scripts are called alike
    """Prepare the set; what was done is logged case by case and in its dataset.json."""
    keep_freed_memory()
    if config.part:
        prepare_shard(config.data, config.part)
        return
    if not config.check:
        build_cache(prepare(config.data))
        return
    folder = prepared_folder(config.data)
    findings = check(folder)
    print("\n".join(format_findings(findings, folder)))
    wrong = sum(finding.wrong for finding in findings)
    if wrong:
        raise FailureError(
            f"{folder} cannot be trusted: {wrong} of {len(findings)} findings are errors, listed in {CHECK_TABLE}.\n"
            "Bring the files back, or delete that folder to prepare it anew."
        )


def format_findings(findings: list[Finding], folder: Path) -> list[str]:
    """Some findings of each kind, and where all of them are."""
    lines = []
    for kind, count in Counter(finding.kind for finding in findings).items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        lines += [f"{kind}: {count}", *(f"  {finding.case_id} {finding.text}" for finding in of_kind[:EXAMPLES])]
        lines += ["  …"] * (count > EXAMPLES)
    if not findings:
        return [f"{folder}: nothing wrong, nothing odd."]
    return [*lines, f"All findings are in {folder / CHECK_TABLE}; outliers are shown in {ODD_SHEET}."]
