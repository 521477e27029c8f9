"""Whether signs of a disease are found inside the lungs: within each source, and at another one.

Within a source a classifier may read what its sick and healthy differ by for other reasons: another room, another
exposure, other arms. A control that does not see the lungs finds that too. At another source such habits are of no use.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lung_seg.second_step.classifier import Classifier
from lung_seg.second_step.features import CONTROLS, LUNGS, SHAPE, Features
from lung_seg.second_step.fitting import cross_validate, fit, on_all_cores
from lung_seg.second_step.labels import Positions, read_labels
from lung_seg.second_step.scores import Labels, Values

Result = TypeVar("Result")

KINDS = (LUNGS, *CONTROLS)


@dataclass(frozen=True)
class Trial:
    """Radiographs judged by classifiers that were not fitted on them.

    Attributes:
        name: "within montgomery", "montgomery → shenzhen" or "all sources → shenzhen".
        positions: of the judged radiographs in the features' rows.
        labels: their labels.
        logits: (seeds, radiographs) of "lungs" and of each of the controls.
        classifier: of the lungs and the first seed, where one has judged all radiographs: between sources.
    """

    name: str
    positions: Positions
    labels: Labels
    logits: dict[str, Values]
    classifier: Classifier | None = None


@dataclass(frozen=True)
class Study:
    """The trials of a set, and how well the source is told from the lungs for each pair of sources."""

    trials: list[Trial]
    source_trials: list[Trial]


def labelled(features: Features, column: str, table: Path | None = None) -> tuple[Features, Labels]:
    """Radiographs with a label, and their labels; arguments and errors are those of read_labels."""
    known, labels = read_labels(features.rows, column, table)
    values = {name: numbers[known] for name, numbers in features.values.items()}
    rows = [features.rows[position] for position in known]
    return Features(rows, values, features.widths, features.without_lungs), labels


def run_study(features: Features, labels: Labels, seeds: int) -> Study:
    """Judge every labelled radiograph within its source and, where there are several, from each other source."""
    sources = np.array([row.source for row in features.rows])
    names = sorted(set(sources))
    trials = _trials(features, labels, sources, names, seeds)
    number = len(names) ** 2 + (len(names) if len(names) > 1 else 0)
    progress = tqdm(trials, "Cross-validation", number, leave=False, unit=" trials", disable=None)
    return Study(list(progress), list(_source_trials(features, sources, names)))


def _source_trials(features: Features, sources: NDArray[np.str_], names: list[str]) -> Iterator[Trial]:
    """Which of two sources a radiograph is from, for each pair."""
    for one, other in combinations(names, 2):
        pair = np.flatnonzero(np.isin(sources, (one, other)))
        of_other = (sources == other).astype(np.int64)
        logits = cross_validate(*_arguments(features, LUNGS, of_other, pair, seed=0))
        yield Trial(f"{one} or {other}", pair, of_other[pair], {LUNGS: logits[None]})


def _trials(
    features: Features, labels: Labels, sources: NDArray[np.str_], names: list[str], seeds: int
) -> Iterator[Trial]:
    for name in names:
        inside = np.flatnonzero(sources == name)
        yield Trial(f"within {name}", inside, labels[inside], _cross_validated(features, labels, inside, seeds))
    for fitted, judged in permutations(names, 2):
        here, there = np.flatnonzero(sources == fitted), np.flatnonzero(sources == judged)
        classifiers = _of_seeds(fit, features, labels, here, seeds)
        logits = {
            kind: np.stack([classifier.logits(features.values[kind][there]) for classifier in of_seeds])
            for kind, of_seeds in classifiers.items()
        }
        yield Trial(f"{fitted} → {judged}", there, labels[there], logits, classifiers[LUNGS][0])
    if len(names) > 1:
        everything = np.arange(len(labels))
        logits = _cross_validated(features, labels, everything, seeds)
        for name in names:  # each source is judged alone, or the source would give the label away
            inside = np.flatnonzero(sources == name)
            of_source = {kind: values[:, inside] for kind, values in logits.items()}
            yield Trial(f"all sources → {name}", inside, labels[inside], of_source)


def _cross_validated(features: Features, labels: Labels, positions: Positions, seeds: int) -> dict[str, Values]:
    """Cross-validated logits (seeds, radiographs) of the lungs and of each control."""
    logits = _of_seeds(cross_validate, features, labels, positions, seeds)
    return {kind: np.stack(of_seeds) for kind, of_seeds in logits.items()}


def _of_seeds(
    function: Callable[..., Result], features: Features, labels: Labels, positions: Positions, seeds: int
) -> dict[str, list[Result]]:
    """What ``fit`` or ``cross_validate`` makes of the lungs and of each control with each seed."""
    tasks = [(kind, seed) for seed in range(seeds) for kind in KINDS]
    results = on_all_cores(function, [_arguments(features, kind, labels, positions, seed) for kind, seed in tasks])
    return {kind: [result for task, result in zip(tasks, results, strict=True) if task[0] == kind] for kind in KINDS}


def fit_on(features: Features, kind: str, labels: Labels, positions: Positions, seed: int) -> Classifier:
    """A classifier fitted on some of the radiographs, from the lungs or from one of the controls."""
    return fit(*_arguments(features, kind, labels, positions, seed))


def _arguments(
    features: Features, kind: str, labels: Labels, positions: Positions, seed: int
) -> tuple[Values, list[int], Labels, list[str], int]:
    """The arguments of ``fit`` and ``cross_validate`` for some of the radiographs."""
    values = features.values[kind][positions]
    widths = [values.shape[1]] if kind == SHAPE else features.widths
    patients = [features.rows[position].patient for position in positions]
    return values, widths, labels[positions], patients, seed
