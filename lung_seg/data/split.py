"""Who is in the test set, in validation and in training.

Cases are dealt by patient, so that nobody is on both sides; radiographs with the same pixels count as one patient's.
Within each stratum (source and TB label) patients are drawn in the order of a seeded hash of their names: who is drawn
depends neither on the order of files nor on how many cases come later.
"""

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from lung_seg.data.manifest import Row
from lung_seg.errors import UserError

Stratum = tuple[str, int | None]


def assign_splits(rows: list[Row], test_cases: float, validation_fraction: float, seed: int) -> list[Row]:
    """Give every row a split; rows that have one keep it.

    Args:
        rows: cases, with or without a split.
        test_cases: how many cases to put aside first, or below 1 the fraction of all cases.
        validation_fraction: fraction of the rest that validates.
        seed: another seed draws other patients.

    Raises:
        UserError: a split would be left without a case.
    """
    wanted = round(test_cases * len(rows)) if test_cases < 1 else int(test_cases)
    if test_cases > 0 and wanted == 0:
        wanted = 1
    rows = _deal(rows, lambda _: True, wanted, "test", seed)
    rest = sum(row.split != "test" for row in rows)
    rows = _deal(rows, lambda row: row.split != "test", max(1, round(validation_fraction * rest)), "validation", seed)
    rows = [row if row.split else dataclasses.replace(row, split="train") for row in rows]
    _check_sizes(rows, test_cases)
    return rows


def assign_folds(rows: list[Row], folds: int, fold: int, seed: int) -> list[Row]:
    """Cross-validation of all but the test cases: those of ``fold`` validate, the others train.

    Every case validates in exactly one of the folds.

    Raises:
        UserError: there are more folds than patients.
    """
    rest = [row for row in rows if row.split != "test"]
    dealt = _in_strata(_patients(rest), seed)
    if len(dealt) < folds:
        raise UserError(
            f"data.folds={folds} exceeds the {len(dealt)} patients outside the test split.\nLower data.folds."
        )
    validates = {row.case_id for number, patient in enumerate(dealt) if number % folds == fold for row in patient}
    return [
        row
        if row.split == "test"
        else dataclasses.replace(row, split="validation" if row.case_id in validates else "train")
        for row in rows
    ]


def _deal(rows: list[Row], eligible: Callable[[Row], bool], wanted: int, split: str, seed: int) -> list[Row]:
    """Put ``wanted`` of the eligible cases into a split, its strata in proportion; those already there count."""
    patients = _patients([row for row in rows if eligible(row)])
    quotas = _quotas(Counter(_stratum(row) for patient in patients for row in patient), wanted)
    chosen: set[str] = set()
    _join_kept(patients, split, quotas, chosen)
    for patient in _in_order(patients, seed):
        free = all(not row.split for row in patient)
        if free and quotas[_stratum(patient[0])] >= len(patient):
            quotas[_stratum(patient[0])] -= len(patient)
            chosen.update(row.case_id for row in patient)
    return [dataclasses.replace(row, split=split) if row.case_id in chosen else row for row in rows]


def _join_kept(patients: list[list[Row]], split: str, quotas: dict[Stratum, int], chosen: set[str]) -> None:
    """A patient with a case already in a split brings its new cases there."""
    for patient in patients:
        if any(row.split == split for row in patient):
            quotas[_stratum(patient[0])] -= len(patient)
            chosen.update(row.case_id for row in patient)


def _patients(rows: Iterable[Row]) -> list[list[Row]]:
    """Cases that must stay together: of one patient, or with the same pixels, directly or through others."""
    together: dict[str, list[Row]] = {}
    for row in rows:
        names = (f"patient {row.source}/{row.patient_id}", f"pixels {row.image_sha256}")
        met = {id(group): group for name in names if (group := together.get(name)) is not None}
        merged = [row for group in met.values() for row in group] + [row]
        for member in merged:
            together[f"patient {member.source}/{member.patient_id}"] = merged
            together[f"pixels {member.image_sha256}"] = merged
    return list({id(group): group for group in together.values()}.values())


def _in_order(patients: list[list[Row]], seed: int) -> list[list[Row]]:
    """Patients in the order of a seeded hash of their first case."""

    def order(patient: list[Row]) -> str:
        first = min(row.case_id for row in patient)
        return hashlib.sha256(f"{seed}:{first}".encode()).hexdigest()

    return sorted(patients, key=order)


def _in_strata(patients: list[list[Row]], seed: int) -> list[list[Row]]:
    """Patients in seeded order, stratum after stratum."""
    strata: dict[Stratum, list[list[Row]]] = defaultdict(list)
    for patient in _in_order(patients, seed):
        strata[_stratum(patient[0])].append(patient)
    return [patient for stratum in sorted(strata, key=str) for patient in strata[stratum]]


def _quotas(sizes: Counter[Stratum], wanted: int) -> dict[Stratum, int]:
    """Share ``wanted`` cases among the strata in proportion to their sizes, by largest remainder."""
    total = max(sizes.total(), 1)
    exact = {stratum: wanted * size / total for stratum, size in sizes.items()}
    quotas = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (quotas[stratum] - exact[stratum], str(stratum)))
    for stratum in by_remainder[: wanted - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def _stratum(row: Row) -> Stratum:
    return row.source, row.tb_label


def _check_sizes(rows: list[Row], test_cases: float) -> None:
    sizes = Counter(row.split for row in rows)
    empty = [split for split in ("train", "validation") if not sizes[split]]
    if empty or (test_cases and not sizes["test"]):
        raise UserError(
            f"data.test_cases={test_cases:g} of {len(rows)} cases leaves {sizes['train']} to train, "
            f"{sizes['validation']} to validate and {sizes['test']} to test.\n"
            "Each split needs a case: lower data.test_cases (a fraction such as 0.2 will do) or add cases."
        )
