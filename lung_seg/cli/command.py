"""What the top-level scripts share: from arguments to plain settings, one function called, errors told."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lung_seg.cli.error_messages import FAILURE, config_group_error, format_error, is_expected
from lung_seg.cli.multirun_table import note_failure
from lung_seg.cli.schema import ConfigT, key_names, register, settings
from lung_seg.errors import FailureError, UserError

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # where torchrun, SLURM and Lightning put the number of a process

Function = Callable[[ConfigT, Path], float | None]


def command(
    name: str, of: type[ConfigT], as_typed: tuple[str, ...] = ()
) -> Callable[[Function[ConfigT]], Callable[[], None]]:
    """Make a script of a function: it is called with the settings of ``conf/<name>.yaml`` and the run directory.

    What the function returns is the value that a sweep compares its jobs by. The values of the keys ``as_typed`` may
    hold any character: a file's name may have commas and brackets, which mean something to Hydra.
    """

    def decorate(function: Function[ConfigT]) -> Callable[[], None]:
        codes: list[int] = []  # of the jobs that failed
        composed_once: list[bool] = []

        @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
        def job(composed: DictConfig) -> float | None:
            composed_once.append(True)
            context = HydraConfig.get()
            sweeping = context.mode == RunMode.MULTIRUN
            try:
                if sweeping and OmegaConf.select(composed, "trainer.strategy") not in (None, "auto"):
                    return _run_in_subprocess(name, context)
                return function(settings(composed, of), _relative_path(Path(context.runtime.output_dir)))
            except Exception as error:  # of a sweep the other jobs go on
                if not is_expected(error):
                    raise
                codes.append(_report_error(error, of, f"Job {context.job.num}: " if sweeping else ""))
                if sweeping:  # perhaps on another machine, where nobody sees what is printed
                    note_failure(Path(context.runtime.output_dir), format_error(error, key_names(of))[1])
                return None

        def script() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of to Hydra's own page of them
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import calls the package index
            register()
            threading.excepthook = _thread_excepthook
            codes.clear()
            composed_once.clear()
            try:
                _check_in_one_line(sys.argv[1:])
                sys.argv[1:] = [_quote(argument, as_typed) for argument in resumed_arguments(sys.argv[1:])]
                job()
            except KeyboardInterrupt as error:
                codes.append(_report_error(error, of))
            except Exception as error:
                if isinstance(error, ValueError) and not composed_once and not is_expected(error):
                    error = config_group_error(error)
                if not is_expected(error):
                    raise
                codes.append(_report_error(error, of))
            except SystemExit as leaving:  # the table of a sweep whose jobs failed on other machines
                codes.append(int(leaving.code or 0))
            finally:
                GlobalHydra.instance().clear()
            if codes:
                raise SystemExit(max(codes))

        return script

    return decorate


def resumed_arguments(arguments: list[str]) -> list[str]:
    """With ``resume=<run dir>``: that run's own overrides, then the new ones, in the run's own directory.

    The overrides are those that Hydra saved with the run, so a resumed run composes the same configuration; a key
    given again wins.

    Raises:
        UserError: the directory holds no training to go on with.
    """
    given = _by_key(arguments)
    run_dir = Path(given.get("resume", "").partition("=")[2])
    if run_dir == Path():
        return arguments
    overrides = run_dir / ".hydra" / "overrides.yaml"
    if not (run_dir / "checkpoints" / "last.ckpt").is_file() or not overrides.is_file():
        raise UserError(
            f"resume={run_dir} holds no training to go on with: checkpoints/last.ckpt or .hydra/ is missing.\n"
            "Give the run directory of a training that finished at least one epoch, e.g. resume=runs/train/<time>."
        )
    saved = _by_key([str(line) for line in OmegaConf.load(overrides)])
    flags = [argument for argument in arguments if argument.startswith("-")]
    # Without output_subdir Hydra leaves the run's own overrides as they were, should the new ones be refused.
    place = _by_key([f"hydra.run.dir={run_dir}", "hydra.output_subdir=null"])
    return [*(saved | given | place).values(), *flags]


def _quote(argument: str, keys: tuple[str, ...]) -> str:
    """The argument, its value in quotes if it is one of the keys' or one Hydra has no reading for, as /home/Zoë (2)."""
    key, _, value = argument.partition("=")
    if argument.startswith("-") or value[:1] in ("", "'", '"') or (key not in keys and _is_readable(argument)):
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and r"\'"), value)
    return f"{key}='{escaped}'"


def _is_readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _check_in_one_line(arguments: list[str]) -> None:
    """Raise a UserError if an argument has a line break, which every message that repeats it would have too."""
    for argument in arguments:
        if "".join(argument.splitlines()) != argument:
            raise UserError(f"{argument!r} has a line break.\nGive each argument in one line.")


def _run_in_subprocess(name: str, context: HydraConf) -> float | None:
    """Run a sweep's job that starts a process per device; in this process each of them would start the sweep again.

    Returns:
        What the sweep compares its jobs by.

    Raises:
        FailureError: it failed, and has said why.
    """
    run_dir = Path(context.runtime.output_dir)
    alone = [_quote(f"hydra.run.dir={run_dir}", ("hydra.run.dir",)), "hydra.mode=RUN"]
    finished = subprocess.run(
        [sys.executable, str(CONF_DIR.parent / f"{name}.py"), *context.overrides.task, *alone], check=False
    )
    if finished.returncode:
        raise FailureError(f"its processes ended with code {finished.returncode}.")
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return float((summary["training"] or {}).get("validation_dice", summary["scores"]["all"]["dice"]["mean"]))


def _relative_path(folder: Path) -> Path:
    """A folder as one would type it from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by the keys they set, add (+) or delete (~), the last one winning."""
    return {line.partition("=")[0].lstrip("+~"): line for line in overrides if not line.startswith("-")}


def _report_error(error: BaseException, of: type[ConfigT], job_name: str = "") -> int:
    """Print an error in one or two lines and return the exit code; of several processes only the first speaks."""
    code, message = format_error(error, key_names(of))
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
    if rank == "0":
        sys.stderr.write(f"{job_name}{message}\n")
    elif code == FAILURE:  # the others meet the user's mistakes all alike, and their troubles apart
        sys.stderr.write(f"Process {rank}: {message}\n")
    return code


def _thread_excepthook(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own; of a full disk the main thread tells, which meets the error too."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
