"""The Montgomery and Shenzhen sets together: as published, in one folder each, or in Kaggle's single folder.

Layout of Kaggle's "Chest Xray Masks and Labels", 704 radiographs with masks and 96 without::

    Lung Segmentation/CXR_png/MCUCXR_0001_0.png  CHNCXR_0001_0.png
    Lung Segmentation/masks/MCUCXR_0001_0.png  CHNCXR_0001_0_mask.png  both lungs in one file
    Lung Segmentation/test/CHNCXR_0025_0.png                           those without masks, also in CXR_png
    Lung Segmentation/ClinicalReadings/MCUCXR_0001_0.txt  CHNCXR_0001_0.txt

Provenance and citations as in ``montgomery`` and ``shenzhen``.
"""

from pathlib import Path

from lung_seg.raw.case import Case, Listing
from lung_seg.raw.sources import montgomery, nlm, shenzhen
from lung_seg.raw.sources.layout import Layout, images, listing

KAGGLE = Layout(
    radiographs="CXR_png with MCUCXR_*.png and CHNCXR_*.png",
    masks="masks",
    remedy="Get it from https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
)


def find_cases(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which contains both sets, or is or contains Kaggle's folder."""
    kaggle = nlm.set_folder(raw_dir, "Lung Segmentation")
    if (kaggle / "masks").is_dir():
        return listing(_kaggle_cases(kaggle), raw_dir, KAGGLE)
    sets = montgomery.find_cases(raw_dir), shenzhen.find_cases(raw_dir)
    cases = sorted(sets[0].cases + sets[1].cases, key=lambda case: case.case_id)
    return Listing(cases, sets[0].without_mask + sets[1].without_mask)


def _kaggle_cases(folder: Path) -> list[Case]:
    masks = {path.stem.removesuffix("_mask"): (path,) for path in images(folder / "masks")}
    radiographs = {path.name: path for part in ("test", "CXR_png") for path in images(folder / part)}
    return [
        nlm.case(path, source, masks)
        for prefix, source in (("MCUCXR_", "montgomery"), ("CHNCXR_", "shenzhen"))
        for name, path in radiographs.items()
        if name.startswith(prefix)
    ]
