"""Make a prepared set of raw radiographs: ``python prepare_data.py --help`` lists the settings."""

from collections import Counter
from pathlib import Path

from lung_seg.cli import command
from lung_seg.config import PrepareConfig
from lung_seg.data.integrity import CHECK_TABLE, ODD_SHEET, Finding, check
from lung_seg.data.packed import pack
from lung_seg.data.prepare import prepare, prepare_shard
from lung_seg.data.prepared import prepared_folder
from lung_seg.errors import FailureError

EXAMPLES = 5  # findings of a kind that are printed


@command("prepare_data", PrepareConfig)
def main(config: PrepareConfig, run_dir: Path) -> None:  # noqa: ARG001 - all scripts are called alike
    """Prepare the set; what was done is logged case by case and in its dataset.json."""
    if config.part:
        prepare_shard(config.data, config.part)
        return
    if not config.check:
        pack(prepare(config.data))
        return
    folder = prepared_folder(config.data)
    findings = check(folder)
    print("\n".join(_told(findings, folder)))
    wrong = sum(finding.wrong for finding in findings)
    if wrong:
        raise FailureError(
            f"{folder} cannot be trusted: {wrong} of {len(findings)} findings are errors, listed in {CHECK_TABLE}.\n"
            "Bring the files back, or delete that folder to prepare it anew."
        )


def _told(findings: list[Finding], folder: Path) -> list[str]:
    """Some findings of each kind, and where all of them are."""
    lines = []
    for kind, count in Counter(finding.kind for finding in findings).items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        lines += [f"{kind}: {count}", *(f"  {finding.case_id} {finding.text}" for finding in of_kind[:EXAMPLES])]
        lines += ["  …"] * (count > EXAMPLES)
    if not findings:
        return [f"{folder}: nothing wrong, nothing odd."]
    return [*lines, f"All findings are in {folder / CHECK_TABLE}; outliers are shown in {ODD_SHEET}."]


if __name__ == "__main__":
    main()
