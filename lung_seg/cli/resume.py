"""Resuming a training with the settings saved in its run directory, which somebody else may have written."""

import re
import shlex
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from lung_seg.cli.latest import LAST
from lung_seg.cli.schema import key_names
from lung_seg.config import PATH_KEYS, RENAMED_DATA_KEYS, TrainConfig
from lung_seg.environment import as_command, is_outside
from lung_seg.errors import UserError

OVERRIDES = Path(".hydra") / "overrides.yaml"  # in the run directory of a training, as Hydra writes it
CLASS_GROUPS = ("optimizer", "scheduler")  # whose values may name a class
# Saved overrides besides those of typed keys: a choice of a group, and a plain argument of a class of torch.optim.
HARMLESS = re.compile(
    r"[+~]{0,2}(?!hydra)[a-z_]+=(null|[\w-]+|\[[\w,-]*\])"
    r"|[+~]{0,2}(optimizer|scheduler)\.(_target_=torch\.optim\.\w+(\.\w+)?|[a-zA-Z]\w*(=[\w.,+\[\]() -]*)?)"
)
MAX_BRACKETS = 300  # in overrides.yaml; PyYAML takes seconds for a thousand that are nested
LIST_EVENTS = (
    yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent,
    yaml.SequenceStartEvent, yaml.SequenceEndEvent,
)  # fmt: skip


def resumed_arguments(arguments: list[str]) -> list[str]:
    """With ``resume=<run dir>``: the overrides saved with that run, then the new ones, in the same run directory.

    A resumed run thus composes the same configuration; a key that is given again wins.

    Raises:
        UserError: the directory holds no training that can be resumed, or names a place outside the current folder:
            where to read and write there is the user's word alone.
    """
    given = _by_key(arguments)
    run_dir = Path(given.get("resume", "").partition("=")[2])
    if run_dir == Path():
        return arguments
    if run_dir.is_symlink():  # runs/train/latest
        run_dir = run_dir.parent / run_dir.readlink()
        given["resume"] = f"resume={run_dir}"
    if not (run_dir / LAST).is_file() or not (run_dir / OVERRIDES).is_file():
        raise UserError(f"resume={run_dir} {_not_a_training(run_dir)}")
    options = [argument for argument in arguments if argument.startswith("-")]
    directory = {"hydra.run.dir": f"hydra.run.dir={run_dir}"}
    saved = saved_overrides(run_dir)
    saved.pop("data.download", None)  # its data are there, or are downloaded because the user says so
    outside = [line for key, line in saved.items() if key in PATH_KEYS and key not in given and _leads_outside(line)]
    if outside:
        raise UserError(
            f"{run_dir} began with {', '.join(outside)}, outside the current folder.\n"
            f"If you trust that, give it too: {as_command('train', f'resume={run_dir}', *outside)}"
        )
    return [*(saved | given | directory).values(), *options]


def _leads_outside(line: str) -> bool:
    """Whether the path of an override is outside the current folder, or not known before the settings are composed."""
    path = str(OverridesParser.create().parse_override(line).value())
    return "${" in path or is_outside(path)


def _not_a_training(path: Path) -> str:
    """Why a path holds no training to resume, and what to give instead."""
    if path.parent.name == "checkpoints":
        directory = as_command("train", f"resume={path.parent.parent}")
        return f"is a checkpoint; a training is resumed by its run directory.\nResume it: {directory}"
    found = (last for last in path.glob(f"*/{LAST}") if not last.parents[1].is_symlink())
    trainings = sorted(found, key=lambda last: last.stat().st_mtime)
    if trainings:
        latest = as_command("train", f"resume={trainings[-1].parent.parent}")
        return f"is a folder of {len(trainings)} trainings.\nResume one of them, e.g. the latest: {latest}"
    if path.is_dir():
        return f"holds no training to resume: {LAST} or .hydra/ is missing.\nStart a new training without resume=."
    return "does not exist.\nGive the run directory of a training, e.g. resume=runs/train/latest"


def saved_overrides(run_dir: Path) -> dict[str, str]:
    """The overrides of a training by key, renamed ones by their present name, without those of a search it was part of.

    Raises:
        UserError: this version lacks a key.
    """
    saved: dict[str, str] = {}
    names = set(key_names(TrainConfig))
    checked = {name.partition(".")[0] for name in names if "." in name}
    for key, line in _by_key(_read_overrides(run_dir / OVERRIDES)).items():
        group, _, name = key.partition(".")
        if group == "search":
            continue
        if group == "data" and name in RENAMED_DATA_KEYS:
            line = line.replace(name, RENAMED_DATA_KEYS[name], 1)
            key = f"data.{RENAMED_DATA_KEYS[name]}"
        elif name and group in checked and key not in names:
            raise UserError(
                f"{run_dir} began with {line}, a key that this version of lung_seg no longer has.\n"
                f"Resume it with the version that began it, or start a new training from its weights: "
                + shlex.quote(f"init={run_dir}")
            )
        if key not in names - set(CLASS_GROUPS) and not HARMLESS.fullmatch(line):
            raise UserError(
                f"{run_dir / OVERRIDES} has {line!r:.100}, which could run code.\n"
                "If you trust it, delete that line and give it with the command."
            )
        saved[key] = line
    return saved


def _read_overrides(path: Path) -> list[str]:
    """The lines of overrides.yaml, a list of texts; nothing else is made of it, as somebody else may have written it.

    Raises:
        UserError: it is no such list.
    """
    try:
        lines, text = [], path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            raise ValueError("more brackets than settings have")
        for event in yaml.parse(text, yaml.SafeLoader):
            is_plain = not getattr(event, "anchor", None) and not getattr(event, "tag", None)
            if not is_plain or not isinstance(event, (yaml.ScalarEvent, *LIST_EVENTS)):
                raise ValueError(f"a {type(event).__name__}")
            if isinstance(event, yaml.ScalarEvent):
                lines.append(event.value)
        return lines
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(
            f"{path} is no list of settings.\nRestore it, or start a new training from its weights."
        ) from error


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by the key they set, add (+) or delete (~); the last of each key wins."""
    return {line.partition("=")[0].lstrip("+~"): line for line in overrides if not line.startswith("-")}
