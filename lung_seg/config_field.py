"""Declaration of configuration keys: default, meaning, and the range that is checked when a group is made."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from lung_seg.errors import UserError

MISSING = "???"  # OmegaConf's spelling of a value that has no default


def config_field(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A configuration key: its default, its meaning in one line and the range of its values."""
    rules = {"at least": at_least, "above": above, "at most": at_most, "below": below, "one of": choices}
    given = {name: bound for name, bound in rules.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"meaning": meaning, "rules": given})


def nested(group: Callable[[], object]) -> Any:
    """A group of keys inside another."""
    return dataclasses.field(default_factory=group)


def target_kwargs(meaning: str) -> Any:
    """A group whose keys are the arguments of an external class, named in ``_target_``."""
    return dataclasses.field(default_factory=dict, metadata={"meaning": meaning, "rules": {}})


VALIDATORS: dict[str, Callable[[Any, Any], bool]] = {
    "at least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
    "one of": lambda value, bound: value in bound,
}


def rule_text(rules: dict[str, Any]) -> str:
    """The range of a key in words: "at least 1, at most 8"."""
    return ", ".join(f"{name} {' | '.join(b) if name == 'one of' else b}" for name, b in rules.items())


def is_unresolved(value: Any) -> bool:
    """Whether a value is null, missing or a reference such as ``${data.epochs}``: no range applies to it."""
    return value in (None, MISSING) or str(value).startswith("${")


@dataclass
class ConfigGroup:
    """Base of all groups: checks each value against its key's range when the group is made."""

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, rules = getattr(self, field.name), field.metadata.get("rules", {})
            if not is_unresolved(value) and not all(VALIDATORS[name](value, bound) for name, bound in rules.items()):
                self.refuse(field.name, f"must be {rule_text(rules)}", f"It means: {field.metadata['meaning']}")

    def refuse(self, name: str, rule: str, remedy: str) -> None:
        """Raise the UserError of one key."""
        raise UserError(f"{self.prefix}{name}={getattr(self, name)} {rule}.\n{remedy}")
