"""One or two lines for every expected error, and the exit code."""

import difflib
import re
import sys
from pathlib import Path

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lung_seg.errors import FailureError, UserError

INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1
EXPECTED = (UserError, FailureError, HydraException, OmegaConfBaseException, OSError, KeyboardInterrupt)
PATH_MISTAKES = (NotADirectoryError, IsADirectoryError, FileExistsError)
# By name, since importing torch takes seconds and submitit is optional.
OUT_OF_MEMORY = ("OutOfMemoryError",)
JOB_LOST = ("UncompletedJobError", "FailedJobError", "FailedSubmissionError")
CONFIG_GROUP_ERROR = "Config group override"  # Hydra raises a bare ValueError


def is_expected(error: BaseException) -> bool:
    """Whether ``format_error`` has a message for the error."""
    if isinstance(error, ModuleNotFoundError):
        return not (error.name or "lung_seg").startswith("lung_seg")
    if isinstance(error, ValueError):
        return str(error).startswith(CONFIG_GROUP_ERROR)
    return isinstance(error, EXPECTED) or type(error).__name__ in (*OUT_OF_MEMORY, *JOB_LOST)


def format_error(error: BaseException, keys: list[str]) -> tuple[int, str]:
    """Exit code and message, one or two lines.

    Args:
        error: one that ``is_expected``.
        keys: every key of the command, to suggest one for a misspelt key.
    """
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, f"Stopped; {str(error) or 'what was saved is kept.'}"
        case UserError():
            return USER_MISTAKE, str(error)
        case FailureError():
            return FAILURE, str(error)
        case HydraException() | OmegaConfBaseException():  # before OSError: some of Hydra's errors are both
            return USER_MISTAKE, config_error_message(error, keys)
        case OSError():
            return USER_MISTAKE if isinstance(error, PATH_MISTAKES) else FAILURE, os_error_message(error)
        case ModuleNotFoundError():
            return USER_MISTAKE, missing_package_message(error)
        case ValueError():
            return USER_MISTAKE, config_group_error(error)
        case _ if type(error).__name__ in JOB_LOST:
            return FAILURE, cluster_error_message(error)
        case _:
            return FAILURE, "The GPU's memory is full.\nLower data.batch_size, data.image_size_px or model."


def missing_package_message(error: ModuleNotFoundError) -> str:
    """A package of the extra "train"; those of the other extras are checked where they are imported."""
    program = Path(sys.argv[0]).name
    return f'{program} needs {error.name}, which is not installed.\nInstall it: pip install "lung_seg[train]"'


def config_group_error(error: ValueError) -> str:
    """A value that is no name of a config file, e.g. optimizer=null."""
    reason = str(error).splitlines()[0]
    return f"{reason}.\nA group takes the name of one of its files, e.g. optimizer=sgd; --help lists them."


def cluster_error_message(error: BaseException) -> str:
    """A job that was killed, ran out of time or could not be submitted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"A job was lost: {' '.join(lines[:2])}.\n"
        "The other jobs continue. Logs are in .submitit of the sweep's folder; the same command resumes a search."
    )


def os_error_message(error: OSError) -> str:
    """A full disk, a folder without write permission, a file that was removed."""
    reason = error.strerror or str(error).strip().splitlines()[-1]  # a worker's error has a traceback as its text
    return (
        f"{error.filename or 'A file'}: {reason}.\n"
        "Fix that (disk space, permissions, another folder) and run the same command again; what was saved is kept."
    )


def config_error_message(error: BaseException, keys: list[str]) -> str:
    """An error of Hydra or OmegaConf, without the names of their internal types."""
    if isinstance(error, OverrideParseException):
        return f"{error.override} is not of the form key=value.\n--help lists the keys and what they mean."
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    unknown = re.match(r"Could not override '(.+)'", lines[0])
    if unknown:
        similar = difflib.get_close_matches(unknown[1], keys, n=1)
        hint = f"Did you mean {similar[0]}? " if similar and similar[0] != unknown[1] else ""
        return f"{unknown[1]} is no key of this program.\n{hint}--help lists the keys and what they mean."
    if "Available options" in str(error):
        options = [line for line in lines[2:] if "=" not in line and ":" not in line]
        more = ' More with: pip install "lung_seg[cluster]"' if "'hydra/launcher/" in lines[0] else ""
        return f"{lines[0]}\nAvailable: {', '.join(options)}.{more}"
    internal = ("full_key:", "object_type=", "reference_type=", "See http")
    kept = [line for line in lines if not line.startswith(internal)]
    return "\n".join([*kept, "See --help for the keys and what they mean."][:2])
