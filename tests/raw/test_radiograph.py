import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from scipy import ndimage

from lung_seg.errors import UserError
from lung_seg.raw.image_file import open_image
from lung_seg.raw.masks import read_mask
from lung_seg.raw.radiograph import open_radiograph, read_radiograph, refuse_blank
from lung_seg.raw.resize import to_network_input, to_original_size
from tests import layouts

GREY = layouts.draw_chest(0, 40, 30)[0]
RAMP_12_BITS = np.linspace(100, 4000, 40 * 30).round().astype(np.uint16).reshape(40, 30)
RAMP_TO_GREY = np.arange(256, dtype=np.uint16) * 13 + 100
EXIF_ORIENTATION = 0x0112


def is_stretched(grey: np.ndarray, values: np.ndarray) -> bool:
    """Whether the darkest value became 0, the brightest 255 and the others their place between, up to rounding."""
    exact = (values - values.min()) * 255.0 / (values.max() - values.min())
    return bool(np.abs(grey - exact).max() < 0.51)


def stretched_by_hand(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    low, high = values.min() if low is None else low, values.max() if high is None else high
    return ((values.astype(float) - low) * 255 / (float(high) - low)).clip(0, 255).round()


def read(image: Image.Image, path: Path, **options) -> np.ndarray:
    image.save(path, **options)
    return read_radiograph(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_eight_bit_values_are_kept(tmp_path, mode, suffix):
    grey = read(Image.fromarray(GREY).convert(mode), tmp_path / f"film{suffix}")

    assert grey.dtype == np.uint8
    assert np.array_equal(grey, GREY)


def test_of_a_lab_tiff_the_lightness_counts(tmp_path):
    lightness = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(np.dstack([lightness, lightness * 0 + 9, lightness * 0 + 200]), "LAB").save(tmp_path / "film.tif")

    assert np.array_equal(read_radiograph(tmp_path / "film.tif"), lightness)
    lung = np.uint8(200) * (lightness % 8 > 3)
    Image.fromarray(np.dstack([lung, lung * 0 + 9, lung * 0 + 200]), "LAB").save(tmp_path / "mask.tif")
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), lung > 0)


def test_a_palette_gives_its_colours_not_its_numbers(tmp_path):
    image = Image.fromarray(255 - GREY).convert("P")
    image.putpalette([255 - value for value in range(256) for _ in "rgb"])

    assert np.array_equal(read(image, tmp_path / "film.png"), GREY)


def test_one_bit_is_black_and_white(tmp_path):
    assert np.array_equal(read(Image.fromarray(GREY > 100), tmp_path / "film.png"), (GREY > 100) * 255)


@pytest.mark.parametrize(("mode", "suffix"), [("LA", ".png"), ("RGBA", ".png"), ("PA", ".tif")])
def test_transparent_pixels_are_black(tmp_path, mode, suffix):
    image = Image.fromarray(GREY).convert("P" if mode == "PA" else mode)
    image.putalpha(Image.fromarray(np.where(np.arange(30) < 10, 0, 255).astype(np.uint8)[None].repeat(40, 0)))
    assert image.mode == mode

    grey = read(image, tmp_path / f"film{suffix}")

    assert not grey[:, :10].any()
    assert np.array_equal(grey[:, 10:], GREY[:, 10:])


def test_jpeg_is_read_nearly_as_it_was(tmp_path):
    smooth = np.asarray(Image.fromarray(GREY).resize((30, 40)).reduce(4).resize((30, 40), Image.Resampling.BILINEAR))

    assert np.abs(read(Image.fromarray(smooth), tmp_path / "film.jpg").astype(int) - smooth).max() < 12


@pytest.mark.parametrize("name", ["film.png", "film.tif"])
@pytest.mark.parametrize("values", [RAMP_12_BITS, RAMP_12_BITS * 16], ids=["12 bits", "16 bits"])
def test_deeper_files_are_stretched_from_their_darkest_to_their_brightest_value(tmp_path, name, values):
    grey = read(Image.fromarray(values), tmp_path / name)

    assert is_stretched(grey, values)


