"""What all commands share: arguments to settings, one function called, errors reported, exit code."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lung_seg.cli.arguments import checked_arguments, quoted
from lung_seg.cli.error_messages import FAILURE, USER_MISTAKE, format_error
from lung_seg.cli.multirun_table import write_failure
from lung_seg.cli.resume import OVERRIDES, resumed_arguments
from lung_seg.cli.schema import ConfigT, help_page, key_names, register, settings
from lung_seg.config_field import ConfigGroup
from lung_seg.environment import CONF_DIR, as_called
from lung_seg.errors import FailureError
from lung_seg.files import write_text

# The number of a process and that of all processes, as torchrun, SLURM and Lightning set them.
RANK_VARIABLES = {"RANK": "WORLD_SIZE", "SLURM_PROCID": "SLURM_NTASKS", "LOCAL_RANK": "WORLD_SIZE"}
# Names and values in files of strangers may hold commands of a terminal.
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
Function = Callable[[ConfigT, Path], float | None]


def command(
    name: str, schema: type[ConfigT], main_key: str, verbatim_keys: tuple[str, ...] = ()
) -> Callable[[Function[ConfigT]], Callable[[], None]]:
    """Turn a function into a command: it is called with the settings of ``conf/<name>.yaml`` and the run directory.

    A sweep compares its jobs by the value that the function returns. An argument without "=" sets the main key. The
    values of verbatim keys are taken literally: a file name may hold commas and brackets, which Hydra's grammar would
    read as a list.
    """

    def decorate(function: Function[ConfigT]) -> Callable[[], None]:
        exit_codes: list[int] = []  # of failed jobs

        @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
        def job(composed: DictConfig) -> float | None:
            context = HydraConfig.get()
            sweeping = context.mode == RunMode.MULTIRUN
            run_dir = Path(context.runtime.output_dir)
            if run_dir.is_relative_to(Path.cwd()):  # as a user would type it
                run_dir = run_dir.relative_to(Path.cwd())
            try:
                config = settings(composed, schema)
                if sweeping and _starts_processes(config):
                    return _run_in_subprocess(name, context.overrides.task, run_dir)
                return function(config, run_dir)
            except Exception as error:  # the other jobs of a sweep still run
                code, message = _report_error(error, schema, f"Job {context.job.num}: " if sweeping else "")
                exit_codes.append(code)
                if code == USER_MISTAKE and not sweeping:
                    remove_unused(run_dir)
                if sweeping:  # stderr of a job on another machine is not seen
                    write_failure(run_dir, message)
                return None

        def script() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, instead of printed by Hydra
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would query the package index
            for rank, processes in RANK_VARIABLES.items():
                if os.environ.get(processes, "1") == "1" and os.environ.get(rank) != "0":
                    os.environ.pop(rank, None)  # left over from something else: this process is the only one
            register()
            threading.excepthook = _thread_excepthook
            exit_codes.clear()
            try:
                keys = [*key_names(schema), *(field.name for field in dataclasses.fields(schema))]
                arguments = resumed_arguments(checked_arguments(sys.argv[1:], main_key, keys))
                sys.argv[1:] = [quoted(argument, verbatim_keys) for argument in arguments]
                if {"--help", "-h"} & set(arguments):
                    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
                    sys.stdout.write(as_called(help_page(name, schema, overrides)))
                    return
                job()
            except (Exception, KeyboardInterrupt) as error:
                exit_codes.append(_report_error(error, schema)[0])
            except SystemExit as error:  # raised by the table of a sweep with failed jobs on other machines
                exit_codes.append(int(error.code or 0))
            if exit_codes:
                raise SystemExit(max(exit_codes))

        return script

    return decorate


def remove_unused(run_dir: Path) -> None:
    """Remove a run directory, and the folders above it, in which a refused command wrote nothing."""
    overrides = HydraConfig.get().overrides
    if any(line.startswith(("hydra.run.dir=", "output=")) for line in (*overrides.hydra, *overrides.task)):
        return  # the user's own folder
    if {path.name for path in run_dir.glob("*")} <= {OVERRIDES.parent.name, ".lock"}:
        shutil.rmtree(run_dir, ignore_errors=True)
        with suppress(OSError):  # not empty
            for folder in run_dir.parents[:-1]:
                folder.rmdir()


def save_settings(config: ConfigGroup, run_dir: Path) -> None:
    """Write the settings of a run, and the overrides that make them, to ``.hydra``.

    Hydra would do so before the program could refuse to replace those of an earlier training (conf/train.yaml).
    """
    path = run_dir / OVERRIDES
    write_text(path.with_name("config.yaml"), OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))))
    write_text(path, OmegaConf.to_yaml(HydraConfig.get().overrides.task))


def _starts_processes(config: ConfigGroup) -> bool:
    """Whether Lightning will start further processes for this job."""
    trainer = getattr(config, "trainer", None)
    if trainer is None or (trainer.strategy == "auto" and trainer.devices == 1):
        return False
    if trainer.strategy != "auto":
        return True
    from lung_seg.training.trainer import make_trainer  # importing torch takes seconds

    return make_trainer(trainer).strategy.launcher is not None


def _run_in_subprocess(name: str, overrides: list[str], run_dir: Path) -> float | None:
    """Run a sweep's job that starts one process per device; in this process each of them would repeat the sweep.

    It returns the value that the sweep compares its jobs by.
    """
    single_run = [quoted(f"hydra.run.dir={run_dir}", ("hydra.run.dir",)), "hydra.mode=RUN"]
    finished = subprocess.run([sys.executable, "-m", f"lung_seg.cli.{name}", *overrides, *single_run], check=False)
    if finished.returncode:
        raise FailureError(f"its processes ended with code {finished.returncode}.")
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return float((summary["training"] or {}).get("validation_dice", summary["scores"]["all"]["dice"]["mean"]))


def _report_error(error: BaseException, schema: type[ConfigT], job_name: str = "") -> tuple[int, str]:
    """Print an expected error and return its exit code and message; raise any other one.

    Every process of a distributed training meets the same user mistake, so only the first one reports it.
    """
    expected = format_error(error, key_names(schema))
    if expected is None:
        raise error
    code = expected[0]
    message = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), as_called(expected[1]))
    is_distributed = "trainer.devices" in key_names(schema)  # others may have been started within such a job
    rank = next((os.environ[name] for name in RANK_VARIABLES if is_distributed and name in os.environ), "0")
    if rank == "0":
        sys.stderr.write(f"{job_name}{message}\n")
    elif code == FAILURE:
        sys.stderr.write(f"Process {rank}: {message}\n")
    return code, message


def _thread_excepthook(failure: threading.ExceptHookArgs) -> None:
    """Ignore I/O errors of TensorBoard's writer thread: the main thread meets a full disk too, and reports it."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
