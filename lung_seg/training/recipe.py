"""The recipe of a training: every setting that its weights follow from.

Each checkpoint holds it in its description, and a resumed training is compared with it: a change would be ignored in
part (the optimizer's state holds its learning rate), or make half a training of each of two kinds.
"""

import dataclasses
import logging
import shlex
from pathlib import Path
from typing import Any

from lung_seg.config import PATH_KEYS, TrainConfig
from lung_seg.config_field import as_typed, flatten
from lung_seg.environment import as_command, is_outside
from lung_seg.errors import UserError
from lung_seg.model.precision import choose_precision

# Groups and keys that may differ when a training resumes: where files lie, which machine trains, what it shows and
# saves. Epochs and batches are compared as a whole, as steps and cases per step (LungSegmenter.configure_optimizers).
FREE_GROUPS = ("search.",)
FREE_KEYS = {
    "resume", "compile", "logger", "dry_run", "checkpoint_every_n_steps",
    "data.raw_dir", "data.prepared_dir", "data.download", "data.max_megapixels", "data.on_error", "data.workers",
    "data.epochs", "data.batch_size", "trainer.max_epochs", "trainer.accumulate_grad_batches",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.benchmark",
    "trainer.log_every_n_steps", "trainer.enable_progress_bar",
}  # fmt: skip
SHOWN = 3  # differences that a message explains; the remedy names all

log = logging.getLogger(__name__)


def recipe(config: TrainConfig) -> dict[str, Any]:
    """The settings by their dotted keys, as plain values; the precision is the one that this machine chooses."""
    precision = choose_precision(config.trainer.precision, config.trainer.accelerator)
    flat = flatten(dataclasses.asdict(config)) | {"trainer.precision": precision}
    return {key: value for key, value in flat.items() if key not in FREE_KEYS and not key.startswith(FREE_GROUPS)}


def check_recipe(description: dict[str, Any], config: TrainConfig, run_dir: Path) -> None:
    """Compare a checkpoint's description with the settings that its training is to resume with.

    Raises:
        UserError: a setting differs.
    """
    ours = recipe(config)
    if "recipe" in description:
        saved: dict[str, Any] = flatten(dataclasses.asdict(TrainConfig()))  # for the keys of later versions
        saved = {key: value for key, value in saved.items() if key in ours} | description["recipe"]
    else:  # of a version that kept the network and the seed only
        log.warning(
            "%s was begun by an earlier version: only its network, seed, length and cases are compared.", run_dir
        )
        saved = ours | {f"model.{name}": value for name, value in description["network"].items()}
        saved = {key: saved[key] for key in ours} | {"seed": description["seed"]}
    differing = [key for key in sorted(saved | ours) if (key in saved, saved.get(key)) != (key in ours, ours.get(key))]
    if differing:
        shown = "; ".join(_difference(key, saved, ours) for key in differing[:SHOWN])
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        overrides = shlex.join(_override(key, saved, ours) for key in differing)
        raise UserError(
            f"{run_dir} cannot resume with other settings: {shown}{more}.\n"
            f"Resume it with {overrides}, or start a new training from its weights: " + shlex.quote(f"init={run_dir}")
        )


def resume_command(config: TrainConfig, run_dir: Path) -> str:
    """The command that resumes a training, with the places outside the current folder, which have to be given."""
    settings = flatten(dataclasses.asdict(config))
    outside = [f"{key}={settings[key]}" for key in PATH_KEYS if settings[key] and is_outside(settings[key])]
    return as_command("train", f"resume={run_dir}", *outside)


def score_command(config: TrainConfig, run_dir: Path) -> str:
    """The command that scores a training again, with the place of its cases where that has to be given."""
    place = config.data.prepared_dir
    outside = [f"data.prepared_dir={place}"] if is_outside(place) else []
    return as_command("evaluate", f"checkpoint={run_dir}", *outside)


def _difference(key: str, saved: dict[str, Any], ours: dict[str, Any]) -> str:
    now = f"{key}={as_typed(ours[key])}" if key in ours else f"no {key}"
    return f"{now}, but it began {f'with {as_typed(saved[key])}' if key in saved else 'without it'}"


def _override(key: str, saved: dict[str, Any], ours: dict[str, Any]) -> str:
    """The argument that restores a setting."""
    if key not in saved:
        return f"~{key}"
    return f"{'' if key in ours else '+'}{key}={as_typed(saved[key])}"
