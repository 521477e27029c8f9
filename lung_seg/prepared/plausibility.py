"""What is wrong with a case or a whole set, by rules that hold for all chest radiographs with lung masks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lung_seg.errors import UserError
from lung_seg.raw.case import Case
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask, is_turned, mask_to_network_input, rim, size_text
from lung_seg.raw.partly_known import CaseMasks

LOOKED_AT_PX = 64  # images are shrunk to this side
RIM = 1 / 16  # of that side: width of the rim around the lungs
# The chance that a pixel of the rim is brighter than one of the lungs. In 562 real radiographs with their own masks it
# is 0.88 in the median and 0.61 at least; with masks turned by 180 degrees 0.60 in the median, mirrored 0.74, and of
# negatives 0.12. In the 1600 drawn radiographs of the quick start it is 0.85 in the median and 0.30 at least.
NEGATIVE = 0.3  # of a case, and in the median of a set
MISPLACED = 0.77  # in the median of a set
MISPLACED_CASES = 10  # fewer do not show it
COVERED_BORDER = 0.5  # share of the image's border that is lung; at most 0.03 in real masks
SMALLER_LUNG = 0.1  # of the larger one's area
LEVELS_STEP = 8  # every eighth row and column shows whether an image may have two grey levels only
BLACK_LUNGS = "the mask covers the radiograph's borders"
BRIGHT_LUNGS = "the lungs are brighter than what surrounds them"
TURNED_ALONE = "turned upright by its EXIF orientation, its mask is not"


class Appearance(NamedTuple):
    """How the lungs of a prepared case look; numbers are kept in dataset.json."""

    lung_contrast: float  # chance that a pixel around the lungs is brighter than one in them
    covered_border: float  # share of the image's border that is lung
    two_lungs: bool  # two separate regions side by side

    @property
    def remarks(self) -> tuple[str, ...]:
        """What no radiograph with its own mask shows."""
        if self.covered_border > COVERED_BORDER:
            return (BLACK_LUNGS,)
        return (BRIGHT_LUNGS,) if self.lung_contrast < NEGATIVE else ()


def refuse_two_levels(path: Path, image: Grey) -> None:
    """Raise a UserError for an image of two grey levels: it is a mask."""
    if len(np.unique(image[::LEVELS_STEP, ::LEVELS_STEP])) <= 2 and len(np.unique(image)) == 2:
        raise UserError(
            f"{path} has only two grey levels, as a mask has.\n"
            "Check whether radiographs and masks are exchanged (data.folder.image_dir and mask_dir)."
        )


def refuse_masks(case: Case, image: Grey, masks: CaseMasks, turned: bool) -> None:
    """Raise a UserError if a mask has another size than its radiograph, or shows nothing or everything as lung."""
    height, width = (side // case.mask_downscale for side in image.shape)
    named_masks = list(zip(case.mask_paths, masks.lungs, strict=True))
    if case.bounds_path and masks.bounds is not None:
        named_masks.append((case.bounds_path, masks.bounds))
    for path, mask in named_masks:
        if mask.shape != (height, width):
            needed = f"needs a mask of {width}x{height}" + (" when upright, by its EXIF orientation" if turned else "")
            raise UserError(f"{path} is {size_text(mask)}, but {case.image_path} {needed}.")
        if mask.all():
            raise UserError(f"{path} is full: every pixel is lung.")
    if not any(mask.any() for _, mask in named_masks):
        named = f" (data.folder.lung_labels={list(case.lung_labels)})" if case.lung_labels else ""
        raise UserError(f"{named_masks[0][0]} is empty: no pixel is lung{named}.")


def mask_remarks(case: Case, masks: list[Mask], turned: bool) -> tuple[str, ...]:
    """What the user should check; ``turned``: the radiograph is shown upright by its EXIF orientation."""
    remarks = []
    if turned and not any(map(is_turned, case.mask_paths)):
        remarks.append(TURNED_ALONE)
    for path, mask in zip(case.mask_paths, masks, strict=True):
        if not mask.any():
            remarks.append(f"the mask in {path.parent.name} is empty, only the other lung counts")
    return tuple(remarks)


def describe(image: Grey, mask: Mask) -> Appearance:
    """The appearance of a network input and its mask, (S, S) each."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    side = min(LOOKED_AT_PX, len(image))
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    mask = mask_to_network_input(mask, side, "stretch")
    return Appearance(round(_lung_contrast(image, mask), 3), round(float(border.mean()), 3), _shows_two_lungs(mask))


def set_warnings(cases: Mapping[str, Appearance], remarks: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with most cases of a set, each with the remedy; both arguments are by case id."""
    count, contrast = len(cases), _contrast(cases.values())
    inverted, negative = (sum(text in case.remarks for case in cases.values()) for text in (BLACK_LUNGS, BRIGHT_LUNGS))
    if inverted > count / 2:
        return [
            f"In {inverted} of {count} cases the mask covers the radiograph's borders: the lungs seem to be black "
            "on white. If so, set data.folder.lung_labels=[0]."
        ]
    found = []
    turned = [case for case_id, case in cases.items() if TURNED_ALONE in remarks.get(case_id, ())]
    if turned and _contrast(turned) < MISPLACED:
        found.append(
            f"{len(turned)} of {count} radiographs are turned upright by their EXIF orientation, but their masks have "
            "none and do not lie on dark lungs: turn these masks, too."
        )
    elif contrast < NEGATIVE:
        found.append(
            f"In {negative} of {count} cases the lungs are brighter than what surrounds them: the radiographs "
            "seem to be negatives. If so, set data.folder.inverted=true; if not, the masks are not theirs."
        )
    elif count >= MISPLACED_CASES and contrast < MISPLACED:
        found.append(
            f"The masks of these {count} cases do not lie on dark lungs (score {contrast:.2f}, "
            f"{MISPLACED} or more expected): they seem to be turned, mirrored or of other radiographs. "
            "Look at preview.png."
        )
    whole = sum(not case.two_lungs for case in cases.values())
    if whole > count / 2:
        found.append(
            f"In {whole} of {count} cases the mask is not of two separate lungs: it may be of something else. "
            "Look at preview.png."
        )
    return found


def remarks_by_text(remarks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The cases that each remark was made of; remarks that differ only in numbers count as one."""
    texts: dict[str, str] = {}
    cases: dict[str, list[str]] = {}
    for case_id, found in remarks.items():
        for remark in found:
            text = texts.setdefault(re.sub(r"\d+", "0", remark), remark)
            cases.setdefault(text, []).append(case_id)
    return cases


def _contrast(cases: Iterable[Appearance]) -> float:
    return float(np.median([case.lung_contrast for case in cases] or [1]))


def _lung_contrast(image: Grey, lungs: Mask) -> float:
    """Area under the ROC curve of brightness, between the lungs and a rim around them; 0.5 without either."""
    around = rim(lungs, max(1, round(RIM * len(image))))
    if not lungs.any() or not around.any():
        return 0.5
    inside, outside = np.sort(image[lungs]), image[around]
    below = np.searchsorted(inside, outside, "left") + np.searchsorted(inside, outside, "right")  # equal ones are half
    return float(below.mean() / 2 / inside.size)


def _shows_two_lungs(mask: Mask) -> bool:
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 3:  # the background is one of them
        return False
    first, second = 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:]
    columns = np.flatnonzero(mask.any(axis=0))
    apart = abs(centres[first][0] - centres[second][0]) > (columns[-1] - columns[0]) / 4
    return bool(apart and stats[first, cv2.CC_STAT_AREA] >= SMALLER_LUNG * stats[second, cv2.CC_STAT_AREA])
