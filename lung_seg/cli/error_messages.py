"""Errors that were foreseen, in plain words, and the exit codes they end with."""

import difflib
import re

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lung_seg.errors import FailureError, UserError

INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1
EXPECTED = (UserError, FailureError, HydraException, OmegaConfBaseException, OSError)
PATH_MISTAKES = (NotADirectoryError, IsADirectoryError, FileExistsError)


def is_expected(error: Exception) -> bool:
    """Whether ``in_words`` knows the error."""
    return isinstance(error, EXPECTED) or _is_out_of_memory(error) or _is_lost_job(error)


def format_error(error: BaseException, keys: list[str]) -> tuple[int, str]:
    """The exit code of an error that was foreseen, and what is told of it: one or two lines.

    Args:
        error: one that ``is_foreseen``, or KeyboardInterrupt.
        keys: those of the program, among which a misspelt one is looked for.
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
        case _ if _is_lost_job(error):
            return FAILURE, cluster_error_message(error)
        case _:
            return FAILURE, "The GPU's memory is full.\nLower data.batch_size, data.image_size_px or model."


def config_group_error(error: ValueError) -> UserError:
    """How Hydra refuses e.g. optimizer=null."""
    reason = str(error).splitlines()[0]
    return UserError(f"{reason}.\nA group takes the name of one of its files, e.g. optimizer=sgd; --help lists them.")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU is full; by name, since importing torch takes seconds that --help does not have."""
    return type(error).__name__ == "OutOfMemoryError"


def _is_lost_job(error: BaseException) -> bool:
    """Whether a cluster ended a job before it could end itself; by name, since submitit is there for clusters only."""
    return type(error).__name__ in ("UncompletedJobError", "FailedJobError", "FailedSubmissionError")


def cluster_error_message(error: BaseException) -> str:
    """A job that was killed or ran out of time, and one that could not be submitted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"A job was lost: {' '.join(lines[:2])}.\n"
        "Others go on. The cluster's logs, in .submitit of the sweep's folder, tell more; a search goes on by the same "
        "command."
    )


def os_error_message(error: OSError) -> str:
    """A full disk, a folder that cannot be written to, a file that went away."""
    reason = error.strerror or str(error).strip().splitlines()[-1]  # a worker's error has a traceback as its text
    return (
        f"{error.filename or 'A file'}: {reason}.\n"
        "Mend that (free space, rights, another folder) and run the same command again; what was saved is kept."
    )


def config_error_message(error: BaseException, keys: list[str]) -> str:
    """Hydra's and OmegaConf's errors in two lines, without the paths of their own types."""
    if isinstance(error, OverrideParseException):
        return f"{error.override} is not of the form key=value.\n--help lists the keys and what they mean."
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    unknown = re.match(r"Could not override '(.+)'", lines[0])
    if unknown:
        near = difflib.get_close_matches(unknown[1], keys, n=1)
        hint = f"Did you mean {near[0]}? " if near and near[0] != unknown[1] else ""
        return f"{unknown[1]} is no key of this program.\n{hint}--help lists the keys and what they mean."
    if "Available options" in str(error):
        options = [line for line in lines[2:] if "=" not in line and ":" not in line]
        missing = ' More by: pip install -e ".[cluster]"' if "'hydra/launcher/" in lines[0] else ""
        return f"{lines[0]}\nThere are: {', '.join(options)}.{missing}"
    told = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "See http"))]
    return "\n".join([*told, "See --help for the keys and what they mean."][:2])
