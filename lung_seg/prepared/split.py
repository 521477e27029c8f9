"""Who is in the test set, in validation and in training.

Cases are dealt by patient, so that nobody is on both sides; radiographs with the same pixels count as one patient's.
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


def assign_splits(rows: list[Row], test_cases: float, validation_fraction: float, seed: int) -> list[Row]:
    """Give every row a split; rows that have one keep it.

    Old cases move only where a new one shows two patients to be the same: to test, else to validation.

    Args:
        rows: cases, with or without a split.
        test_cases: how many cases to put aside first, or below 1 the fraction of all cases.
        validation_fraction: fraction of the rest that validates.
        seed: another seed draws other patients.

    Raises:
        UserError: a split would be left without a case.
    """
    to_test = round(test_cases * len(rows)) if test_cases < 1 else int(test_cases)
    rows = _put(rows, "test", _draw(rows, "test", max(1, to_test) if test_cases else 0, seed))
    rest = [row for row in rows if row.split != "test"]
    to_validate = max(1, round(validation_fraction * len(rest)))
    rows = _put(rows, "validation", _draw(rest, "validation", to_validate, seed))
    rows = _put(rows, "train", {row.case_id for row in rows if not row.split})
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
    validation = {row.case_id for patient in dealt[fold::folds] for row in patient}
    training = {row.case_id for row in rest} - validation
    return _put(_put(rows, "validation", validation), "train", training)


def _put(rows: list[Row], split: str, case_ids: set[str]) -> list[Row]:
    return [dataclasses.replace(row, split=split) if row.case_id in case_ids else row for row in rows]


def _draw(candidates: list[Row], split: str, wanted: int, seed: int) -> set[str]:
    """The case ids of a split: the cases it has already, their patients' new ones, and as many more as are wanted.

    Each stratum gives its share. Patients go whole, so that a share may stay a few cases short, but no split empty.
    """
    patients = _in_order(_patients(candidates), seed)
    drawn = [patient for patient in patients if any(row.split == split for row in patient)]
    free = [patient for patient in patients if not any(row.split for row in patient)]
    missing = _shares(_strata(candidates), wanted) - sum(map(_strata, drawn), Counter())
    for patient in free:
        if _strata(patient) <= missing:
            missing -= _strata(patient)
            drawn.append(patient)
    if wanted and not drawn:
        drawn = sorted(free, key=len)[:1]
    return {row.case_id for patient in drawn for row in patient}


def _patients(rows: list[Row]) -> list[list[Row]]:
    """Cases that must stay together: of one patient, or with the same pixels, directly or through others."""
    together: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.case_id):
        met = {id(group): group for name in _names(row) if (group := together.get(name)) is not None}
        merged = max(met.values(), key=len, default=[])  # its names stay as they are: it may be large
        moved = [*chain.from_iterable(group for group in met.values() if group is not merged), row]
        merged[:] = [*chain.from_iterable(met.values()), row]
        together.update((name, merged) for member in moved for name in _names(member))
    return list({id(group): group for group in together.values()}.values())


def _names(row: Row) -> tuple[str, str]:
    """What cases that must stay together have in common, one of the two."""
    return f"patient {row.source}/{row.patient_id}", f"pixels {row.image_sha256}"


def _in_order(patients: list[list[Row]], seed: int) -> list[list[Row]]:
    """Patients in the order of a seeded hash of their first case."""

    def order(patient: list[Row]) -> str:
        first = min(row.case_id for row in patient)
        return hashlib.sha256(f"{seed}:{first}".encode()).hexdigest()

    return sorted(patients, key=order)


def _in_strata(patients: list[list[Row]], seed: int) -> list[list[Row]]:
    """Patients in seeded order, stratum after stratum."""
    return sorted(_in_order(patients, seed), key=lambda patient: str(_stratum(patient[0])))


def _strata(rows: list[Row]) -> Counter[Stratum]:
    """How many cases are in each stratum."""
    return Counter(map(_stratum, rows))


def _stratum(row: Row) -> Stratum:
    return row.source, row.tb_label


def _shares(sizes: Counter[Stratum], wanted: int) -> Counter[Stratum]:
    """``wanted`` cases shared among the strata in proportion to their sizes, by largest remainder."""
    exact = {stratum: wanted * size / sizes.total() for stratum, size in sizes.items()}
    shares = Counter({stratum: int(share) for stratum, share in exact.items()})
    by_remainder = sorted(exact, key=lambda stratum: (shares[stratum] - exact[stratum], str(stratum)))
    shares.update(by_remainder[: wanted - shares.total()])
    return shares


def _check_sizes(rows: list[Row], test_cases: float) -> None:
    sizes = Counter(row.split for row in rows)
    empty = [split for split in ("train", "validation") if not sizes[split]]
    if empty or (test_cases and not sizes["test"]):
        raise UserError(
            f"data.test_cases={test_cases:g} of {len(rows)} cases leaves {sizes['train']} to train, "
            f"{sizes['validation']} to validate and {sizes['test']} to test.\n"
            "Each needs a patient of its own: lower data.test_cases (a fraction such as 0.2 will do) or add cases."
        )
