"""One module per public dataset: its file layout, its patients and its provenance."""

from pathlib import Path

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.raw.case import Listing
from lung_seg.raw.sources import folder, jsrt, montgomery, montgomery_shenzhen, phantom, shenzhen


def find_cases(data: DataConfig) -> Listing:
    """The radiographs of ``data.raw_dir``, ordered by case id; missing phantoms are drawn.

    Raises:
        UserError: the folder does not exist, or holds no radiograph of the source or none with its masks.
    """
    raw_dir = Path(data.raw_dir)
    match data.source:
        case "phantom":
            return phantom.find_cases(raw_dir, data.phantom)
        case "montgomery":
            return montgomery.find_cases(raw_dir)
        case "shenzhen":
            return shenzhen.find_cases(raw_dir)
        case "montgomery_shenzhen":
            return montgomery_shenzhen.find_cases(raw_dir)
        case "jsrt":
            return jsrt.find_cases(raw_dir)
        case "folder":
            return folder.find_cases(raw_dir, data.folder)
    raise UserError(
        f"data.source={data.source} is not a dataset: only evaluate.py can take the one of a training.\n"
        "Choose a set, e.g. data=montgomery."
    )
