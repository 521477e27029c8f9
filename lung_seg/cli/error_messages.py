"""One or two lines for every expected error, and the exit code."""

import difflib
import re
import sys
from pathlib import Path

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lung_seg.errors import FailureError, UserError

INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1


def format_error(error: BaseException, keys: list[str]) -> tuple[int, str] | None:
    """Exit code and message, one or two lines; None for an error that is not expected and needs its traceback.

    A misspelt key gets a suggestion out of ``keys``, those of the command.
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
        case ValueError() if str(error).startswith("Config group override"):  # Hydra's, for optimizer=null
            reason = str(error).splitlines()[0]
            remedy = "A group takes the name of one of its files, e.g. optimizer=sgd; --help lists them."
            return USER_MISTAKE, f"{reason}.\n{remedy}"
        case ModuleNotFoundError() if not (error.name or "lung_seg").startswith("lung_seg"):
            # Of the extra "train"; the packages of the other extras are checked where they are imported.
            needed = f"{Path(sys.argv[0]).name} needs {error.name}, which is not installed."
            return USER_MISTAKE, f'{needed}\nInstall it: pip install "lung_seg[train]"'
        case NotADirectoryError() | IsADirectoryError() | FileExistsError():
            return USER_MISTAKE, os_error_message(error)
        case OSError():
            return FAILURE, os_error_message(error)
    match type(error).__name__:  # importing torch takes seconds, and submitit is optional
        case "OutOfMemoryError":
            return FAILURE, "The GPU's memory is full.\nLower data.batch_size, data.image_size_px or model."
        case "UncompletedJobError" | "FailedJobError" | "FailedSubmissionError":
            reason = " ".join(nonempty_lines(str(error))[:2])
            remedy = (
                "The others continue. Logs are in .submitit of the sweep's folder; the same command resumes a search."
            )
            return FAILURE, f"A job was lost: {reason}.\n{remedy}"
    return None


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
        return f"{error.override} is not of the form key=value.\n--help lists the keys."
    lines = nonempty_lines(f"{error}\n{error.__cause__ or ''}")
    unknown = re.match(r"Could not override '(.+)'", lines[0])
    if unknown:
        similar = difflib.get_close_matches(unknown[1], keys, n=1)
        hint = f"Did you mean {similar[0]}? " if similar else ""
        return f"{unknown[1]} is no key of this program.\n{hint}--help lists the keys."
    if "Available options" in str(error):
        options = [line for line in lines[2:] if "=" not in line and ":" not in line]
        more = ' More with: pip install "lung_seg[cluster]"' if "'hydra/launcher/" in lines[0] else ""
        return f"{lines[0]}\nAvailable: {', '.join(options)}.{more}"
    internal = ("full_key:", "object_type=", "reference_type=", "See http")
    kept = [line for line in lines if not line.startswith(internal)]
    return "\n".join([*kept, "See --help for the keys and what they mean."][:2])


def nonempty_lines(text: str) -> list[str]:
    """The stripped lines of a text that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]
