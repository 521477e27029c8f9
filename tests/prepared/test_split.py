import dataclasses
import random
from collections import Counter

import pytest

from lung_seg.errors import UserError
from lung_seg.prepared.manifest import Row
from lung_seg.prepared.split import assign_folds, assign_splits


def make_rows(
    cases: int, per_patient: int = 1, source: str = "montgomery", tb_label: int | None = 0, prefix: str = "case"
) -> list[Row]:
    return [
        Row(
            case_id=f"{prefix}{number:04d}",
            source=source,
            split="",
            tb_label=tb_label,
            patient_id=f"{prefix}-patient{number // per_patient}",
            width_px=4020,
            height_px=4892,
            raw_sha256=f"{prefix}-raw{number}",
            image_sha256=f"{prefix}-image{number}",
            mask_sha256=f"{prefix}-mask{number}",
            original_mask_sha256=f"{prefix}-original{number}",
        )
        for number in range(cases)
    ]


def both_sets() -> list[Row]:
    """704 cases of two sources and two labels, as many as the NLM sets have."""
    return [
        *make_rows(80, source="montgomery", tb_label=0, prefix="M0"),
        *make_rows(58, source="montgomery", tb_label=1, prefix="M1"),
        *make_rows(279, source="shenzhen", tb_label=0, prefix="S0"),
        *make_rows(287, source="shenzhen", tb_label=1, prefix="S1"),
    ]


def split(rows: list[Row], test_cases: float = 0.2, validation_fraction: float = 0.2, seed: int = 0) -> list[Row]:
    return assign_splits(rows, test_cases, validation_fraction, seed)


def sizes(rows: list[Row]) -> Counter[str]:
    return Counter(row.split for row in rows)


def members(rows: list[Row], name: str) -> set[str]:
    return {row.case_id for row in rows if row.split == name}


@pytest.mark.parametrize(
    ("test_cases", "expected"),
    [
        (100, {"test": 100, "validation": 121, "train": 483}),
        (100.0, {"test": 100, "validation": 121, "train": 483}),
        (0.15, {"test": 106, "validation": 120, "train": 478}),
        (1, {"test": 1, "validation": 141, "train": 562}),
        (0, {"validation": 141, "train": 563}),
    ],
)
def test_sizes_are_exact(test_cases, expected):
    assert sizes(split(both_sets(), test_cases)) == expected


def test_every_source_and_label_gives_its_share_within_one_case():
    rows = split(both_sets(), test_cases=100)

    for name in ("train", "validation", "test"):
        strata = Counter((row.source, row.tb_label) for row in rows if row.split == name)
        for stratum, of_all in Counter((row.source, row.tb_label) for row in rows).items():
            assert abs(strata[stratum] - of_all * sizes(rows)[name] / len(rows)) <= 1


def test_rows_keep_their_order_and_everything_but_the_split():
    rows = both_sets()

    assert [dataclasses.replace(row, split="") for row in split(rows)] == rows


def test_the_split_follows_from_the_seed_alone_and_not_from_the_order_of_rows():
    rows = [row for source in "abc" for row in make_rows(20, per_patient=2, source=source, prefix=source)]
    shuffled = random.Random(0).sample(rows, len(rows))

    for test_cases in (10, 0):  # of three equal sources one must give more than the others
        for name in ("train", "validation", "test") if test_cases else ("train", "validation"):
            assert members(split(rows, test_cases), name) == members(split(shuffled, test_cases), name)
            assert members(split(rows, test_cases), name) != members(split(rows, test_cases, seed=1), name)


@pytest.mark.parametrize("per_patient", [2, 3, 7])
def test_no_patient_is_on_two_sides(per_patient):
    rows = split(make_rows(84, per_patient))

    splits_of_patients = {(row.patient_id, row.split) for row in rows}
    assert len(splits_of_patients) == len({row.patient_id for row in rows})
    assert 17 - per_patient < sizes(rows)["test"] <= 17
    assert 13 - per_patient < sizes(rows)["validation"] <= 14


def test_patients_of_two_sources_may_have_one_name():
    rows = [
        dataclasses.replace(row, patient_id="1")
        for source in ("a", "b", "c")
        for row in make_rows(2, source=source, prefix=source)
    ]

    assert sizes(split(rows)) == {"train": 2, "validation": 2, "test": 2}


def test_the_same_pixels_under_several_names_stay_together_through_others_too():
    rows = make_rows(40)
    chain = [3, 17, 29]  # 3 and 17 are one image; 17 and 29 one patient
    rows[17] = dataclasses.replace(rows[17], image_sha256=rows[3].image_sha256, patient_id="shared")
    rows[29] = dataclasses.replace(rows[29], patient_id="shared")

    for seed in range(12):
        assert len({split(rows, seed=seed)[number].split for number in chain}) == 1


