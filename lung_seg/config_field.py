"""Declaration of configuration keys: default, meaning, and the range that is checked when a group is made."""

import dataclasses
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lung_seg.errors import UserError

MISSING = "???"  # OmegaConf's spelling of a value that has no default
EMPTY_RULE, EMPTY_REMEDY = "is empty, like an unset variable of a shell", "Give a value or leave it out."


# The rules that a key may have, each with its bound: config_field(4, "…", at_least=1, below=9).
VALIDATORS: dict[str, Callable[[Any, Any], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
    "choices": lambda value, choices: value in choices,
    "file_name": lambda value, _: re.fullmatch(r"\w[\w.-]*", str(value)) is not None,
}


def config_field(default: Any, meaning: str, **rules: Any) -> Any:
    """A configuration key: its default, its meaning in one line and the range of its values by ``VALIDATORS``."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "rules": rules})


def nested(group: Callable[[], object]) -> Any:
    """A group of keys inside another."""
    return dataclasses.field(default_factory=group)


def target_kwargs(meaning: str) -> Any:
    """A group whose keys are the arguments of an external class, named in ``_target_``."""
    return dataclasses.field(default_factory=dict, metadata={"meaning": meaning, "rules": {}})


def rule_text(rules: dict[str, Any]) -> str:
    """The range of a key in words: "at least 1, at most 8"."""
    if "choices" in rules:
        return f"one of {' | '.join(rules['choices'])}"
    if "file_name" in rules:
        return "letters, digits, '.', '-' and '_'"
    return ", ".join(f"{name.replace('_', ' ')} {bound}" for name, bound in rules.items())


def is_unresolved(value: Any) -> bool:
    """Whether a value is null, missing or a reference such as ``${data.epochs}``: no range applies to it."""
    return value in (None, MISSING) or str(value).startswith("${")


@dataclass
class ConfigGroup:
    """Base of all groups: checks each value against its key's range when the group is made."""

    prefix: ClassVar[str]

    def __init_subclass__(cls, prefix: str = "") -> None:
        cls.prefix = prefix

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, rules = getattr(self, field.name), field.metadata.get("rules", {})
            if value == "" != field.default:
                self.refuse(field.name, EMPTY_RULE, EMPTY_REMEDY)
            if not is_unresolved(value) and not all(VALIDATORS[name](value, bound) for name, bound in rules.items()):
                self.refuse(field.name, f"must be {rule_text(rules)}", f"It means: {field.metadata['meaning']}")

    def refuse(self, name: str, rule: str, remedy: str) -> None:
        """Raise the UserError of one key."""
        raise UserError(f"{self.prefix}{name}={getattr(self, name)} {rule}.\n{remedy}")


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line: true, null, [1,2]."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys, in the same order.

    >>> flatten({"seed": 0, "model": {"depth": 4}})
    {'seed': 0, 'model.depth': 4}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
