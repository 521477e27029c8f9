"""One radiograph with its masks, as a source finds it on disk."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One radiograph and the masks drawn on it; nothing is opened yet."""

    case_id: str  # unique within the prepared set, usable as a file name
    source: str  # the public dataset it comes from
    patient_id: str  # cases of one patient never fall on both sides of a split
    image_path: Path
    mask_paths: tuple[Path, ...]  # their union is the lungs
    tb_label: int | None = None  # 0 normal, 1 tuberculosis, None unknown
    age_years: int | None = None
    sex: str | None = None  # "F" or "M"
    inverted: bool = False  # the file shows air bright and bone dark
    mask_downscale: int = 1  # masks drawn at 1/n of the radiograph's size (JSRT: 2)


@dataclass(frozen=True)
class Listing:
    """What a source found in its folder."""

    cases: list[Case]
    without_mask: list[Path] = field(default_factory=list)  # radiographs that nobody has drawn lungs on
