"""File layouts, patients and provenance of the public datasets, of phantoms and of a user's own folders."""

from pathlib import Path

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.raw.case import Listing
from lung_seg.raw.sources import folder, jsrt, nlm, phantom


def find_cases(data: DataConfig) -> Listing:
    """The radiographs of ``data.raw_dir``, ordered by case id; missing phantoms are drawn."""
    raw_dir = Path(data.raw_dir)
    match data.source:
        case "phantom":
            return phantom.find_cases(raw_dir, data.phantom)
        case "montgomery":
            return nlm.find_montgomery(raw_dir)
        case "shenzhen":
            return nlm.find_shenzhen(raw_dir)
        case "montgomery_shenzhen":
            return nlm.find_both(raw_dir)
        case "jsrt":
            return jsrt.find_cases(raw_dir)
        case "folder":
            return folder.find_cases(raw_dir, data.folder)
    raise UserError(
        f"data.source={data.source} is not a dataset: only evaluate.py can take the one of a training.\n"
        "Choose a set, e.g. data=montgomery."
    )
