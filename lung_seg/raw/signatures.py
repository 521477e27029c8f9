"""What a file is by its first bytes."""

SIGNATURE_BYTES = 1024
IMAGE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"BM", b"RIFF")
# Where the content of a file that is no image says what it is: place, bytes, name.
OTHER_SIGNATURES = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (4, b"ftyphei", "a HEIC photograph"),
    (4, b"ftyphev", "a HEIC photograph"),
    (4, b"ftypmif1", "a HEIC photograph"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"NRRD", "an NRRD volume"),
    (344, b"n+1\0", "a NIfTI volume"),
    (0, b"<", "a text of HTML or XML"),
    (0, b"{", "a text of JSON"),
    (128, b"DICM", "a DICOM file"),
)


def content_kind(content: bytes) -> str:
    """What a file is by its first bytes, for a message: "a PDF document"; empty if they are not known."""
    kinds = (name for start, bytes_there, name in OTHER_SIGNATURES if content[start:].startswith(bytes_there))
    return next(kinds, "")
