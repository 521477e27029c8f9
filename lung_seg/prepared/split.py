"""Which cases are in the train, validation and test split.

Cases are split by patient, so that no patient is in two splits; radiographs with equal pixels count as one patient.
Within each stratum (source and TB label) patients are drawn in the order of a seeded hash of their names: who is drawn
depends neither on the order of files nor on how many cases come later.
"""

import dataclasses
import hashlib
from collections import Counter
from itertools import chain

from lung_seg.errors import UserError
from lung_seg.prepared.manifest import Row

Stratum = tuple[str, int | None]
Patient = list[Row]  # cases that must be in one split


def assign_splits(rows: list[Row], test_cases: float, validation_fraction: float, seed: int) -> list[Row]:
    """Give every row a split; rows that have one keep it.

    Old cases move only if a new one shows that two patients are the same: to test, else to validation. ``test_cases``
    is a number, or below 1 a fraction of all cases; ``validation_fraction`` is one of the rest.

    Raises:
        UserError: a split would be left without a case.
    """
    test_size = round(test_cases * len(rows)) if test_cases < 1 else int(test_cases)
    rows = _assign(rows, "test", _draw(rows, "test", max(1, test_size) if test_cases else 0, seed))
    rest = [row for row in rows if row.split != "test"]
    validation_size = max(1, round(validation_fraction * len(rest)))
    rows = _assign(rows, "validation", _draw(rest, "validation", validation_size, seed))
    rows = _assign(rows, "train", {row.case_id for row in rows if not row.split})
    sizes = Counter(row.split for row in rows)
    if not (sizes["train"] and sizes["validation"] and (sizes["test"] or not test_cases)):
        raise UserError(
            f"data.test_cases={test_cases:g} of {len(rows)} cases leaves {sizes['train']} to train, "
            f"{sizes['validation']} to validate and {sizes['test']} to test.\n"
            "Each needs a patient of its own: lower data.test_cases (a fraction such as 0.2 will do) or add cases."
        )
    return rows


def assign_folds(rows: list[Row], folds: int, fold: int, seed: int) -> list[Row]:
    """Cross-validation of all but the test cases: each is in the validation split of exactly one fold.

    More folds than patients raise a UserError.
    """
    rest = [row for row in rows if row.split != "test"]
    patients = sorted(_patients(rest, seed), key=lambda patient: str(_stratum(patient[0])))
    if len(patients) < folds:
        raise UserError(
            f"data.folds={folds} exceeds the {len(patients)} patients outside the test split.\nLower data.folds."
        )
    validation = {row.case_id for patient in patients[fold::folds] for row in patient}
    training = {row.case_id for row in rest} - validation
    return _assign(_assign(rows, "validation", validation), "train", training)


def _assign(rows: list[Row], split: str, case_ids: set[str]) -> list[Row]:
    return [dataclasses.replace(row, split=split) if row.case_id in case_ids else row for row in rows]


def _draw(candidates: list[Row], split: str, size: int, seed: int) -> set[str]:
    """Case ids of a split: its present cases, new cases of their patients, and as many more as the size allows.

    Each stratum gives its share. Patients are not divided: a share may be a few cases short, but no split is empty.
    """
    patients = _patients(candidates, seed)
    drawn = [patient for patient in patients if any(row.split == split for row in patient)]
    free = [patient for patient in patients if not any(row.split for row in patient)]
    missing = _shares(_strata(candidates), size) - sum(map(_strata, drawn), Counter())
    for patient in free:
        if _strata(patient) <= missing:
            missing -= _strata(patient)
            drawn.append(patient)
    if size and not drawn:
        drawn = sorted(free, key=len)[:1]
    return {row.case_id for patient in drawn for row in patient}


def _patients(rows: list[Row], seed: int) -> list[Patient]:
    """Cases of one patient or with the same pixels, directly or through others, in the order of a seeded hash."""
    patients: dict[str, Patient] = {}
    for row in sorted(rows, key=lambda row: row.case_id):
        linked = {id(patient): patient for key in _keys(row) if (patient := patients.get(key)) is not None}
        merged = max(linked.values(), key=len, default=[])  # the largest is extended in place, which keeps this linear
        moved = [*chain.from_iterable(patient for patient in linked.values() if patient is not merged), row]
        merged[:] = [*chain.from_iterable(linked.values()), row]
        patients.update((key, merged) for member in moved for key in _keys(member))
    distinct = {id(patient): patient for patient in patients.values()}

    def order(patient: Patient) -> str:
        first = min(row.case_id for row in patient)
        return hashlib.sha256(f"{seed}:{first}".encode()).hexdigest()

    return sorted(distinct.values(), key=order)


def _keys(row: Row) -> tuple[str, str]:
    """Cases that share one of these belong together."""
    return f"patient {row.patient}", f"pixels {row.image_sha256}"


def _strata(rows: list[Row]) -> Counter[Stratum]:
    return Counter(map(_stratum, rows))


def _stratum(row: Row) -> Stratum:
    return row.source, row.tb_label


def _shares(sizes: Counter[Stratum], total: int) -> Counter[Stratum]:
    """``total`` cases shared among the strata in proportion to their sizes, by largest remainder."""
    exact = {stratum: total * size / sizes.total() for stratum, size in sizes.items()}
    shares = Counter({stratum: int(share) for stratum, share in exact.items()})
    by_remainder = sorted(exact, key=lambda stratum: (shares[stratum] - exact[stratum], str(stratum)))
    shares.update(by_remainder[: total - shares.total()])
    return shares
