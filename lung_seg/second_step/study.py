"""Whether signs of a disease are found inside the lungs: within each source, and at another one.

Within a source a classifier may read what its sick and healthy differ by for other reasons: another room, another
exposure, other arms. A control that does not see the lungs finds that too. At another source such habits are of no use.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lung_seg.errors import UserError
from lung_seg.prepared.manifest import COLUMNS, Row
from lung_seg.second_step.classifier import Classifier, fit, patient_folds
from lung_seg.second_step.features import CONTROLS, LUNGS, SHAPE, Features
from lung_seg.second_step.scores import Labels, Values

MIN_PATIENTS = 10  # with each label in each source: two in each outer fold
OUTER_SEED = 1000  # added to the seed of the outer folds, so that the inner ones are others

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """Radiographs judged by classifiers that were not fitted on them.

    Attributes:
        name: "within montgomery" or "montgomery → shenzhen".
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


def labelled(features: Features, column: str) -> tuple[Features, Labels]:
    """Radiographs with a label in a column of the manifest, and their labels; the errors are those of read_labels."""
    known, labels = read_labels(features.rows, column)
    values = {name: numbers[known] for name, numbers in features.values.items()}
    rows = [features.rows[position] for position in known]
    return Features(rows, values, features.widths, features.without_lungs), labels


def read_labels(rows: Sequence[Row], column: str) -> tuple[Positions, Labels]:
    """The positions of the radiographs with a label in a column of the manifest, and their labels.

    Raises:
        UserError: there is no such column, a label is neither 0 nor 1, or a source has too few patients of a label.
    """
    if column not in COLUMNS:
        raise UserError(f"second_step.label={column} is no column of manifest.csv.\nIt has: {', '.join(COLUMNS)}.")
    found = [getattr(row, column) for row in rows]
    others = sorted({str(value) for value in found if value not in (0, 1, None, "")})
    if others:
        examples = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise UserError(f"second_step.label={column} holds {examples}.\nA label must be 0 or 1, or empty if unknown.")
    known = np.array([position for position, value in enumerate(found) if value in (0, 1)], dtype=np.int64)
    if not len(known):
        raise UserError(
            f"No radiograph of this set has a label in the column {column}.\n"
            "Choose a set with labels, e.g. data=montgomery_shenzhen, or another column: second_step.label=…"
        )
    labels = np.array([found[position] for position in known], dtype=np.int64)
    _check_sizes([rows[position] for position in known], labels, column)
    return known, labels


def _check_sizes(rows: Sequence[Row], labels: Labels, column: str) -> None:
    patients = {(row.source, label, row.patient) for row, label in zip(rows, labels.tolist(), strict=True)}
    counts = Counter((source, label) for source, label, _ in patients)
    for source in sorted({row.source for row in rows}):
        with_label, without = counts[source, 1], counts[source, 0]
        if min(with_label, without) < MIN_PATIENTS:
            raise UserError(
                f"{source} has {with_label} patients with {column}=1 and {without} with {column}=0; "
                f"cross-validation needs {MIN_PATIENTS} of each.\nAdd radiographs, or choose a set without that source."
            )


def run_study(features: Features, labels: Labels, seeds: int) -> Study:
    """Judge every labelled radiograph within its source and, where there are several, from each other source."""
    sources = np.array([row.source for row in features.rows])
    names = sorted(set(sources))
    trials = _trials(features, labels, sources, names, seeds)
    progress = tqdm(trials, "Cross-validation", len(names) ** 2, leave=False, unit=" trials")
    return Study(list(progress), list(_source_trials(features, sources, names)))


def _source_trials(features: Features, sources: NDArray[np.str_], names: list[str]) -> Iterator[Trial]:
    """Which of two sources a radiograph is from, for each pair."""
    for one, other in combinations(names, 2):
        pair = np.flatnonzero(np.isin(sources, (one, other)))
        of_other = (sources == other).astype(np.int64)
        logits = _cross_validated(features, LUNGS, of_other, pair, seed=0)
        yield Trial(f"{one} or {other}", pair, of_other[pair], {LUNGS: logits[None]})


def _trials(
    features: Features, labels: Labels, sources: NDArray[np.str_], names: list[str], seeds: int
) -> Iterator[Trial]:
    for name in names:
        inside = np.flatnonzero(sources == name)
        logits = {
            kind: np.stack([_cross_validated(features, kind, labels, inside, seed) for seed in range(seeds)])
            for kind in (LUNGS, *CONTROLS)
        }
        yield Trial(f"within {name}", inside, labels[inside], logits)
    for fitted, judged in permutations(names, 2):
        here, there = np.flatnonzero(sources == fitted), np.flatnonzero(sources == judged)
        classifiers = {
            kind: [fit_on(features, kind, labels, here, seed) for seed in range(seeds)] for kind in (LUNGS, *CONTROLS)
        }
        logits = {
            kind: np.stack([classifier.logits(features.values[kind][there]) for classifier in of_seeds])
            for kind, of_seeds in classifiers.items()
        }
        yield Trial(f"{fitted} → {judged}", there, labels[there], logits, classifiers[LUNGS][0])


def fit_on(features: Features, kind: str, labels: Labels, positions: Positions, seed: int) -> Classifier:
    """A classifier fitted on some of the radiographs, from the lungs or from one of the controls."""
    values = features.values[kind][positions]
    widths = [values.shape[1]] if kind == SHAPE else features.widths
    return fit(values, widths, labels[positions], _patients(features, positions), seed)


def _cross_validated(features: Features, kind: str, labels: Labels, positions: Positions, seed: int) -> Values:
    """Logits of radiographs, each by a classifier fitted on other patients, which alone choose its settings."""
    logits = np.empty(len(positions))
    for fitted, judged in patient_folds(labels[positions], _patients(features, positions), OUTER_SEED + seed):
        classifier = fit_on(features, kind, labels, positions[fitted], seed)
        logits[judged] = classifier.logits(features.values[kind][positions[judged]])
    return logits


def _patients(features: Features, positions: Positions) -> list[str]:
    return [features.rows[position].patient for position in positions]
