"""The Shenzhen set: 662 radiographs of Shenzhen No. 3 People's Hospital, China, 566 of them with lung masks.

Layout::

    ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png           about 3000 x 3000 pixels, palette
    ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png         or mask/mask/, as Kaggle's archive unpacks
    ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt  optional

Radiographs from the U.S. National Library of Medicine, which asks to cite Jaeger et al. 2014
(doi:10.1109/TMI.2013.2284099) and Candemir et al. 2014 (doi:10.1109/TMI.2013.2290491); masks by Stirenko et
al. 2018 (doi:10.1109/ELNANO.2018.8477564).
"""

from pathlib import Path

from lung_seg.raw.case import Listing
from lung_seg.raw.sources import nlm
from lung_seg.raw.sources.layout import Layout, listing, masks_by_stem

PAGE = f"{nlm.PAGE}/Shenzhen-Hospital-CXR-Set/index.html"
MASKS_REMEDY = (
    "The Shenzhen masks need a Kaggle account: unpack "
    "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask into ChinaSet_AllFiles."
)
LAYOUT = Layout(
    radiographs="ChinaSet_AllFiles/CXR_png/CHNCXR_*.png",
    masks="ChinaSet_AllFiles/mask",
    remedy=f"Set data.download=true, or get it from {PAGE}\n{MASKS_REMEDY}",
)


def find_cases(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which is ChinaSet_AllFiles or contains it."""
    folder = nlm.set_folder(raw_dir, "ChinaSet_AllFiles")
    masks = masks_by_stem(nlm.set_folder(folder / "mask", "mask").glob("*.png"), suffix="_mask")
    radiographs = (folder / "CXR_png").glob("CHNCXR_*.png")
    return listing([nlm.case(path, "shenzhen", masks) for path in radiographs], raw_dir, LAYOUT)
