"""The Montgomery and Shenzhen sets of the U.S. National Library of Medicine, apart or in Kaggle's single folder.

138 radiographs of a tuberculosis screening programme in Montgomery County, Maryland, USA::

    MontgomerySet/CXR_png/MCUCXR_0001_0.png               4020 x 4892 or 4892 x 4020 pixels
    MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png  the patient's right lung, on the image's left
    MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png
    MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt      optional

662 radiographs of Shenzhen No. 3 People's Hospital, China, 566 of them with lung masks::

    ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png           about 3000 x 3000 pixels, palette
    ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png         or mask/mask/, as Kaggle's archive unpacks
    ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt  optional

Kaggle's "Chest Xray Masks and Labels", 704 radiographs of both sets with masks and 96 without::

    Lung Segmentation/CXR_png/MCUCXR_0001_0.png  CHNCXR_0001_0.png
    Lung Segmentation/masks/MCUCXR_0001_0.png  CHNCXR_0001_0_mask.png  both lungs in one file
    Lung Segmentation/test/CHNCXR_0025_0.png                           those without masks, also in CXR_png
    Lung Segmentation/ClinicalReadings/MCUCXR_0001_0.txt  CHNCXR_0001_0.txt

The last digit of a name is 0 for normal and 1 for tuberculosis. The library asks to cite Jaeger et al. 2014
(doi:10.1109/TMI.2013.2284099) and Candemir et al. 2014 (doi:10.1109/TMI.2013.2290491), who drew the Montgomery masks;
the Shenzhen masks are by Stirenko et al. 2018 (doi:10.1109/ELNANO.2018.8477564).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from lung_seg.raw.case import Case, Listing
from lung_seg.raw.sources.layout import Layout, images, listing, masks_by_stem

PAGES = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets"
MONTGOMERY_PAGE = f"{PAGES}/Montgomery-County-CXR-Set/MontgomerySet/index.html"
SHENZHEN_PAGE = f"{PAGES}/Shenzhen-Hospital-CXR-Set/index.html"
SHENZHEN_MASKS_REMEDY = (
    "The Shenzhen masks need a Kaggle account: unpack "
    "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask into ChinaSet_AllFiles."
)
MONTGOMERY_LAYOUT = Layout(
    radiographs="MontgomerySet/CXR_png/MCUCXR_*.png",
    masks="MontgomerySet/ManualMask/rightMask and leftMask",
    remedy=f"Set data.download=true, or get it from {MONTGOMERY_PAGE}",
)
SHENZHEN_LAYOUT = Layout(
    radiographs="ChinaSet_AllFiles/CXR_png/CHNCXR_*.png",
    masks="ChinaSet_AllFiles/mask",
    remedy=f"Set data.download=true, or get it from {SHENZHEN_PAGE}\n{SHENZHEN_MASKS_REMEDY}",
)
KAGGLE_LAYOUT = Layout(
    radiographs="CXR_png with MCUCXR_*.png and CHNCXR_*.png",
    masks="masks",
    remedy="Get it from https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
)
SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}

# Montgomery: "Patient's Sex: F \nPatient's Age: 027Y".
# Shenzhen: "male 45yrs", "femal 32yrs", "female24yrs", "male , 29yrs", children "male 16month".
SEX = re.compile(r"(?:Sex:\s*|\A\s*)(f|m)(?:emal|al|\b)", re.IGNORECASE)
AGE = re.compile(r"(\d+)\s*([ymwd])", re.IGNORECASE)
PER_YEAR = {"y": 1, "m": 12, "w": 52, "d": 365}

# The readings of these Montgomery radiographs say "same pt as MCUCXR_0113_1" and "same pt as MCUCXR_0162_1".
SAME_PATIENT = {"MCUCXR_0117": "MCUCXR_0113", "MCUCXR_0166": "MCUCXR_0162"}


def find_montgomery(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which is MontgomerySet or contains it; a case with one of its two masks has none."""
    folder = set_folder(raw_dir, "MontgomerySet")
    masks = masks_by_stem(*((folder / "ManualMask" / side).glob("*.png") for side in ("rightMask", "leftMask")))
    radiographs = (folder / "CXR_png").glob("MCUCXR_*.png")
    return listing([_case(path, masks) for path in radiographs], raw_dir, MONTGOMERY_LAYOUT)


def find_shenzhen(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which is ChinaSet_AllFiles or contains it."""
    folder = set_folder(raw_dir, "ChinaSet_AllFiles")
    masks = masks_by_stem(set_folder(folder / "mask", "mask").glob("*.png"), suffix="_mask")
    radiographs = (folder / "CXR_png").glob("CHNCXR_*.png")
    return listing([_case(path, masks) for path in radiographs], raw_dir, SHENZHEN_LAYOUT)


def find_both(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which contains both sets, or is or contains Kaggle's folder."""
    kaggle = set_folder(raw_dir, "Lung Segmentation")
    if (kaggle / "masks").is_dir():
        masks = {path.stem.removesuffix("_mask"): (path,) for path in images(kaggle / "masks")}
        radiographs = {path.name: path for part in ("test", "CXR_png") for path in images(kaggle / part)}
        cases = [_case(path, masks) for name, path in radiographs.items() if name.partition("_")[0] in SOURCES]
        found = listing(cases, raw_dir, KAGGLE_LAYOUT)
        others = sorted(name for name in radiographs if name.partition("_")[0] not in SOURCES)
        if others:
            found.remarks.append(
                f"{len(others)} radiographs have names of neither set and were left out: {others[0]} …"
            )
        return found
    montgomery, shenzhen = find_montgomery(raw_dir), find_shenzhen(raw_dir)
    cases = sorted(montgomery.cases + shenzhen.cases, key=lambda case: case.case_id)
    return Listing(cases, montgomery.without_mask + shenzhen.without_mask)


def set_folder(raw_dir: Path, name: str) -> Path:
    """The folder of that name in ``raw_dir`` if it exists, else ``raw_dir`` itself."""
    inside = raw_dir / name
    return inside if inside.is_dir() else raw_dir


def _case(image_path: Path, masks: Mapping[str, tuple[Path, ...]]) -> Case:
    name, _, label = image_path.stem.rpartition("_")
    sex, age_years = read_patient(image_path.parents[1] / "ClinicalReadings" / f"{image_path.stem}.txt")
    return Case(
        case_id=image_path.stem,
        source=SOURCES[image_path.stem.partition("_")[0]],
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
