"""Which radiographs of a user's folder are of one patient: by DICOM headers and by usual naming patterns."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lung_seg.errors import UserError
from lung_seg.raw.dicom import is_dicom, read_patient_id
from lung_seg.raw.sources.nlm import SAME_PATIENT

# On the path below the folder, without suffix; group 1 is the patient. Public sets are often flattened or mixed.
NAMINGS = {
    "MIMIC-CXR": r"(?:^|[/_.-])(p\d{8})(?=[/_.-]|$)",  # p10/p10000032/s50414267/<hash>
    "CheXpert": r"(?:^|[/_.-])(patient[_-]?\d+)(?=[/_.-])",  # patient00001/study1/view1_frontal
    "BIDS": r"(?:^|[/_])(sub-[a-z0-9]+)(?=[/_])",  # sub-S03045/ses-E06151/mod-rx/sub-S03045_ses-E06151_run-1_vp-ap_dx
    "NIH ChestX-ray14": r"(?:^|[/_.-])(000\d{5})_\d{3}(?!\d)",  # 00000001_000
    "Montgomery and Shenzhen": r"(?:^|/)((?:MCUCXR|CHNCXR)_\d{4})_[01](?!\d)",  # the last digit is the label
    "Open-i": r"(?:^|/)(?:CXR)?(\d+)_(?:\d+_)?IM-\d+-\d+",  # CXR1_1_IM-0001-3001, 1_IM-0001-4001
    "PadChest (by study)": r"(?:^|/)(\d{30,})_[a-z0-9-]+$",  # 216840111366964012339356563862009041122518701_00-079-131
}
EXPORTED = re.compile(r"[_.](?:png|jpe?g|dcm)(?:\.rf\.[0-9a-f]+)?$", re.IGNORECASE)  # a_png.rf.0f3c, as Roboflow names
# What tells the radiographs of a patient apart at the end of a name: a number, a date, a side, a view, a copy.
INDEX = re.compile(
    r"(?:[ _-]+(?:\d{1,4}|(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d|l|r|left|right|pa|ap|lat|lateral|front|frontal"
    r"|(?:view|film|img|image|scan|visit|day|study|copy|flip|rot|aug)[a-z]*[-_]?\d*)|[ _-]*\(\d+\))$",
    re.IGNORECASE,
)
# Names that begin alike are those of patients if there are so many groups of at most so many; others number a set.
FEWEST_GROUPS, LARGEST_GROUP = 3, 20
FEWEST_WORDS, LARGEST_WORD = 5, 6  # the same of beginnings without a number: names of persons, or of findings
NO_PATIENT = re.compile(
    r"(?:anon(?:ym\w*)?|de-?ident\w*|unknown|none|null|nil|n/?a|test|patient|patientid|default|removed|x+|0+|\W*)",
    re.IGNORECASE,
)


def find_patients(paths: Mapping[str, Path]) -> tuple[dict[str, str], str]:
    """The patient of each radiograph, and one sentence that says how it was found.

    Args:
        paths: radiographs by their path below their folder, without suffix and with "/" between folders.
    """
    patients: dict[str, str] = {}
    ways: dict[str, int] = {}
    headers, ignored = _from_headers(paths)
    for way, found in (("the PatientID of DICOM headers", headers), *_from_names(set(paths) - set(headers))):
        if found:
            patients |= found
            ways[way] = len(found)
    own = sorted(set(paths) - set(patients))
    patients |= {name: name for name in own}
    return patients, _sentence(ways, len(own), len(paths), len(set(patients.values()))) + ignored


def _sentence(ways: Mapping[str, int], own: int, radiographs: int, patients: int) -> str:
    key = "data.folder.patient_pattern"
    if not ways:
        return f"{key} is empty: each radiograph is taken for a patient of its own; set {key} if not."
    taken = " and ".join(way + (f" ({count})" if len(ways) > 1 or own else "") for way, count in ways.items())
    rest = f", each of {own} others for a patient of its own" if own else ""
    return f"{key} is empty: patients taken from {taken}{rest}; {radiographs} radiographs of {patients} patients."


def _from_headers(paths: Mapping[str, Path]) -> tuple[dict[str, str], str]:
    """PatientID of the DICOM files, and a sentence if it names nobody."""
    headers = {name: _patient_id(path) for name, path in paths.items() if is_dicom(path)}
    named = {name: patient for name, patient in headers.items() if not NO_PATIENT.fullmatch(patient)}
    placeholders = sorted({patient for name, patient in headers.items() if patient and name not in named})
    if len(named) > 1 and len(set(named.values())) == 1:  # of several files all are of one patient: anonymised
        placeholders, named = sorted({*placeholders, *named.values()}), {}
    count = sum(patient in placeholders for patient in headers.values())
    ignored = f" {count} DICOM headers have the PatientID {', '.join(placeholders[:3])}, which names no patient."
    return named, ignored if placeholders else ""


def _patient_id(path: Path) -> str:
    try:
        return read_patient_id(path)
    except UserError:  # preparing reports it
        return ""


def _from_names(names: Iterable[str]) -> Iterable[tuple[str, dict[str, str]]]:
    """Patients by naming pattern; each name is in one of them at most."""
    rest = sorted(names)
    for naming, pattern in NAMINGS.items():
        matches = {name: re.search(pattern, name, re.IGNORECASE) for name in rest}
        found = {name: match[1] for name, match in matches.items() if match}
        yield (
            f"file names as in {naming}",
            {name: SAME_PATIENT.get(patient, patient) for name, patient in found.items()},
        )
        rest = [name for name in rest if name not in found]
    by_folder = _by_folder(rest)
    yield "the folders that hold the radiographs", by_folder
    if not by_folder:
        yield from _by_beginning(rest)


def _by_folder(names: list[str]) -> dict[str, str]:
    """Patients by folder, at the first level where the folders are numbered and small."""
    depth = min((name.count("/") for name in names), default=0)
    for level in range(1, depth + 1):
        found = {name: "/".join(name.split("/")[:level]) for name in names}
        numbered = all(re.search(r"\d", folder.rpartition("/")[2]) for folder in found.values())
        if numbered and _are_patients(found.values(), FEWEST_GROUPS, LARGEST_GROUP):
            return found
    return {}


def _by_beginning(names: list[str]) -> Iterable[tuple[str, dict[str, str]]]:
    """Patients by the beginning of file names that end in a number, a date, a side or a view."""
    stems = {name: EXPORTED.sub("", name.rpartition("/")[2]) for name in names}
    numbered = {name: _beginning(stem, r"\d") for name, stem in stems.items()}
    words = {name: _beginning(stem, r"[^\W\d_]") for name, stem in stems.items()}
    for found, fewest, largest in ((numbered, FEWEST_GROUPS, LARGEST_GROUP), (words, FEWEST_WORDS, LARGEST_WORD)):
        if _are_patients(found.values(), fewest, largest):
            shared = next(patient for patient, count in Counter(found.values()).items() if count > 1)
            first, second = [name for name, patient in found.items() if patient == shared][:2]
            yield f"the beginning of file names ({first} and {second} are one)", found
            return


def _are_patients(patients: Iterable[str], fewest: int, largest: int) -> bool:
    sizes = Counter(patients).values()
    return len(sizes) >= fewest and 1 < max(sizes) <= largest


def _beginning(stem: str, needed: str) -> str:
    """A stem without its endings, as long as a number (or a word) is left."""
    while (match := INDEX.search(stem)) and re.search(needed, stem[: match.start()]):
        stem = stem[: match.start()]
    return stem
