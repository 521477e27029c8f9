"""The table at the end of a sweep (``--multirun``): its jobs, best validation Dice first, and those that failed."""

import json
import logging
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lung_seg.files import write_csv, write_text

SUMMARY = "summary.json"  # in the folder of a job that finished
ERROR = "error.txt"  # in the folder of a job that failed
COLUMNS = ("validation_dice", "test_dice", "seconds", "job", "overrides")

log = logging.getLogger(__name__)


class SweepTable(Callback):
    """Writes and logs the table when all jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.csv into the sweep's directory and log its rows.

        Raises:
            SystemExit: jobs failed, perhaps on other machines; Hydra suppresses every other error of a callback.
        """
        folder = Path(config.hydra.sweep.dir)
        rows = [_job_row(summary) for summary in folder.glob(f"*/{SUMMARY}")]
        rows.sort(key=itemgetter("validation_dice"), reverse=True)
        write_csv(folder / "sweep.csv", COLUMNS, rows)
        log.info("\nJobs by validation Dice (%s):\n%s", folder / "sweep.csv", _aligned(rows))
        failed = sorted(path.parent.name for path in folder.glob(f"*/{ERROR}") if not (path.parent / SUMMARY).exists())
        if failed:
            log.info("\nFailed (the reason is in %s): %s", ERROR, ", ".join(f"job {name}" for name in failed))
            raise SystemExit(1)


def write_failure(job_folder: Path, reason: str) -> None:
    """Write the reason into the job's folder."""
    with suppress(OSError):  # a full disk may be the reason
        write_text(job_folder / ERROR, f"{reason}\n")


def _job_row(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text(encoding="utf-8"))
    overrides = map(str, OmegaConf.load(path.parent / ".hydra" / "overrides.yaml"))
    return {
        "validation_dice": round(summary["training"]["validation_dice"], 4),
        "test_dice": round(summary["scores"]["all"]["dice"]["mean"], 4),
        "seconds": summary["training"]["seconds"],
        "job": path.parent.name,
        "overrides": " ".join(line for line in overrides if not line.startswith("search.trial=")),  # is the job
    }


def _aligned(table: list[dict[str, Any]]) -> str:
    """The rows without the overrides that all jobs share."""
    shared = set.intersection(*(set(row["overrides"].split()) for row in table)) if len(table) > 1 else set()
    lines = ["validation Dice  test Dice  seconds  job  overrides"]
    for row in table:
        own = " ".join(word for word in row["overrides"].split() if word not in shared)
        numbers = f"{row['validation_dice']:15.4f}  {row['test_dice']:9.4f}  {row['seconds']:7.0f}"
        lines.append(f"{numbers}  {row['job']:>3}  {own}")
    return "\n".join(lines)
