"""What a user types, as the arguments that Hydra takes."""

import difflib
import re
from contextlib import suppress
from itertools import pairwise

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lung_seg.config_field import EMPTY_REMEDY, EMPTY_RULE
from lung_seg.errors import UserError

# Options of Hydra, those without a value first.
FLAGS = ("-m", "--multirun", "-r", "--run", "-h", "--help", "--hydra-help", "--version", "--resolve")
VALUE_OPTIONS = (
    *("-c", "--cfg", "-i", "--info", "-p", "--package", "-sc", "--shell-completion", "--experimental-rerun"),
    *("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
)


def checked_arguments(arguments: list[str], main_key: str, keys: list[str]) -> list[str]:
    """Options first, then the settings, with ``main_key`` before a value that has no key.

    Args:
        arguments: as typed.
        main_key: the key of a value that is given alone: ``predict.py xray.png``.
        keys: all keys and groups of the command, which a mistaken option is compared with.

    Raises:
        UserError: an argument has a line break, is an unknown option, or names no folder to write to.
    """
    for argument in arguments:  # a line break would end up in every message that repeats the argument
        if "".join(argument.splitlines()) != argument:
            raise UserError(f"{argument!r} has a line break.\nGive each argument in one line.")
        if argument in ("output=", "hydra.run.dir="):  # where Hydra writes before the settings are checked
            raise UserError(f"{argument} {EMPTY_RULE}.\n{EMPTY_REMEDY}")
    return _options_first(_name_main_value(arguments, main_key), keys)


def quoted(argument: str, verbatim_keys: tuple[str, ...]) -> str:
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


def _name_main_value(arguments: list[str], main_key: str) -> list[str]:
    """The first argument without "=" becomes the value of the main key: ``predict.py xray.png``."""
    for index, (previous, argument) in enumerate(pairwise(["", *arguments])):
        if "=" not in argument and not argument.startswith(("-", "~")) and previous not in VALUE_OPTIONS:
            return [*arguments[:index], f"{main_key}={argument}", *arguments[index + 1 :]]
    return arguments


def _options_first(arguments: list[str], keys: list[str]) -> list[str]:
    """Options before the settings: Hydra takes no settings on both sides of an option.

    Raises:
        UserError: there is no such option; settings are given without dashes.
    """
    options: list[str] = []
    overrides: list[str] = []
    for previous, argument in pairwise(["", *arguments]):
        is_value = previous in VALUE_OPTIONS and "=" not in argument
        (options if argument.startswith("-") or is_value else overrides).append(argument)
        name = argument.partition("=")[0]
        if argument.startswith("-") and name not in (*FLAGS, *VALUE_OPTIONS):
            similar = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), keys, n=1)
            example = similar[0] if similar else "key"
            raise UserError(f"{name} is no option.\nA setting has no dashes: {example}=value. --help lists them.")
    return [*options, *overrides]