def test_big_endian_tiff(tmp_path):
    values = RAMP_12_BITS.astype(">u2")
    image = Image.frombytes("I;16B", values.shape[::-1], values.tobytes())

    assert is_stretched(read(image, tmp_path / "film.tif"), RAMP_12_BITS)


@pytest.mark.parametrize("scale", [1.0, 1 / 4000], ids=["counts", "0 to 1"])
def test_floating_point_tiff_of_any_scale(tmp_path, scale):
    values = (RAMP_12_BITS * scale).astype(np.float32)

    assert is_stretched(read(Image.fromarray(values), tmp_path / "film.tif"), values)


def test_a_blank_deep_film_is_black(tmp_path):
    assert not read(Image.fromarray(np.full((4, 4), 900, np.uint16)), tmp_path / "film.png").any()


ORIENTATIONS = {
    1: GREY,
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1],
    5: GREY.T,
    6: np.rot90(GREY, -1),
    7: GREY[::-1, ::-1].T,
    8: np.rot90(GREY),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_and_tiff_orientations_are_applied_once_and_told(tmp_path, orientation, bits, suffix):
    path, upright = tmp_path / f"film{suffix}", ORIENTATIONS[orientation]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    image = GREY if bits == 8 else GREY.astype(np.uint16) * 257
    grey = read(Image.fromarray(image), path, exif=exif)

    assert np.array_equal(grey, upright) if bits == 8 else is_stretched(grey, upright)
    assert open_radiograph(path).turned is (orientation > 1)
    assert open_image(path).info["turned"] is (orientation > 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "f4", "f8", "rgb"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_uncompressed_tiff_of_any_type_is_read_as_what_it_shows(tmp_path, order, orientation, dtype, white_is_zero):
    upright = ORIENTATIONS[orientation]
    values = RAMP_TO_GREY[GREY]  # 12 bits
    if dtype == "rgb":
        values = values[..., None].repeat(3, axis=2)
    else:
        values = (
            GREY
            if dtype == "u1"
            else (values.astype(float) * {"u4": 1e6, "i2": -8, "i4": -6e5}.get(dtype, 1)).astype(dtype)
        )
    expected = 255 - upright if white_is_zero != (dtype in ("i2", "i4")) else upright
    if dtype == "rgb" and white_is_zero:
        return
    layouts.write_tiff(
        tmp_path / "film.tif", values, order=order, t274=orientation, **({"t262": 0} if white_is_zero else {})
    )

    grey = read_radiograph(tmp_path / "film.tif")

    assert np.array_equal(grey, expected) if dtype == "u1" else is_stretched(grey, expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("values", [RAMP_12_BITS.astype(np.int16) - 3000, RAMP_12_BITS.astype(np.float32)])
def test_compressed_tiff_of_either_byte_order(tmp_path, order, values):
    layouts.write_tiff(tmp_path / "raw.tif", values, order=order)
    content = (tmp_path / "raw.tif").read_bytes()
    pixels = zlib.compress(values.astype(values.dtype.newbyteorder(order)).tobytes())
    entry = struct.pack(f"{order}HHI", 259, 3, 1)  # compression, of which 8 is deflate
    head = content[: -values.nbytes].replace(entry + struct.pack(f"{order}H", 1), entry + struct.pack(f"{order}H", 8))
    length = struct.pack(f"{order}HHI", 279, 4, 1)
    head = head.replace(
        length + struct.pack(f"{order}I", values.nbytes), length + struct.pack(f"{order}I", len(pixels))
    )
    (tmp_path / "film.tif").write_bytes(head + pixels)

    assert is_stretched(read_radiograph(tmp_path / "film.tif"), values.astype(float))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colours_and_transparency_of_16_bits_are_read_at_their_full_depth(tmp_path, channels):
    alpha = np.full_like(RAMP_12_BITS, 65535)
    layers = [RAMP_12_BITS] * (3 if channels > 2 else 1) + [alpha] * (channels in (2, 4))
    layouts.write_deep_png(tmp_path / "film.png", np.dstack(layers) if channels > 1 else RAMP_12_BITS)

    assert is_stretched(read_radiograph(tmp_path / "film.png"), RAMP_12_BITS)


def test_deep_colours_are_weighted_and_turned_by_exif(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 4000, (40, 30, 3)).astype(np.uint16)
    layouts.write_deep_png(tmp_path / "film.png", rgb)
    with Image.open(tmp_path / "film.png") as image:
        exif = image.getexif()
        exif[EXIF_ORIENTATION] = 6
    content = (tmp_path / "film.png").read_bytes()
    chunk = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "film.png").write_bytes(content[:33] + chunk + content[33:])

    grey = read_radiograph(tmp_path / "film.png")

    assert np.abs(grey - stretched_by_hand(np.rot90(rgb @ np.array([0.299, 0.587, 0.114]), -1))).max() <= 1
    assert open_radiograph(tmp_path / "film.png").turned


def test_transparent_pixels_of_deep_files_are_black_and_do_not_count(tmp_path):
    path = tmp_path / "film.png"
    values, opaque = np.pad(RAMP_12_BITS, 5, constant_values=65535), np.pad(np.ones_like(RAMP_12_BITS), 5) > 0
    layouts.write_deep_png(path, np.dstack([values, opaque * np.uint16(65535)]))
    assert is_stretched(read_radiograph(path)[5:-5, 5:-5], RAMP_12_BITS)
    assert not read_radiograph(path)[~opaque].any()

    layouts.write_deep_png(path, values, transparent=b"\xff\xff")
    assert is_stretched(read_radiograph(path)[5:-5, 5:-5], RAMP_12_BITS)
    assert not read_radiograph(path)[~opaque].any()


def test_a_transparent_value_of_a_grey_png_is_black(tmp_path):
    grey = read(Image.fromarray(GREY), tmp_path / "film.png", transparency=int(GREY.max()))

    assert np.array_equal(grey, np.where(GREY.max() == GREY, 0, GREY))


@pytest.mark.parametrize("outlier", [65535, 0])
@pytest.mark.parametrize("marker", [(1, 1), (8, 6)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_hot_pixels_and_markers_leave_a_film_its_grey_levels(tmp_path, outlier, marker, suffix):
    height, width = marker  # 4 % of the film
    values = RAMP_12_BITS + np.uint16(20_000)
    values[:height, :width] = outlier
    expected = stretched_by_hand(values, *np.sort(values[values != outlier])[[0, -1]])

    grey = read(Image.fromarray(values), tmp_path / f"film{suffix}")

    assert np.abs(grey - expected).max() <= 1
    assert np.unique(grey).size > 240


@pytest.mark.parametrize("border", [0, 65535])
def test_a_large_border_far_from_the_film_leaves_it_its_grey_levels(tmp_path, border):
    values = np.pad(RAMP_12_BITS + np.uint16(20_000), 15, constant_values=border)  # 60 % of the image

    grey = read(Image.fromarray(values), tmp_path / "film.png")

    assert np.abs(grey[15:-15, 15:-15] - stretched_by_hand(RAMP_12_BITS)).max() <= 1


def test_a_drawing_of_few_values_keeps_them(tmp_path):
    values = np.zeros((40, 30), np.uint16)
    values[10:30] = 60_000
    values[10] = 30_000

    assert set(np.unique(read(Image.fromarray(values), tmp_path / "film.png"))) == {0, 128, 255}


def test_what_is_no_number_is_black_does_not_count_and_is_reported(tmp_path):
    values = RAMP_12_BITS.astype(np.float32)
    values[0, :4] = [np.nan, np.inf, -np.inf, 1e30]
    Image.fromarray(values).save(tmp_path / "film.tif")

    radiograph = open_radiograph(tmp_path / "film.tif")

    assert radiograph.pixels[0, :4].tolist() == [0, 0, 0, 255]
    assert is_stretched(radiograph.pixels[1:], RAMP_12_BITS[1:]) or radiograph.pixels[1:].max() == 255
    assert radiograph.remarks == ("3 pixels are not a number or infinite and are shown black",)


@pytest.mark.parametrize("values", [GREY * 0 + 77, RAMP_12_BITS * 0 + 900])
def test_a_blank_image_is_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "film.png")

    with pytest.raises(UserError, match=r"^film\.png is blank: every pixel has the grey level (77|0)\.$"):
        refuse_blank(Path("film.png"), read_radiograph(tmp_path / "film.png"))
    refuse_blank(Path("film.png"), GREY)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_of_a_tiff_with_thumbnails_the_film_is_read(tmp_path, place, order):
    pages = [GREY[::3, ::3] // 2, GREY[::2, :15] // 2]
    pages.insert(place, GREY)
    layouts.write_tiff(tmp_path / "film.tif", *pages, order=order)

    assert np.array_equal(read_radiograph(tmp_path / "film.tif"), GREY)


@pytest.mark.parametrize("place", [0, 1])
def test_pages_of_reduced_resolution_may_be_of_any_size(tmp_path, place):
    pages = [(GREY[:, ::-1] // 2, {"t254": 1})]
    pages.insert(place, (GREY, {"t254": 0}))
    layouts.write_tiff(tmp_path / "film.tif", *(page for page, _ in pages), page_tags=[tags for _, tags in pages])

    assert np.array_equal(read_radiograph(tmp_path / "film.tif"), GREY)


def test_deep_colours_of_a_later_page(tmp_path):
    layouts.write_tiff(tmp_path / "film.tif", GREY[::3, ::3], RAMP_12_BITS[..., None].repeat(3, axis=2))

    assert is_stretched(read_radiograph(tmp_path / "film.tif"), RAMP_12_BITS)


def test_images_of_several_pages_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    for suffix in ("tif", "gif", "png", "webp"):
        path = tmp_path / f"film.{suffix}"
        pages[0].save(path, save_all=True, append_images=pages[1:])

        with pytest.raises(
            UserError, match=r"film\.\w+ cannot be read as an image: it holds 2 pages or frames, not one"
        ):
            read_radiograph(path)


def test_a_jpeg_of_a_telephone_with_previews_is_read(tmp_path):
    Image.fromarray(GREY).save(
        tmp_path / "film.jpg", "MPO", save_all=True, append_images=[Image.new("L", (9, 9))], quality=99
    )

    assert np.abs(read_radiograph(tmp_path / "film.jpg").astype(int) - GREY).max() < 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%PDF-1.4\n", "it is a PDF document, not PNG, JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is a HEIC photograph, not PNG, JPEG"),
        (b"\x93NUMPY\x01\0", "it is a NumPy array, not"),
        (b"<!DOCTYPE html>", "it is a text of HTML or XML, not"),
        (b"a letter", "its content is not PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "it is damaged or incomplete, or of a rare encoding; save it anew as PNG"),
    ],
)
def test_what_a_file_really_is_is_named(tmp_path, content, reason):
    path = tmp_path / "film.jpg"
    path.write_bytes(content.ljust(400, b"\0"))

    with pytest.raises(UserError, match=rf"film\.jpg cannot be read as an image: {reason}"):
        read_radiograph(path)


@pytest.mark.parametrize("name", ["film.jpg", "film.tif", "film.IMG", "film.jfif"])
def test_the_content_decides_not_the_name(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name, "PNG")

    assert np.array_equal(read_radiograph(tmp_path / name), GREY)


def test_a_raw_file_of_more_than_12_bits_is_no_jsrt_film(tmp_path):
    (tmp_path / "film.IMG").write_bytes(np.arange(4096, dtype="<u2").tobytes())  # of the other byte order

    with pytest.raises(UserError, match=r"film\.IMG .*its words exceed the 12 bits of a JSRT film"):
        read_radiograph(tmp_path / "film.IMG")


def test_raw_jsrt_film_is_big_endian_of_12_bits_and_inverted(tmp_path):
    words = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(words.astype(">u2").tobytes())

    assert np.array_equal(read_radiograph(path), 255 - words // 16)
    assert np.array_equal(read_radiograph(path, inverted=True), words // 16)


def test_of_image_files_only_raw_jsrt_films_have_a_pixel_spacing(tmp_path):
    with (tmp_path / "JPCLN001.IMG").open("wb") as file:
        file.truncate(2 * 2048 * 2048)
    layouts.write_image(tmp_path / "film.png", GREY)

    assert open_radiograph(tmp_path / "JPCLN001.IMG").spacing_mm == (0.175, 0.175)
    assert open_radiograph(tmp_path / "film.png").spacing_mm is None


def test_inverted_files_are_turned_air_dark(tmp_path):
    layouts.write_image(tmp_path / "film.png", 255 - GREY)

    assert np.array_equal(read_radiograph(tmp_path / "film.png", inverted=True), GREY)


def whole_files(folder: Path) -> dict[str, bytes]:
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        layouts.write_image(folder / f"film.{suffix}", GREY)
    Image.fromarray(GREY).save(folder / "deflated.tif", compression="tiff_deflate")
    Image.fromarray(GREY > 100).convert("P").save(folder / "mask.png")
    layouts.write_deep_png(folder / "colours.png", RAMP_12_BITS[..., None].repeat(3, axis=2))
    layouts.write_tiff(folder / "colours.tif", GREY[::2, ::2], RAMP_12_BITS[..., None].repeat(3, axis=2))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("content", [b"", b"a letter, not a film\n" * 9, b"\0" * 500])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "IMG", "gif"])
def test_a_file_that_is_no_image_is_named(tmp_path, content, suffix):
    path = tmp_path / f"film.{suffix}"
    path.write_bytes(content)

    with pytest.raises(UserError, match=rf"film\.{suffix} cannot be read as an image"):
        read_radiograph(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it warns of broken TIFF tags before it raises
def test_truncated_and_corrupt_files_are_read_or_named_but_never_crash(tmp_path):
    rng = np.random.default_rng(0)
    refused = 0
    for name, content in whole_files(tmp_path / "whole").items():
        path = tmp_path / name
        for broken in layouts.broken_copies(content, rng):
            path.write_bytes(broken)
            for read in (read_radiograph, read_mask):
                try:
                    read(path)
                except UserError as error:
                    assert str(path) in str(error)  # noqa: PT017
                    refused += 1
    assert refused > 700


def test_half_a_png_is_refused(tmp_path):
    path = tmp_path / "film.png"
    layouts.write_image(path, GREY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(UserError, match=r"film\.png cannot be read as an image"):
        read_radiograph(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"film\.png does not exist"):
        read_radiograph(tmp_path / "film.png")
    with pytest.raises(UserError, match=r"film\.IMG does not exist"):
        read_radiograph(tmp_path / "film.IMG")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_radiograph(tmp_path)


def test_a_raw_film_that_is_not_square_is_refused(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(b"\0" * 2 * 10)

    with pytest.raises(UserError, match=r"JPCLN001\.IMG .*10 16-bit words do not form a square"):
        read_radiograph(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"JPCLN001\.IMG .*0 16-bit words do not form a square"):
        read_radiograph(path)
    path.write_bytes((7).to_bytes(2, "big"))
    assert read_radiograph(path).shape == (1, 1)


@pytest.mark.parametrize("side", [9_000, 10_000, 14_200, 60_000])
def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.tif"
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256] = tags[257] = tags[278] = side  # width, height, rows in the one strip
    tags[258], tags[259], tags[262], tags[277] = 8, 1, 1, 1  # bits, no compression, black is zero, one channel
    tags[273], tags[279] = 200, side * side  # the strip: where and how long
    with path.open("wb") as file:
        file.write(b"II*\0\x08\0\0\0")
        tags.save(file)
        file.write(b"\0" * 300)

    with pytest.raises(UserError, match=r"bomb\.tif cannot be read as an image: .* megapixels, over max_megapixels=80"):
        open_image(path)


def test_a_huge_raw_film_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.IMG"
    with path.open("wb") as file:
        file.truncate(2 * 80_000_001)  # a sparse file

    with pytest.raises(UserError, match="it has 81 megapixels, over max_megapixels=80"):
        read_radiograph(path)


def test_more_than_pillow_lets_pass_can_be_allowed_and_its_own_limit_stays(tmp_path):
    path, usual = tmp_path / "huge.png", Image.MAX_IMAGE_PIXELS
    Image.new("1", (9_500, 9_500), 1).save(path)

    assert read_radiograph(path, max_megapixels=91).min() == 255
    assert read_mask(path, max_megapixels=91).all()

    assert usual == Image.MAX_IMAGE_PIXELS < 9_500**2
    for reader in (read_radiograph, read_mask):
        with pytest.raises(UserError, match=r"huge\.png cannot be read as an image: it has .*max_megapixels=90"):
            reader(path, max_megapixels=90)


def test_formats_that_radiographs_do_not_use_are_not_tried(tmp_path):
    path = tmp_path / "film.png"
    Image.fromarray(GREY).save(path, "EPS")  # whose reader would start Ghostscript

    with pytest.raises(UserError, match=r"film\.png cannot be read as an image: it is a PostScript document, not PNG"):
        read_radiograph(path)


@pytest.mark.parametrize("shape", [(100, 80), (20, 12), (100, 20), (64, 64)])
def test_stretching_fills_the_network_input_and_keeps_the_mean(shape):
    rows, columns = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    image = (rows * 128 + columns * 127).astype(np.uint8)

    network_input = to_network_input(image, 32, "stretch")

    assert network_input.shape == (32, 32)
    assert network_input.dtype == np.uint8
    assert abs(network_input.mean() - image.mean()) < 1
    corners = np.ix_([0, -1], [0, -1])
    assert np.abs(network_input[corners].astype(int) - image[corners]).max() < 12


@pytest.mark.parametrize("shape", [(256, 256), (256, 24), (24, 256)])
def test_shrinking_averages_so_that_fine_structure_does_not_alias(shape):
    rows, columns = np.indices(shape)
    lines = np.where((rows if shape[0] > shape[1] else columns) % 2, 255, 0).astype(np.uint8)

    network_input = to_network_input(lines, 64, "stretch")

    assert network_input.min() >= 127
    assert network_input.max() <= 128


def test_letterbox_keeps_the_proportions_and_pads_with_black_on_both_sides():
    network_input = to_network_input(np.full((100, 50), 200, np.uint8), 64, "letterbox")

    assert np.array_equal(network_input[:, 16:48], np.full((64, 32), 200))
    assert not network_input[:, :16].any()
    assert not network_input[:, 48:].any()


def test_letterbox_of_a_square_is_stretch():
    image = layouts.draw_chest(1, 50, 50)[0]

    assert np.array_equal(to_network_input(image, 32, "letterbox"), to_network_input(image, 32, "stretch"))


@pytest.mark.parametrize(("side_px", "size_px"), [(3841, 512), (5761, 96)])
def test_large_images_with_odd_sides_shrink_without_a_shift(side_px, size_px):
    edge_px = side_px - 1000
    image = np.zeros((side_px, side_px), np.uint8)
    image[:edge_px, :edge_px] = 255

    network_input = to_network_input(image, size_px, "stretch")

    expected_px = edge_px / side_px * size_px
    assert abs(network_input[0].sum() / 255 - expected_px) < 0.01
    assert abs(network_input[:, 0].sum() / 255 - expected_px) < 0.01


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_the_centre_of_a_square_keeps_its_place_to_a_hundredth_of_a_pixel_both_ways(resize):
    rng = np.random.default_rng(0)
    for number in range(200):
        size_px, sides = int(rng.choice([64, 96, 128])), rng.integers(60, 250, 2) * 2
        height, width = (int(side) + odd for side, odd in zip(sides, divmod(number % 4, 2), strict=True))
        square = np.zeros((height, width), np.uint8)
        half = min(height, width) // 5
        square[height // 2 - half : (height + 1) // 2 + half, width // 2 - half : (width + 1) // 2 + half] = 255

        network_input = to_network_input(square, size_px, resize)
        back = to_original_size(network_input.astype(np.float32), height, width, resize, cv2.INTER_LINEAR)

        there = np.array(ndimage.center_of_mass(network_input)) - (size_px - 1) / 2
        returned = np.array(ndimage.center_of_mass(back)) - [(height - 1) / 2, (width - 1) / 2]
        assert np.abs(there).max() < 0.01
        assert np.abs(returned * size_px / max(height, width)).max() < 0.01


def test_an_image_of_the_right_size_is_unchanged():
    image = layouts.draw_chest(1, 32, 32)[0]

    assert np.array_equal(to_network_input(image, 32, "stretch"), image)


def test_a_strip_too_long_for_a_letterbox_is_refused():
    strip = np.zeros((1, 200_000), np.uint8)

    with pytest.raises(UserError, match="200000x1 pixels is too long"):
        to_network_input(strip, 32, "letterbox")
    assert to_network_input(strip, 32, "stretch").shape == (32, 32)
