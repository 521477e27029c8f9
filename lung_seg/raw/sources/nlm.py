"""File names and clinical readings of the two sets of the U.S. National Library of Medicine.

A radiograph is named ``<set>_<number>_<label>.png``, label 0 for normal and 1 for tuberculosis. A text file
of the same stem in ``ClinicalReadings`` begins with the patient's sex and age.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from lung_seg.raw.case import Case

PAGE = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets"

# Montgomery: "Patient's Sex: F \nPatient's Age: 027Y".
# Shenzhen: "male 45yrs", "femal 32yrs", "female24yrs", "male , 29yrs", children "male 16month".
SEX = re.compile(r"(?:Sex:\s*|\A\s*)(f|m)(?:emal|al|\b)", re.IGNORECASE)
AGE = re.compile(r"(\d+)\s*([ymwd])", re.IGNORECASE)
PER_YEAR = {"y": 1, "m": 12, "w": 52, "d": 365}

# The readings of these Montgomery radiographs say "same pt as MCUCXR_0113_1" and "same pt as MCUCXR_0162_1".
SAME_PATIENT = {"MCUCXR_0117": "MCUCXR_0113", "MCUCXR_0166": "MCUCXR_0162"}


def set_folder(raw_dir: Path, name: str) -> Path:
    """The folder of that name in ``raw_dir`` if it exists, else ``raw_dir`` itself."""
    inside = raw_dir / name
    return inside if inside.is_dir() else raw_dir


def case(image_path: Path, source: str, masks: Mapping[str, tuple[Path, ...]]) -> Case:
    """The case of a radiograph, with the masks of its stem, the label of its name and the patient of its reading."""
    name, _, label = image_path.stem.rpartition("_")
    sex, age_years = read_patient(image_path.parents[1] / "ClinicalReadings" / f"{image_path.stem}.txt")
    return Case(
        case_id=image_path.stem,
        source=source,
        patient_id=SAME_PATIENT.get(name, name),
        image_path=image_path,
        mask_paths=masks.get(image_path.stem, ()),
        tb_label=int(label) if label in ("0", "1") else None,
        age_years=age_years,
        sex=sex,
    )


def read_patient(reading: Path) -> tuple[str | None, int | None]:
    """Sex ("F" or "M") and age in whole years, each None if the clinical reading does not state it."""
    if not reading.is_file():
        return None, None
    lines = reading.read_text(encoding="utf-8-sig", errors="replace").lstrip().splitlines()
    patient = "\n".join(lines[:2])  # the findings follow
    sex, age = SEX.search(patient), AGE.search(patient)
    return sex[1].upper() if sex else None, int(age[1]) // PER_YEAR[age[2].lower()] if age else None