def test_a_patient_of_two_labels_stays_together():
    rows = make_rows(40, per_patient=2)
    rows = [dataclasses.replace(row, tb_label=number % 2) for number, row in enumerate(rows)]

    for seed in range(5):
        dealt = split(rows, seed=seed)
        assert all(dealt[number].split == dealt[number + 1].split for number in range(0, 40, 2))
        assert sizes(dealt)["test"] == 8


def test_three_cases_are_one_each():
    for test_cases in (0.15, 1, 0.34):
        for seed in range(5):
            assert sizes(split(make_rows(3), test_cases, seed=seed)) == {"train": 1, "validation": 1, "test": 1}


def test_three_patients_of_several_cases_are_one_patient_each():
    assert sizes(split(make_rows(12, per_patient=4), 0.15)) == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize(
    ("rows", "test_cases", "train", "validation", "test"),
    [
        (make_rows(10), 10, 0, 0, 10),
        (make_rows(10), 9, 0, 1, 9),
        (make_rows(10), 50, 0, 0, 10),
        (make_rows(2), 0.15, 0, 1, 1),
        (make_rows(9, 9), 0.2, 0, 0, 9),
        ([dataclasses.replace(row, split="train") for row in make_rows(3)], 1, 3, 0, 0),
    ],
)
def test_a_split_without_a_case_is_refused(rows, test_cases, train, validation, test):
    left = f"leaves {train} to train, {validation} to validate and {test} to test"
    with pytest.raises(UserError, match=rf"data.test_cases={test_cases} of {len(rows)} cases {left}.\nEach needs"):
        split(rows, test_cases)


def test_cases_added_later_leave_the_others_where_they_are():
    first = split(both_sets()[::2], test_cases=50)
    more = [row for row in both_sets() if row.case_id not in {old.case_id for old in first}]

    grown = split(first + more, test_cases=100)

    assert grown[: len(first)] == first
    assert sizes(grown) == sizes(split(both_sets(), test_cases=100))


def test_a_new_radiograph_joins_its_patient_whatever_the_sizes():
    first = split(make_rows(20))
    again = [
        dataclasses.replace(row, case_id=f"later-{row.case_id}", image_sha256=f"later{number}", split="")
        for number, row in enumerate(first)
    ]

    grown = split(first + again)

    assert grown[:20] == first
    assert [row.split for row in grown[20:]] == [row.split for row in first]


def test_a_new_case_that_shows_two_patients_to_be_one_moves_them_to_the_test_rather_than_leak():
    first = split(make_rows(20))
    tested = next(row for row in first if row.split == "test")
    trained = next(row for row in first if row.split == "train")
    link = dataclasses.replace(tested, case_id="link", split="", image_sha256=trained.image_sha256)

    grown = {row.case_id: row.split for row in split([*first, link])}

    assert grown["link"] == grown[trained.case_id] == grown[tested.case_id] == "test"


def test_in_folds_every_case_but_the_test_cases_validates_exactly_once():
    rows = split(both_sets(), test_cases=100)

    folds = [assign_folds(rows, 5, fold, seed=0) for fold in range(5)]

    validated = Counter(case_id for dealt in folds for case_id in members(dealt, "validation"))
    assert set(validated.values()) == {1}
    assert set(validated) == {row.case_id for row in rows} - members(rows, "test")
    for dealt in folds:
        assert members(dealt, "test") == members(rows, "test")
        assert abs(sizes(dealt)["validation"] - 604 / 5) <= 1
        assert sizes(dealt)["train"] == 604 - sizes(dealt)["validation"]
        labels = Counter(row.tb_label for row in dealt if row.split == "validation")
        assert labels[0] == pytest.approx(labels[1], abs=9)


def test_no_patient_is_in_two_folds():
    rows = split(make_rows(60, per_patient=3))

    for fold in range(4):
        dealt = assign_folds(rows, 4, fold, seed=0)
        assert len({(row.patient_id, row.split) for row in dealt}) == 20


def test_another_seed_deals_other_folds():
    rows = split(make_rows(40))

    assert assign_folds(rows, 4, 0, seed=0) != assign_folds(rows, 4, 0, seed=1)
    assert assign_folds(rows, 4, 0, seed=0) == assign_folds(rows, 4, 0, seed=0)


def test_as_many_folds_as_patients_leave_one_out_each():
    rows = split(make_rows(10, per_patient=2))

    assert all(sizes(assign_folds(rows, 4, fold, seed=0))["validation"] == 2 for fold in range(4))


def test_more_folds_than_patients_are_refused():
    with pytest.raises(UserError, match=r"data.folds=5 exceeds the 4 patients outside the test split"):
        assign_folds(split(make_rows(10, per_patient=2)), 5, 0, seed=0)
