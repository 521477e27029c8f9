"""What the top-level scripts share: from arguments to plain settings, and from errors to plain words."""

import difflib
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lung_seg.errors import UserError
from lung_seg.schema import ConfigT, key_names, register, settings

CONF_DIR = Path(__file__).resolve().parents[1] / "conf"
INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1
FORESEEN = (UserError, HydraException, OmegaConfBaseException, OSError)

Function = Callable[[ConfigT, Path], float | None]


def command(name: str, of: type[ConfigT]) -> Callable[[Function[ConfigT]], Callable[[], None]]:
    """Make a script of a function: it is called with the settings of ``conf/<name>.yaml`` and the run directory.

    What the function returns is the value that a sweep compares its jobs by.
    """

    def decorate(function: Function[ConfigT]) -> Callable[[], None]:
        codes: list[int] = []  # of the jobs that failed

        @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
        def job(composed: DictConfig) -> float | None:
            context = HydraConfig.get()
            try:
                return function(settings(composed, of), _as_typed(Path(context.runtime.output_dir)))
            except FORESEEN as error:  # of a sweep the other jobs go on
                job_name = f"Job {context.job.num}: " if context.mode == RunMode.MULTIRUN else ""
                codes.append(_tell(error, of, job_name))
                return None

        def script() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of to Hydra's own page of them
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import calls the package index
            register()
            threading.excepthook = _of_a_thread
            codes.clear()
            try:
                sys.argv[1:] = resumed_arguments(sys.argv[1:])
                job()
            except (KeyboardInterrupt, *FORESEEN) as error:
                codes.append(_tell(error, of))
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
    if not given.get("resume"):
        return arguments
    run_dir = Path(given["resume"])
    overrides = run_dir / ".hydra" / "overrides.yaml"
    if not (run_dir / "checkpoints" / "last.ckpt").is_file() or not overrides.is_file():
        raise UserError(
            f"resume={run_dir} holds no training to go on with: checkpoints/last.ckpt or .hydra/ is missing.\n"
            "Give the run directory of a training that finished at least one epoch, e.g. resume=runs/train/<time>."
        )
    saved = _by_key([str(line) for line in OmegaConf.load(overrides)])
    flags = [argument for argument in arguments if "=" not in argument]
    # Without output_subdir Hydra leaves the run's own overrides as they were, should the new ones be refused.
    merged = saved | given | {"hydra.run.dir": str(run_dir), "hydra.output_subdir": "null"}
    return [f"{key}={value}" for key, value in merged.items()] + flags


def _as_typed(folder: Path) -> Path:
    """A folder as one would type it from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by their keys, the last one winning."""
    pairs = (override.partition("=") for override in overrides if "=" in override)
    return {key: value for key, _, value in pairs}


def _tell(error: BaseException, of: type[ConfigT], job_name: str = "") -> int:
    """Print an error in one or two lines and return the exit code; of several processes only the first speaks."""
    match error:
        case KeyboardInterrupt():
            code, message = INTERRUPTED, f"Stopped; {error or 'what was saved is kept.'}"
        case UserError():
            code, message = USER_MISTAKE, str(error)
        case HydraException() | OmegaConfBaseException():  # before OSError: some of Hydra's errors are both
            code, message = USER_MISTAKE, _of_the_settings(error, key_names(of))
        case _:
            code, message = FAILURE, _of_the_machine(error)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(f"{job_name}{message}\n")
    return code


def _of_the_machine(error: BaseException) -> str:
    """A full disk, a folder that cannot be written to, a file that went away."""
    where, what = getattr(error, "filename", None) or "Writing a file", getattr(error, "strerror", None) or error
    return (
        f"{where}: {what}.\n"
        "Mend that (free space, rights, another folder) and run the same command again; what was saved is kept."
    )


def _of_a_thread(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own; of a full disk the main thread tells, which meets the error too."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def _of_the_settings(error: BaseException, keys: list[str]) -> str:
    """Hydra's and OmegaConf's errors in two lines, without the paths of their own types."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    unknown = re.match(r"Could not override '(.+)'", lines[0])
    if unknown:
        near = difflib.get_close_matches(unknown[1], keys, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        return f"{unknown[1]} is no key of this program.\n{hint}--help lists the keys and what they mean."
    if "Available options" in str(error):
        options = [line for line in lines[2:] if "=" not in line and ":" not in line]
        return f"{lines[0]}\nThere are: {', '.join(options)}."
    told = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "See http"))]
    return "\n".join([*told, "See --help for the keys and what they mean."][:2])
