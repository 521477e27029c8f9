"""What the top-level scripts share: from arguments to plain settings, and from errors to plain words."""

import difflib
import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lung_seg.config import ConfigT, key_names, register, settings
from lung_seg.errors import UserError

CONF_DIR = Path(__file__).resolve().parents[1] / "conf"
INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)


def command(name: str, of: type[ConfigT]) -> Callable[[Callable[[ConfigT, Path], float | None]], Callable[[], None]]:
    """Make a script of a function: it is called with the settings of ``conf/<name>.yaml`` and the run directory.

    What the function returns is the value that a sweep compares its jobs by.
    """

    def decorate(function: Callable[[ConfigT, Path], float | None]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
        def job(composed: DictConfig) -> float | None:
            context = HydraConfig.get()
            try:
                return function(settings(composed, of), Path(context.runtime.output_dir))
            except UserError as error:
                if context.mode == RunMode.MULTIRUN:
                    raise  # Hydra names the job, goes on with the others and raises at the end
                _leave(USER_MISTAKE, str(error))

        def script() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of to Hydra's own page of them
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import calls the package index
            register()
            try:
                sys.argv[1:] = resumed_arguments(sys.argv[1:])
                job()
            except KeyboardInterrupt:
                _leave(INTERRUPTED, "Stopped; what was saved is kept.")
            except UserError as error:
                _leave(USER_MISTAKE, str(error))
            except (HydraException, OmegaConfBaseException) as error:
                _leave(USER_MISTAKE, _in_plain_words(error, key_names(of)))
            except OSError as error:
                if error.errno not in CANNOT_WRITE:
                    raise
                _leave(FAILURE, _cannot_write(error))
            finally:
                GlobalHydra.instance().clear()

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
    merged = saved | given | {"hydra.run.dir": str(run_dir)}
    return [f"{key}={value}" for key, value in merged.items()] + flags


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by their keys, the last one winning."""
    pairs = (override.partition("=") for override in overrides if "=" in override)
    return {key: value for key, _, value in pairs}


def _in_plain_words(error: Exception, keys: list[str]) -> str:
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
    return "\n".join(told[:2])


def _cannot_write(error: OSError) -> str:
    return (
        f"Cannot write {error.filename or 'a file'}: {error.strerror}.\n"
        "Free space or choose another place and run the same command again; what was saved is kept."
    )


def _leave(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)
