"""A radiograph and its masks as a source lists them."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """Paths and labels of one radiograph and its masks; no file is opened."""

    case_id: str  # unique within the prepared set, usable as a file name
    source: str  # the public dataset it comes from
    patient_id: str  # all cases of a patient fall into the same split
    image_path: Path
    mask_paths: tuple[Path, ...]  # their union is the lungs
    tb_label: int | None = None  # 0 normal, 1 tuberculosis, None unknown
    age_years: int | None = None
    sex: str | None = None  # "F" or "M"
    inverted: bool = False  # the file shows air bright and bone dark
    lung_labels: tuple[int, ...] = ()  # values of the lungs in the masks, see masks.read_mask
    ignore_value: int | None = None  # value in the masks of pixels that are not known to be lung or not
    bounds_path: Path | None = None  # a mask that contains the lungs: what it holds and no mask does is not known
    mask_downscale: int = 1  # masks drawn at 1/n of the radiograph's size (JSRT: 2)


@dataclass(frozen=True)
class Listing:
    """The cases a source found in its folder."""

    cases: list[Case]
    without_mask: list[Path] = field(default_factory=list)  # radiographs that have no lung masks
    remarks: list[str] = field(default_factory=list)  # what was assumed or left out, for the user to check
