"""The schemas that Hydra checks ``conf/`` against, and the ``--help`` pages made from them.

The composed configuration becomes plain dataclasses at once, so a misspelt key, a wrong type and a value out of range
are refused before any work starts.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from lung_seg.config import EvaluateConfig, ExportConfig, PredictConfig, PrepareConfig, TrainConfig
from lung_seg.config_field import ConfigGroup, rule_text
from lung_seg.errors import UserError

ConfigT = TypeVar("ConfigT", bound=ConfigGroup)

GROUPS_HELP = """
== Groups: choose a file of conf/ (data=montgomery, trainer=gpu), which holds its values ==
$APP_CONFIG_GROUPS"""
SWEEPS_HELP = """
Several values and --multirun run one job for each: data.batch_size=8,16 --multirun"""


def register() -> None:
    """Register the schemas and help pages with Hydra, under the names that ``conf/*.yaml`` use."""
    store = ConfigStore.instance()
    for name, schema in (
        ("train", TrainConfig),
        ("evaluate", EvaluateConfig),
        ("export", ExportConfig),
        ("prepare_data", PrepareConfig),
        ("predict", PredictConfig),
    ):
        store.store(name=f"{name}_schema", node=schema)
        store.store(group="hydra/help", name=f"{name}_help", node={"app_name": name, "template": _help(name, schema)})


def settings(composed: DictConfig, schema: type[ConfigT]) -> ConfigT:
    """The composed configuration as validated dataclasses.

    Raises:
        UserError: a value is out of its range or missing, or a key is not in the schema.
    """
    added = sorted(_added_keys(composed, schema))
    if added:
        raise UserError(f"{added[0]} is no key of this program.\n--help lists the keys and what they mean.")
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is not set and has no default.\nGive it on the command line: {missing[0]}=…")
    result = OmegaConf.to_object(composed)
    assert isinstance(result, schema)
    return result


def _added_keys(composed: DictConfig, schema: type[ConfigGroup], prefix: str = "") -> Iterator[str]:
    """Keys that ``+key=value`` added to those of the schema."""
    yield from (prefix + str(name) for name in set(composed) - {field.name for field in dataclasses.fields(schema)})
    for name, group in _groups(schema):
        yield from _added_keys(composed[name], group, f"{prefix}{name}.")


def _groups(schema: type[ConfigGroup]) -> Iterator[tuple[str, type[ConfigGroup]]]:
    """The nested groups by name."""
    for field in dataclasses.fields(schema):
        group: Any = field.default_factory
        if isinstance(group, type) and issubclass(group, ConfigGroup):
            yield field.name, group


def key_names(schema: type[ConfigGroup], prefix: str = "") -> list[str]:
    """Every key of a schema, dotted."""
    groups = dict(_groups(schema))
    own = [prefix + field.name for field in dataclasses.fields(schema) if field.name not in groups]
    return own + [name for group_name, group in groups.items() for name in key_names(group, f"{prefix}{group_name}.")]


def _help(script: str, schema: type[ConfigGroup]) -> str:
    """The page of ``python <script>.py --help``."""
    keys = "\n".join(_help_lines(schema))
    has_groups = any(_groups(schema))
    usage = f"python {script}.py {'[group=name] ' if has_groups else ''}[key=value] ..."
    return f"""{(schema.__doc__ or "").strip()}

  {usage}
{GROUPS_HELP if has_groups else ""}
== Keys: override any value by key=value ==
{keys}
{SWEEPS_HELP if has_groups else ""}
--cfg job prints the configuration without running it.
"""


def _help_lines(schema: type[ConfigGroup], prefix: str = "") -> Iterator[str]:
    """One line per key: name, default, meaning and range."""
    for field in dataclasses.fields(schema):
        if field.metadata:
            rules = rule_text(field.metadata["rules"])
            assignment = f"{prefix}{field.name}={_default_text(field.default)}"
            yield f"  {assignment:38} {field.metadata['meaning']}" + (f" ({rules})" if rules else "")
    for name, group in _groups(schema):
        yield f"\n{prefix}{name}: {(group.__doc__ or '').strip()}"
        yield from _help_lines(group, f"{prefix}{name}.")


def _default_text(default: Any) -> str:
    """A default as it is typed; "…" for a required key, the name of the other key for one that follows it."""
    if default in (None, MISSING, dataclasses.MISSING):
        return "null" if default is None else "…"
    return str(default).lower() if isinstance(default, bool) else str(default).strip("${}")
