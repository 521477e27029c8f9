"""One or two lines for every expected error, and the exit code."""

import difflib
import errno
import re
import shutil
import sys
from pathlib import Path

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lung_seg.errors import FailureError, UserError

INTERRUPTED, USER_MISTAKE, FAILURE = 130, 2, 1
# By the words with which OmegaConf refuses a value of another type.
VALUE_TYPES = {
    "Integer": "a whole number",
    "Float": "a number",
    "valid bool": "true or false",
    "not Optional": "another value than null",
    "not a ListConfig": "a list such as [1,2]",
}
PATH_MISTAKES = (NotADirectoryError, IsADirectoryError, FileExistsError)


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
            return USER_MISTAKE, _config_error(error, keys)
        case ValueError() if str(error).startswith("Config group override"):  # Hydra's, for optimizer=null
            reason = str(error).splitlines()[0]
            remedy = "A group takes the name of one of its files, e.g. optimizer=sgd; --help lists them."
            return USER_MISTAKE, f"{reason}.\n{remedy}"
        case ModuleNotFoundError() if not (error.name or "lung_seg").startswith("lung_seg"):
            # Of the extra "train"; the packages of the other extras are checked where they are imported.
            needed = f"{Path(sys.argv[0]).name} needs {error.name}, which is not installed."
            return USER_MISTAKE, f'{needed}\nInstall it: pip install "lung_seg[train]"'
        case OSError():
            reason = error.strerror or str(error).strip().splitlines()[-1]  # a worker's text is a traceback
            if error.errno == errno.ENOSPC and error.filename:
                reason += f" ({shutil.disk_usage(_existing(error.filename)).total / 1e9:.1f} GB disk)"
            then = next(iter(getattr(error, "__notes__", [])), "run the same command again")
            remedy = f"Fix that (disk space, permissions, another folder); what was saved is kept. Then {then}"
            code = USER_MISTAKE if isinstance(error, PATH_MISTAKES) else FAILURE
            return code, f"{error.filename or 'A file'}: {reason}.\n{remedy}"
    match type(error).__name__:  # importing torch takes seconds, and submitit is optional
        case "OutOfMemoryError":
            return FAILURE, "The GPU's memory is full.\nLower data.batch_size, data.image_size_px or model."
        case "UncompletedJobError" | "FailedJobError" | "FailedSubmissionError":
            reason = " ".join(_nonempty_lines(str(error))[:2])
            logs = "The other jobs continue. Logs are in .submitit of the sweep's folder"
            return FAILURE, f"A job was lost: {reason}.\n{logs}; the same command resumes a search."
    return None


def _config_error(error: BaseException, keys: list[str]) -> str:
    """An error of Hydra or OmegaConf, without the names of their internal types."""
    if isinstance(error, OverrideParseException):
        hint = "Several files are given as a folder, or as a pattern in quotes: 'films/*.png'. "
        is_file = Path(error.override).is_file()  # of the pattern that a shell expanded
        return f"{error.override} is not of the form key=value.\n{hint if is_file else ''}--help lists the keys."
    lines = _nonempty_lines(f"{error}\n{error.__cause__ or ''}")
    several = re.match(r"Ambiguous value for argument '([^=]+)=(.+)'", lines[0])
    if several:
        key, values = several.groups()
        rule = f"{key}={values} gives {key} several values"
        return f"{rule}.\nOne job for each: add --multirun. A list: '{key}=[{values}]'."
    unknown = re.match(r"Could not override '(.+)'", lines[0])
    if unknown:
        similar = difflib.get_close_matches(unknown[1], keys, n=1)
        hint = f"Did you mean {similar[0]}? " if similar else ""
        return f"{unknown[1]} is no key of this program.\n{hint}--help lists the keys."
    mistyped = re.match(r"Error merging override (.+)", lines[0])
    needed = next((rule for words, rule in VALUE_TYPES.items() if words in " ".join(lines)), None)
    if mistyped and needed:
        return f"{mistyped[1]} must be {needed}.\n--help says what each key means."
    if "Available options" in str(error):
        options = [line for line in lines[2:] if "=" not in line and ":" not in line]
        more = ' More with: pip install "lung_seg[cluster]"' if "'hydra/launcher/" in lines[0] else ""
        missing = re.sub(r"^In '\S+': Could not find '(.+)'$", r"conf/\1.yaml does not exist.", lines[0])
        return f"{missing}\nAvailable: {', '.join(options)}.{more}"
    internal = ("full_key:", "object_type=", "reference_type=", "See http")
    kept = [line for line in lines if not line.startswith(internal)]
    return "\n".join([*kept, "--help lists the keys."][:2])


def _existing(path: str | Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (Path(path), *Path(path).absolute().parents) if place.exists())


def _nonempty_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
