"""The schemas that Hydra checks ``conf/`` against, and the ``--help`` pages made from them.

The composed configuration becomes plain dataclasses at once, so a misspelt key, a wrong type and a value out of range
are refused before any work starts.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from lung_seg.config import (
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    ServeConfig,
    TrainConfig,
    TuberculosisConfig,
)
from lung_seg.config_field import ConfigGroup, rule_text
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
GROUPS_HELP = """
== Groups: choose a file of conf/ (data=montgomery, trainer=gpu), which holds its values ==
$APP_CONFIG_GROUPS
Several values and --multirun run one job for each: data.batch_size=8,16 --multirun
"""


def register() -> None:
    """Register the schemas and help pages with Hydra, under the names that ``conf/*.yaml`` use."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema)
        store.store(group="hydra/help", name=f"{name}_help", node={"app_name": name, "template": _help(name, schema)})


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


def _help(script: str, schema: type[ConfigGroup]) -> str:
    """The page of ``python <script>.py --help``."""
    keys = "\n".join(_help_lines(schema))
    groups = GROUPS_HELP if len(list(_groups(schema))) > 1 else ""
    return f"""{(schema.__doc__ or "").strip()}

  python {script}.py [key=value] ...
{groups}
== Keys: override any value by key=value ==
{keys}

--cfg job prints the configuration without running it.
"""


def _help_lines(schema: type[ConfigGroup]) -> Iterator[str]:
    """One line per key: name, default, meaning and range."""
    for group in _groups(schema):
        if group.prefix:
            yield f"\n{group.prefix.rstrip('.')}: {(group.__doc__ or '').strip()}"
        for field in dataclasses.fields(group):
            if field.metadata:
                rules = rule_text(field.metadata["rules"])
                assignment = f"{group.prefix}{field.name}={_default_text(field.default)}"
                yield f"  {assignment:38} {field.metadata['meaning']}" + (f" ({rules})" if rules else "")


def _default_text(default: Any) -> str:
    """A default as it is typed; "…" for a required key, the name of the other key for one that follows it."""
    if default is None:
        return "null"
    if default in (MISSING, dataclasses.MISSING):
        return "…"
    if isinstance(default, tuple):
        return str(list(default))
    return str(default).lower() if isinstance(default, bool) else str(default).strip("${}")
