"""What preparing would do: the radiographs and masks it finds, how they pair, what it would write."""

from collections import Counter
from collections.abc import Iterator

from lung_seg.config import SPLITS, DataConfig
from lung_seg.prepared.manifest import read_manifest
from lung_seg.prepared.store import MANIFEST, prepared_folder, read_record
from lung_seg.raw.case import Listing
from lung_seg.raw.sources import find_cases


def describe_preparation(data: DataConfig) -> Iterator[str]:
    """Lines for the user; no image is opened, and nothing is written.

    Raises:
        UserError: no radiographs are found.
    """
    listing = _listing(data)
    cases, where = count_cases(data, listing)
    yield describe_data(cases, where)
    if listing is not None:
        first = listing.cases[0]
        yield f"The first: {first.image_path} with {', '.join(map(str, first.mask_paths))}"
        if listing.without_mask:
            yield f"Without a mask, left out: {len(listing.without_mask)}, the first: {listing.without_mask[0]}"
        yield from listing.remarks
    yield f"Would write: {prepared_folder(data)}, if it is not up to date"


def describe_data(cases: Counter[str], where: str) -> str:
    """Cases by split in a line."""
    return f"Data: {where}: {', '.join(f'{cases[split]} {split}' for split in SPLITS)}"


def count_cases(data: DataConfig, listing: Listing | None = None) -> tuple[Counter[str], str]:
    """Cases by split, and where they are; an estimate for a set that is not prepared."""
    folder = prepared_folder(data)
    if read_record(folder):
        return Counter(row.split for row in read_manifest(folder / MANIFEST)), f"{folder} is prepared"
    if data.source == "phantom":
        number, where = data.phantom.cases, f"{data.phantom.cases} radiographs to be generated in {data.raw_dir}"
    elif data.download:
        return Counter(), "to be downloaded, so their number is not known"
    else:
        number = len((listing or find_cases(data)).cases)
        where = f"{number} radiographs with masks in {data.raw_dir}, to be prepared"
    test = round(data.test_cases if data.test_cases >= 1 else number * data.test_cases)
    validation = round((number - test) * (1 / data.folds if data.folds else data.validation_fraction))
    return Counter({"train": number - test - validation, "validation": validation, "test": test}), where


def _listing(data: DataConfig) -> Listing | None:
    """The raw files; None where they would first be generated or downloaded."""
    return None if data.source == "phantom" or data.download else find_cases(data)
