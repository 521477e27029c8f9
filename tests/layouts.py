"""Miniature data in the layouts of the public sets: a bright body with two dark ellipses for lungs."""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def draw_chest(seed: int, height_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A radiograph (uint8) and the masks (bool) of the patient's right and left lung, all (H, W)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height_px, :width_px] / np.array([height_px, width_px]).reshape(2, 1, 1)
    right, left = (
        ((rows - rng.uniform(0.45, 0.55)) / rng.uniform(0.25, 0.35)) ** 2
        + ((columns - center) / rng.uniform(0.12, 0.18)) ** 2
        < 1
        for center in (0.28, 0.72)
    )
    image = np.where(right | left, 60, 180) + rng.normal(0, 12, (height_px, width_px))
    return image.clip(0, 255).astype(np.uint8), right, left


def write_montgomery(raw_dir: Path, cases: int = 6, height_px: int = 96, width_px: int = 80) -> None:
    """MontgomerySet: even numbers have label 1, and every third film is landscape."""
    folder = raw_dir / "MontgomerySet"
    for number in range(1, cases + 1):
        size = (width_px, height_px) if number % 3 == 0 else (height_px, width_px)
        image, right, left = draw_chest(number, *size)
        stem = f"MCUCXR_{number:04d}_{(number + 1) % 2}"
        write_image(folder / "CXR_png" / f"{stem}.png", image)
        write_mask(folder / "ManualMask" / "rightMask" / f"{stem}.png", right)
        write_mask(folder / "ManualMask" / "leftMask" / f"{stem}.png", left)
        sex, age = "FM"[number % 2], f"{20 + number:03d}Y"
        write_reading(folder, stem, f"Patient's Sex: {sex} \nPatient's Age: {age}\nnormal\n")


def write_shenzhen(
    raw_dir: Path,
    cases: int = 6,
    without_mask: int = 2,
    mask_dir: str = "mask",
    height_px: int = 96,
    width_px: int = 96,
) -> None:
    """ChinaSet_AllFiles with palette radiographs; the last ``without_mask`` of ``cases`` have no mask."""
    folder = raw_dir / "ChinaSet_AllFiles"
    for number in range(1, cases + 1):
        image, right, left = draw_chest(1000 + number, height_px, width_px)
        stem = f"CHNCXR_{number:04d}_{(number + 1) % 2}"
        palette = Image.fromarray(image).convert("P")
        save(palette, folder / "CXR_png" / f"{stem}.png")
        write_reading(folder, stem, f"{('female', 'male')[number % 2]} {20 + number}yrs\nnormal\n")
        if number <= cases - without_mask:
            write_mask(folder / mask_dir / f"{stem}_mask.png", right | left)


def write_kaggle(raw_dir: Path, cases: int = 4, without_mask: int = 2) -> None:
    """Kaggle's "Lung Segmentation": ``cases`` of each set with masks, and Shenzhen ones without."""
    folder = raw_dir / "Lung Segmentation"
    for number in range(1, cases + 1):
        image, right, left = draw_chest(number, 96, 80)
        write_image(folder / "CXR_png" / f"MCUCXR_{number:04d}_0.png", image)
        write_mask(folder / "masks" / f"MCUCXR_{number:04d}_0.png", right | left)
    for number in range(1, cases + without_mask + 1):
        image, right, left = draw_chest(1000 + number, 96, 96)
        write_image(folder / "CXR_png" / f"CHNCXR_{number:04d}_1.png", image)
        if number <= cases:
            write_mask(folder / "masks" / f"CHNCXR_{number:04d}_1_mask.png", right | left)
        else:
            write_image(folder / "test" / f"CHNCXR_{number:04d}_1.png", image)


def write_jsrt(raw_dir: Path, cases: int = 4, size_px: int = 128) -> None:
    """JSRT films as raw .IMG, 12 bits in big-endian 16, air bright; SCR masks of half their size."""
    for number in range(1, cases + 1):
        image, right, left = draw_chest(2000 + number, size_px, size_px)
        film = raw_dir / "All247images" / f"JPCLN{number:03d}.IMG"
        film.parent.mkdir(parents=True, exist_ok=True)
        film.write_bytes(((255 - image.astype(np.uint16)) * 16).astype(">u2").tobytes())
        for side, mask in (("right", right), ("left", left)):
            masks = raw_dir / "scratch" / f"fold{2 - number % 2}" / "masks" / f"{side} lung"
            write_mask(masks / f"{film.stem}.gif", mask[::2, ::2])


def write_folder(raw_dir: Path, cases: int = 6, height_px: int = 96, width_px: int = 80) -> None:
    """JPEGs in ``images``, PNGs in ``masks``, two radiographs of each patient: p01_1, p01_2, p02_1."""
    for number in range(cases):
        image, right, left = draw_chest(3000 + number, height_px, width_px)
        stem = f"p{number // 2 + 1:02d}_{number % 2 + 1}"
        write_image(raw_dir / "images" / f"{stem}.jpg", image)
        write_mask(raw_dir / "masks" / f"{stem}.png", right | left)


def write_image(path: Path, image: np.ndarray) -> None:
    save(Image.fromarray(image), path)


def write_mask(path: Path, mask: np.ndarray) -> None:
    save(Image.fromarray(mask.astype(np.uint8) * 255), path)


def write_reading(folder: Path, stem: str, text: str) -> None:
    path = folder / "ClinicalReadings" / f"{stem}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_dicom(path: Path, values: np.ndarray, **elements: object) -> None:
    """A frontal radiograph, uncompressed, of 8 or 16 bits by the type of ``values``; None leaves an element out."""
    from pydicom import Dataset
    from pydicom.config import disable_value_validation
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    bits = 8 * values.dtype.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    chest = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": "P7",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": int(elements.get("BitsStored", bits)) - 1,
        "PixelData": values.tobytes(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with disable_value_validation():  # real files break rules too
        for keyword, value in {**chest, **elements}.items():
            if value is not None:
                setattr(dataset, keyword, value)
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OW"
        dataset.save_as(path, enforce_file_format=True)


def broken_copies(content: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """A file's content cut off at thirty places, then with bytes changed, put in or taken out at 120.

    Half of the changes are to the first 256 bytes, where a format keeps its sizes. LUNG_SEG_FUZZ multiplies the counts.
    """
    times = int(os.environ.get("LUNG_SEG_FUZZ", "1"))
    for _ in range(30 * times):
        yield content[: rng.integers(1, len(content))]
    for number in range(120 * times):
        broken = bytearray(content)
        start = int(rng.integers(len(content) if number % 2 else min(256, len(content))))
        new = (
            rng.bytes(4) if number % 3 else rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"])
        )
        length = (0, 4, 4, 8)[number % 4]
        broken[start : start + length] = new
        yield bytes(broken)


def write_tiff(
    path: Path, *pages: np.ndarray, order: str = "<", page_tags: Sequence[dict[str, int]] = (), **tags: int
) -> None:
    """A TIFF of uncompressed pages (H, W) or (H, W, channels) of any type, byte order and tags: t262=0 for tag 262."""
    content = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8))
    for number, values in enumerate(pages):
        height, width, *channels = values.shape
        count = channels[0] if channels else 1
        pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
        described = {256: width, 257: height, 258: (8 * values.dtype.itemsize,) * count, 259: 1}
        described |= {
            262: 2 if count > 2 else 1,
            277: count,
            278: height,
            339: ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * count,
        }
        own_tags = page_tags[number] if page_tags else {}
        described |= {int(name[1:]): value for name, value in {**tags, **own_tags}.items()}
        begin = len(content)
        values_at = begin + 2 + 12 * (len(described) + 2) + 4
        pixels_at = values_at + 100
        described |= {273: pixels_at, 279: len(pixels)}
        entries, outside = b"", b""
        for tag, value in sorted(described.items()):
            numbers = value if isinstance(value, tuple) else (value,)
            packed = struct.pack(f"{order}{len(numbers)}{'I' if tag in (254, 273, 279) else 'H'}", *numbers)
            if len(packed) > 4:
                packed, outside = struct.pack(f"{order}I", values_at + len(outside)), outside + packed
            entries += struct.pack(f"{order}HHI", tag, 4 if tag in (254, 273, 279) else 3, len(numbers)) + packed.ljust(
                4, b"\0"
            )
        end = pixels_at + len(pixels) + len(pixels) % 2
        following = end if number + 1 < len(pages) else 0
        content += struct.pack(f"{order}H", len(described)) + entries + struct.pack(f"{order}I", following)
        content += outside.ljust(100, b"\0") + pixels
        content = content.ljust(end, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_deep_png(path: Path, values: np.ndarray, transparent: bytes = b"") -> None:
    """A PNG of 16 bits with one, two, three or four channels: grey, with alpha, RGB, with alpha; and a tRNS chunk."""
    height, width, *channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels[0] if channels else 1]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        if data or name == b"IEND":
            content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
