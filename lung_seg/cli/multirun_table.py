"""The table at the end of a sweep (``--multirun``): its jobs, best validation Dice first, and which of them failed."""

import csv
import io
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lung_seg.files import write_text

SUMMARY = "summary.json"  # in the folder of a job that came to its end
ERROR = "error.txt"  # in the folder of a job that failed
COLUMNS = ("validation_dice", "test_dice", "seconds", "job", "overrides")

log = logging.getLogger(__name__)


class SweepTable(Callback):
    """Hydra calls it when all jobs are done."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.csv into the sweep's directory and log its lines.

        Raises:
            SystemExit: jobs failed, perhaps on other machines; Hydra lets no other error through.
        """
        folder = Path(config.hydra.sweep.dir)
        table = sweep_table(folder)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        write_text(folder / "sweep.csv", text.getvalue())
        log.info("\nJobs by validation Dice (%s):\n%s", folder / "sweep.csv", _aligned(table))
        failed = failures(folder)
        if failed:
            log.info("\nFailed, as %s of each says: %s", ERROR, ", ".join(f"job {name}" for name in failed))
            raise SystemExit(1)


def note_failure(job_folder: Path, reason: str) -> None:
    """Leave the reason in a job's folder, for whoever started the sweep."""
    with suppress(OSError):  # a full disk may be the reason
        write_text(job_folder / ERROR, f"{reason}\n")


def failures(folder: Path) -> list[str]:
    """The jobs of a sweep that failed."""
    return sorted(path.parent.name for path in folder.glob(f"*/{ERROR}") if not (path.parent / SUMMARY).exists())


def sweep_table(folder: Path) -> list[dict[str, Any]]:
    """A row for each job that finished, best validation Dice first."""
    rows = [_job_row(summary) for summary in folder.glob(f"*/{SUMMARY}")]
    return sorted(rows, key=lambda row: row["validation_dice"], reverse=True)


def _job_row(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text(encoding="utf-8"))
    overrides = OmegaConf.load(path.parent / ".hydra" / "overrides.yaml")
    return {
        "validation_dice": round(summary["training"]["validation_dice"], 4),
        "test_dice": round(summary["scores"]["all"]["dice"]["mean"], 4),
        "seconds": summary["training"]["seconds"],
        "job": path.parent.name,
        "overrides": " ".join(str(override) for override in overrides),
    }


def _aligned(table: list[dict[str, Any]]) -> str:
    """The rows, without the overrides that all jobs share."""
    shared = set.intersection(*(set(row["overrides"].split()) for row in table)) if len(table) > 1 else set()
    lines = ["validation Dice  test Dice  seconds  job  overrides"]
    for row in table:
        own = " ".join(word for word in row["overrides"].split() if word not in shared)
        numbers = f"{row['validation_dice']:15.4f}  {row['test_dice']:9.4f}  {row['seconds']:7.0f}"
        lines.append(f"{numbers}  {row['job']:>3}  {own}")
    return "\n".join(lines)
