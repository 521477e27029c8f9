"""Write raw radiographs as a prepared set: ``python prepare_data.py --help`` lists the settings."""

from collections import Counter
from pathlib import Path

from lung_seg.cli.command import command
from lung_seg.config import PrepareConfig
from lung_seg.environment import keep_freed_memory
from lung_seg.errors import FailureError

MAX_EXAMPLES = 5  # printed findings of each kind


@command("prepare_data", PrepareConfig, main_key="data")
def main(config: PrepareConfig, run_dir: Path) -> None:  # noqa: ARG001 - all commands have one signature
    """Prepare a set, or check one."""
    from lung_seg.prepared.pixel_cache import build_cache
    from lung_seg.prepared.prepare import prepare, prepare_shard

    keep_freed_memory()
    if config.dry_run:
        from lung_seg.prepared.dry_run import describe_preparation

        print("\n".join(describe_preparation(config.data)))
    elif config.check:
        _check(config)
    elif config.part:
        prepare_shard(config.data, config.part)
    else:
        build_cache(prepare(config.data))


def _check(config: PrepareConfig) -> None:
    from lung_seg.evaluation.dataset_check import CHECK_TABLE, OUTLIER_SHEET, SHEET_CASES, check
    from lung_seg.prepared.store import prepared_folder

    folder = prepared_folder(config.data)
    findings = check(folder)
    if not findings:
        print(f"{folder}: nothing wrong, nothing odd.")
        return
    for kind, count in Counter(finding.kind for finding in findings).items():
        examples = [finding for finding in findings if finding.kind == kind][:MAX_EXAMPLES]
        print(f"{kind}: {count}", *(f"  {example.case_id} {example.text}" for example in examples), sep="\n")
        if count > MAX_EXAMPLES:
            print("  …")
    print(f"All findings: {folder / CHECK_TABLE}")
    if outliers := len({finding.case_id for finding in findings if finding.kind == "outlier"}):
        first = f"the first {SHEET_CASES} of {outliers}" if outliers > SHEET_CASES else f"all {outliers}"
        print(f"Outliers, {first}: {folder / OUTLIER_SHEET}")
    errors = sum(finding.wrong for finding in findings)
    if errors:
        raise FailureError(
            f"{folder} cannot be trusted: {errors} of {len(findings)} findings are errors, listed in {CHECK_TABLE}.\n"
            "Do what they say, or delete that folder to prepare it again from mended files."
        )


if __name__ == "__main__":
    main()
