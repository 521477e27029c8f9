"""The Montgomery County set: 138 radiographs of a tuberculosis screening programme in Maryland, USA.

Layout::

    MontgomerySet/CXR_png/MCUCXR_0001_0.png               4020 x 4892 or 4892 x 4020 pixels
    MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png  the patient's right lung, on the image's left
    MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png
    MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt      optional

From the U.S. National Library of Medicine, which asks to cite Jaeger et al. 2014
(doi:10.1109/TMI.2013.2284099) and, for the masks, Candemir et al. 2014 (doi:10.1109/TMI.2013.2290491).
"""

from pathlib import Path

from lung_seg.raw.case import Listing
from lung_seg.raw.sources import nlm
from lung_seg.raw.sources.layout import Layout, listing, masks_by_stem

PAGE = f"{nlm.PAGE}/Montgomery-County-CXR-Set/MontgomerySet/index.html"
LAYOUT = Layout(
    radiographs="MontgomerySet/CXR_png/MCUCXR_*.png",
    masks="MontgomerySet/ManualMask/rightMask and leftMask",
    remedy=f"Set data.download=true, or get it from {PAGE}",
)


def find_cases(raw_dir: Path) -> Listing:
    """Cases of ``raw_dir``, which is MontgomerySet or contains it; a case with one of its two masks has none."""
    folder = nlm.set_folder(raw_dir, "MontgomerySet")
    masks = masks_by_stem(*((folder / "ManualMask" / side).glob("*.png") for side in ("rightMask", "leftMask")))
    radiographs = (folder / "CXR_png").glob("MCUCXR_*.png")
    return listing([nlm.case(path, "montgomery", masks) for path in radiographs], raw_dir, LAYOUT)
