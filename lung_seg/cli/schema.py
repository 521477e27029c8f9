"""The schemas that Hydra checks ``conf/`` against, and the ``--help`` pages made from them.

The composed configuration becomes plain dataclasses at once, so a misspelt key, a wrong type and a value out of range
are refused before any work starts.
"""

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from lung_seg.config import (
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    ServeConfig,
    TrainConfig,
    TuberculosisConfig,
)
from lung_seg.config_field import ConfigGroup, as_typed, rule_text
from lung_seg.environment import CONF_DIR
from lung_seg.errors import UserError

ConfigT = TypeVar("ConfigT", bound=ConfigGroup)

SCHEMAS: dict[str, type[ConfigGroup]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
    "prepare_data": PrepareConfig,
    "predict": PredictConfig,
    "tuberculosis": TuberculosisConfig,
    "serve": ServeConfig,
}
GROUPS_HELP = """== Groups: choose a file of conf/, e.g. data=montgomery ==
Several values and --multirun run one job for each: data.batch_size=8,16 --multirun
"""
HELP_WIDTH, MEANING_COLUMN = 100, 40


@cache  # for the process: a sweep, and the tests, run many commands in one
def register() -> None:
    """Register the schemas with Hydra, under the names that ``conf/*.yaml`` use."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema)


def settings(composed: DictConfig, schema: type[ConfigT]) -> ConfigT:
    """The composed configuration as validated dataclasses.

    Raises:
        UserError: a value is out of its range or missing, or a key is not in the schema.
    """
    for group in _groups(schema):  # +key=value adds any key
        node = OmegaConf.select(composed, group.prefix.rstrip("."))
        for name in set(node) - {field.name for field in dataclasses.fields(group)}:
            raise UserError(f"{group.prefix}{name} is no key of this program.\n--help lists the keys.")
    for key in sorted(OmegaConf.missing_keys(composed)):
        raise UserError(f"{key} is not set and has no default.\nGive it on the command line: {key}=…")
    result = OmegaConf.to_object(composed)
    assert isinstance(result, schema)
    return result


def key_names(schema: type[ConfigGroup]) -> list[str]:
    """Every key of a schema, dotted."""
    return [
        group.prefix + field.name for group in _groups(schema) for field in dataclasses.fields(group) if field.metadata
    ]


def _groups(schema: type[ConfigGroup]) -> Iterator[type[ConfigGroup]]:
    """A schema and the groups nested in it, at any depth."""
    yield schema
    for field in dataclasses.fields(schema):
        group: Any = field.default_factory
        if isinstance(group, type) and issubclass(group, ConfigGroup):
            yield from _groups(group)


def help_page(name: str, schema: type[ConfigGroup], overrides: list[str]) -> str:
    """The page of ``python <name>.py --help``, with the values that the overrides and ``conf/`` give."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        composed = compose(name, overrides)
    keys = "\n".join(_help_lines(schema, composed))
    groups = "\n".join(_group_lines(name))
    choosing = f"\n{GROUPS_HELP}{groups}\n" if groups else ""
    return f"""{_wrapped((schema.__doc__ or "").strip())}

  python {name}.py [key=value] ...
{choosing}
== Keys: override any value by key=value ==
{keys}

--cfg job prints the configuration without running it.
"""


def _group_lines(name: str) -> Iterator[str]:
    """The groups that a command takes, each with the names of its files."""
    for entry in OmegaConf.load(CONF_DIR / f"{name}.yaml").defaults:
        group = "" if isinstance(entry, str) else next(iter(entry))
        if group and not group.startswith("override "):
            files = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
            yield _wrapped(f"{group}: {', '.join(files)}", "  ", "      ")


def _help_lines(schema: type[ConfigGroup], composed: DictConfig) -> Iterator[str]:
    """Each key with its value, meaning and range."""
    for group in _groups(schema):
        if group.prefix:
            yield "\n" + _wrapped(f"{group.prefix.rstrip('.')}: {(group.__doc__ or '').strip()}")
        for field in dataclasses.fields(group):
            if field.metadata:
                rules = rule_text(field.metadata["rules"])
                assignment = f"{group.prefix}{field.name}={_value_text(composed, group.prefix + field.name)}"
                meaning = field.metadata["meaning"] + (f" ({rules})" if rules else "")
                if len(assignment) >= MEANING_COLUMN - 3:
                    yield _wrapped(assignment, "  ", "      ")
                    assignment = ""
                yield _wrapped(meaning, f"  {assignment}".ljust(MEANING_COLUMN), " " * MEANING_COLUMN)


def _value_text(composed: DictConfig, key: str) -> str:
    """A value as it is typed; "…" for a required key, <time> for the time of the start."""
    *groups, name = key.split(".")
    node = OmegaConf.select(composed, ".".join(groups)) if groups else composed
    if OmegaConf.is_missing(node, name):
        return "…"
    if OmegaConf.is_interpolation(node, name):
        raw = OmegaConf.to_container(node, resolve=False)
        assert isinstance(raw, dict)
        if "${now:" in raw[name]:
            return re.sub(r"\$\{now:.*\}", "<time>", raw[name])
    value = node[name]
    return as_typed(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(text, HELP_WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
