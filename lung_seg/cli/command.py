"""What all commands share: arguments to settings, one function called, errors reported, exit code."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lung_seg.cli.error_messages import FAILURE, USER_MISTAKE, format_error
from lung_seg.cli.latest import LAST
from lung_seg.cli.multirun_table import write_failure
from lung_seg.cli.schema import ConfigT, help_page, key_names, register, settings
from lung_seg.config import RENAMED_DATA_KEYS, TrainConfig
from lung_seg.config_field import ConfigGroup
from lung_seg.environment import CONF_DIR, as_command
from lung_seg.errors import FailureError, UserError
from lung_seg.files import write_text

RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # set by torchrun, SLURM and Lightning
OVERRIDES = Path(".hydra") / "overrides.yaml"  # in the run directory of a training, as Hydra writes it
FLAGS = ("-m", "--multirun")  # options of Hydra without a value
CLASS_GROUPS = ("optimizer", "scheduler")  # whose values may name a class
# Saved overrides besides those of typed keys: a choice of a group, and a plain argument of a class of torch.optim.
HARMLESS = re.compile(
    r"[+~]{0,2}(?!hydra)[a-z_]+=(null|[\w-]+|\[[\w,-]*\])"
    r"|[+~]{0,2}(optimizer|scheduler)\.(_target_=torch\.optim\.\w+(\.\w+)?|[a-zA-Z]\w*(=[\w.,+\[\]() -]*)?)"
)
LIST_EVENTS = (
    yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent,
    yaml.SequenceStartEvent, yaml.SequenceEndEvent,
)  # fmt: skip

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
            register()
            threading.excepthook = _thread_excepthook
            exit_codes.clear()
            try:
                for argument in sys.argv[1:]:  # a line break would end up in every message that repeats the argument
                    if "".join(argument.splitlines()) != argument:
                        raise UserError(f"{argument!r} has a line break.\nGive each argument in one line.")
                arguments = resumed_arguments(_name_main_value(sys.argv[1:], main_key))
                sys.argv[1:] = [_quote(argument, verbatim_keys) for argument in arguments]
                if {"--help", "-h"} & set(arguments):
                    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
                    sys.stdout.write(help_page(name, schema, overrides))
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


def _name_main_value(arguments: list[str], main_key: str) -> list[str]:
    """The first argument without "=" becomes the value of the main key: ``predict.py xray.png``."""
    for index, (previous, argument) in enumerate(pairwise(["", *arguments])):
        is_option_value = previous.startswith("-") and previous not in FLAGS
        if "=" not in argument and not argument.startswith(("-", "~")) and not is_option_value:
            return [*arguments[:index], f"{main_key}={argument}", *arguments[index + 1 :]]
    return arguments


def resumed_arguments(arguments: list[str]) -> list[str]:
    """With ``resume=<run dir>``: the overrides saved with that run, then the new ones, in the same run directory.

    A resumed run thus composes the same configuration; a key that is given again wins.

    Raises:
        UserError: the directory holds no training that can be resumed.
    """
    given = _by_key(arguments)
    run_dir = Path(given.get("resume", "").partition("=")[2])
    if run_dir == Path():
        return arguments
    if run_dir.is_symlink():  # runs/train/latest
        run_dir = run_dir.parent / run_dir.readlink()
        given["resume"] = f"resume={run_dir}"
    if not (run_dir / LAST).is_file() or not (run_dir / OVERRIDES).is_file():
        raise UserError(f"resume={run_dir} {_not_a_training(run_dir)}")
    options = [argument for argument in arguments if argument.startswith("-")]
    directory = {"hydra.run.dir": f"hydra.run.dir={run_dir}"}
    return [*(saved_overrides(run_dir) | given | directory).values(), *options]


def _not_a_training(path: Path) -> str:
    """Why a path holds no training to resume, and what to give instead."""
    if path.parent.name == "checkpoints":
        directory = as_command("train", f"resume={path.parent.parent}")
        return f"is a checkpoint; a training is resumed by its run directory.\nResume it: {directory}"
    found = (last for last in path.glob(f"*/{LAST}") if not last.parents[1].is_symlink())
    trainings = sorted(found, key=lambda last: last.stat().st_mtime)
    if trainings:
        latest = as_command("train", f"resume={trainings[-1].parent.parent}")
        return f"is a folder of {len(trainings)} trainings.\nResume one of them, e.g. the latest: {latest}"
    if path.is_dir():
        return f"holds no training to resume: {LAST} or .hydra/ is missing.\nStart a new training without resume=."
    return "does not exist.\nGive the run directory of a training, e.g. resume=runs/train/latest"


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


def saved_overrides(run_dir: Path) -> dict[str, str]:
    """The overrides of a training by key, renamed ones by their present name, without those of a search it was part of.

    Raises:
        UserError: this version lacks a key.
    """
    saved: dict[str, str] = {}
    names = set(key_names(TrainConfig))
    checked = {name.partition(".")[0] for name in names if "." in name}
    for key, line in _by_key(_read_overrides(run_dir / OVERRIDES)).items():
        group, _, name = key.partition(".")
        if group == "search":
            continue
        if group == "data" and name in RENAMED_DATA_KEYS:
            line = line.replace(name, RENAMED_DATA_KEYS[name], 1)
            key = f"data.{RENAMED_DATA_KEYS[name]}"
        elif name and group in checked and key not in names:
            raise UserError(
                f"{run_dir} began with {line}, a key that this version of lung_seg no longer has.\n"
                f"Resume it with the version that began it, or start a new training from its weights: "
                + shlex.quote(f"init={run_dir}")
            )
        if key not in names - set(CLASS_GROUPS) and not HARMLESS.fullmatch(line):
            raise UserError(
                f"{run_dir / OVERRIDES} has {line!r:.100}, which could run code.\n"
                "If you trust it, delete that line and give it with the command."
            )
        saved[key] = line
    return saved


def _read_overrides(path: Path) -> list[str]:
    """The lines of overrides.yaml, a list of texts; nothing else is made of it, as somebody else may have written it.

    Raises:
        UserError: it is no such list.
    """
    try:
        lines = []
        for event in yaml.parse(path.read_text(encoding="utf-8"), yaml.SafeLoader):
            is_plain = not getattr(event, "anchor", None) and not getattr(event, "tag", None)
            if not is_plain or not isinstance(event, (yaml.ScalarEvent, *LIST_EVENTS)):
                raise ValueError(f"a {type(event).__name__}")
            if isinstance(event, yaml.ScalarEvent):
                lines.append(event.value)
        return lines
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(
            f"{path} is no list of settings.\nRestore it, or start a new training from its weights."
        ) from error


def save_settings(config: ConfigGroup, run_dir: Path) -> None:
    """Write the settings of a run, and the overrides that make them, to ``.hydra``.

    Hydra would do so before the program could refuse to replace those of an earlier training (conf/train.yaml).
    """
    path = run_dir / OVERRIDES
    write_text(path.with_name("config.yaml"), OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))))
    write_text(path, OmegaConf.to_yaml(HydraConfig.get().overrides.task))


def _quote(argument: str, verbatim_keys: tuple[str, ...]) -> str:
    """Quote the value of a verbatim key, and one that Hydra's grammar cannot read, such as /home/Zoë (2)."""
    key, _, value = argument.partition("=")
    if argument.startswith("-") or value[:1] in ("", "'", '"'):
        return argument
    if key not in verbatim_keys:
        with suppress(HydraException):
            OverridesParser.create().parse_override(argument)
            return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and r"\'"), value)
    return f"{key}='{escaped}'"


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
    single_run = [_quote(f"hydra.run.dir={run_dir}", ("hydra.run.dir",)), "hydra.mode=RUN"]
    finished = subprocess.run([sys.executable, "-m", f"lung_seg.cli.{name}", *overrides, *single_run], check=False)
    if finished.returncode:
        raise FailureError(f"its processes ended with code {finished.returncode}.")
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return float((summary["training"] or {}).get("validation_dice", summary["scores"]["all"]["dice"]["mean"]))


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by the key they set, add (+) or delete (~); the last of each key wins."""
    return {line.partition("=")[0].lstrip("+~"): line for line in overrides if not line.startswith("-")}


def _report_error(error: BaseException, schema: type[ConfigT], job_name: str = "") -> tuple[int, str]:
    """Print an expected error and return its exit code and message; raise any other one.

    Every process of a distributed training meets the same user mistake, so only the first one reports it.
    """
    expected = format_error(error, key_names(schema))
    if expected is None:
        raise error
    code, message = expected
    is_distributed = "trainer.devices" in key_names(schema)  # others may have been started within such a job
    rank = next((os.environ[name] for name in RANK_VARIABLES if is_distributed and name in os.environ), "0")
    if rank == "0":
        sys.stderr.write(f"{job_name}{message}\n")
    elif code == FAILURE:
        sys.stderr.write(f"Process {rank}: {message}\n")
    return expected


def _thread_excepthook(failure: threading.ExceptHookArgs) -> None:
    """Ignore I/O errors of TensorBoard's writer thread: the main thread meets a full disk too, and reports it."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
