import cv2
import numpy as np
import pytest
from PIL import Image

from lung_seg.errors import UserError
from lung_seg.raw.masks import mask_to_network_input, merge_masks, read_mask
from lung_seg.raw.phantom.draw_phantom import draw_phantom
from lung_seg.raw.resize import to_network_input
from tests import layouts

_, RIGHT, LEFT = layouts.draw_chest(0, 60, 50)
LUNGS = RIGHT | LEFT
LABELS = (RIGHT * 2 + LEFT).astype(np.uint8)  # left 1, right 2


def coloured(*colours: tuple[int, ...]) -> np.ndarray:
    """Background, left and right lung in three colours."""
    return np.array(colours, np.uint8)[LABELS]


def palette_image(labels: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(labels).convert("P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def smoothed(mask: np.ndarray) -> np.ndarray:
    """A mask as smoothed resizing leaves it, its half-way contour where it was."""
    return cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), 0.8)


def with_alpha(colour: Image.Image, alpha: np.ndarray) -> Image.Image:
    colour.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return colour


ENCODINGS = {
    "0 and 255": Image.fromarray(LUNGS.astype(np.uint8) * 255),
    "0 and 1": Image.fromarray(LUNGS.astype(np.uint8)),
    "bool": Image.fromarray(LUNGS),
    "left 1, right 2": Image.fromarray(LABELS),
    "left 1, right 2 in 16 bits": Image.fromarray(LABELS.astype(np.uint16)),
    "0 and 65535": Image.fromarray(LUNGS.astype(np.uint16) * 65535),
    "0 and 1 in 32 bits": Image.fromarray(LUNGS.astype(np.int32)),
    "probability": Image.fromarray(smoothed(LUNGS).astype(np.float32) / 255),
    "palette": Image.fromarray(LUNGS.astype(np.uint8) * 255).convert("P"),
    "palette of labels": palette_image(LABELS, (0, 0, 0), (128, 0, 0), (0, 128, 0)),
    "palette numbered the other way": palette_image(2 - LABELS, (0, 64, 0), (64, 0, 0), (0, 0, 0)),
    "RGB": Image.fromarray(LUNGS.astype(np.uint8) * 255).convert("RGB"),
    "RGB of two colours": Image.fromarray(coloured((0, 0, 0), (128, 0, 0), (0, 0, 128))),
    "RGBA, opaque": Image.fromarray(coloured((0, 0, 0, 255), (255, 255, 255, 255), (255, 255, 255, 255))),
    "RGBA, painted on transparent": Image.fromarray(coloured((0, 0, 0, 0), (255, 0, 0, 255), (0, 255, 0, 255))),
    "RGBA, half-transparent paint": Image.fromarray(coloured((0, 0, 0, 0), (255, 0, 0, 100), (255, 0, 0, 100))),
    "RGBA, mask in alpha of a black picture": with_alpha(Image.new("RGB", (50, 60)), LUNGS * 255),
    "RGBA, mask in alpha of a white picture": with_alpha(Image.new("RGB", (50, 60), "white"), LUNGS * 255),
    "LA, mask in alpha": with_alpha(Image.new("L", (50, 60)), LUNGS * 255),
    "smoothed ramp": Image.fromarray(smoothed(LUNGS)),
    "smoothed ramp in 16 bits": Image.fromarray(smoothed(LUNGS).astype(np.uint16) * 257),
    "smoothed ramp in 32 bits": Image.fromarray(smoothed(LUNGS).astype(np.int32) * 257),
    "smoothed ramp in RGB": Image.fromarray(smoothed(LUNGS)).convert("RGB"),
    "smoothed ramp in alpha": with_alpha(Image.new("RGB", (50, 60)), smoothed(LUNGS)),
    "faint ramp of eight levels": Image.fromarray(smoothed(LUNGS) // 32),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_masks_of_any_encoding(tmp_path, encoding):
    path = tmp_path / f"mask.{'tif' if ENCODINGS[encoding].mode in 'IF' else 'png'}"
    ENCODINGS[encoding].save(path)

    mask = read_mask(path)

    assert mask.dtype == bool
    assert mask.shape == (60, 50)
    assert np.count_nonzero(mask != LUNGS) <= (4 if "ramp" in encoding or encoding == "probability" else 0)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_masks_of_lossless_formats(tmp_path, suffix):
    layouts.write_mask(tmp_path / f"mask.{suffix}", LUNGS)

    assert np.array_equal(read_mask(tmp_path / f"mask.{suffix}"), LUNGS)


@pytest.mark.parametrize("colours", [(0, 255, 255), (0, 128, 128)], ids=str)
@pytest.mark.parametrize("quality", [95, 60])
def test_jpeg_ramps_are_cut_in_the_middle(tmp_path, colours, quality):
    Image.fromarray(np.array(colours, np.uint8)[LABELS]).save(tmp_path / "mask.jpg", quality=quality)

    mask = read_mask(tmp_path / "mask.jpg")

    assert np.count_nonzero(mask != LUNGS) < 0.04 * np.count_nonzero(LUNGS)
    far = cv2.dilate(LUNGS.astype(np.uint8), np.ones((5, 5))) == 0
    assert not mask[far].any()


@pytest.mark.parametrize(("levels", "lung"), [((0, 60, 120, 255), 3), ((0, 60, 120, 180, 255), 2)])
def test_four_levels_number_labels_and_five_are_a_ramp_however_few_pixels_have_them(tmp_path, levels, lung):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[33, 1 : len(levels) + 1] = levels  # off any coarse grid
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").sum() == lung


def test_a_ramp_is_recognised_in_a_large_mask(tmp_path):
    large = cv2.resize(LUNGS.astype(np.uint8) * 255, None, fx=40, fy=40, interpolation=cv2.INTER_NEAREST)
    Image.fromarray(cv2.GaussianBlur(large, (0, 0), 8)).save(tmp_path / "mask.png")
    assert np.count_nonzero(read_mask(tmp_path / "mask.png") != (large > 0)) < 0.01 * np.count_nonzero(large)


def test_coloured_jpeg(tmp_path):
    Image.fromarray(coloured((0, 0, 0), (255, 0, 0), (255, 0, 0))).save(tmp_path / "mask.jpg", quality=95)

    assert np.count_nonzero(read_mask(tmp_path / "mask.jpg") != LUNGS) < 0.1 * np.count_nonzero(LUNGS)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_an_empty_mask_is_empty(tmp_path, mode):
    Image.new("L", (50, 60)).convert(mode).save(tmp_path / "mask.png")

    assert not read_mask(tmp_path / "mask.png").any()


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_compression_noise_on_an_empty_mask_is_no_lung(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 12, (60, 50), dtype=np.uint8)
    layouts.write_image(tmp_path / f"mask.{suffix}", noise)

    assert not read_mask(tmp_path / f"mask.{suffix}").any()


def test_a_full_mask_is_full(tmp_path):
    for mode in ("L", "RGBA"):
        Image.new("L", (50, 60), 255).convert(mode).save(tmp_path / "mask.png")

        assert read_mask(tmp_path / "mask.png").all()


def test_a_mask_that_is_no_image_is_named(tmp_path):
    (tmp_path / "mask.png").write_text("no mask")

    with pytest.raises(UserError, match=r"mask\.png cannot be read"):
        read_mask(tmp_path / "mask.png")


def test_the_union_of_both_lungs():
    assert np.array_equal(merge_masks([RIGHT, LEFT]), LUNGS)
    assert np.array_equal(merge_masks([LEFT]), LEFT)


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(UserError, match="differ in size: 50x60 and 60x50"):
        merge_masks([RIGHT, LEFT.T])
    with pytest.raises(UserError, match=r"^No mask"):
        merge_masks([])


def edges(profile: np.ndarray) -> tuple[float, float]:
    """First and last edge of a one-dimensional mask, as fractions of its length."""
    inside = np.flatnonzero(profile)
    return inside[0] / len(profile), (inside[-1] + 1) / len(profile)


@pytest.mark.parametrize("size_px", [32, 50, 64, 100, 512])
@pytest.mark.parametrize("shape", [(300, 200), (97, 131), (61, 61), (1543, 1401)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_resizing_moves_no_edge_by_more_than_half_a_pixel(size_px, shape, resize):
    side = max(shape)
    for start, stop in ((0.21, 0.68), (0.3, 0.7), (0.37, 0.555)):
        mask = np.zeros(shape, bool)
        mask[round(start * shape[0]) : round(stop * shape[0]), round(start * shape[1]) : round(stop * shape[1])] = True

        network_input = mask_to_network_input(mask, size_px, resize)

        assert network_input.shape == (size_px, size_px)
        for axis, length in enumerate(shape):
            length, offset = (side, (side - length) // 2) if resize == "letterbox" else (length, 0)
            before = (np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] + [offset, offset + 1]) / length
            after = edges(network_input.any(axis=1 - axis))
            tolerance_px = 1e-6
            assert np.abs(after - before).max() * size_px <= 0.5 + tolerance_px


@pytest.mark.parametrize("size_px", [24, 32, 48, 128, 512])
def test_resizing_keeps_the_area(size_px):
    _, right, left = layouts.draw_chest(3, 244, 201)

    for mask in (right, right | left, ~(right | left)):
        assert mask_to_network_input(mask, size_px, "stretch").mean() == pytest.approx(mask.mean(), rel=1.5 / size_px)


def test_resizing_back_and_forth_loses_nothing_but_the_contour():
    small = mask_to_network_input(LUNGS, 32, "stretch")

    assert np.array_equal(mask_to_network_input(mask_to_network_input(small, 256, "stretch"), 32, "stretch"), small)


@pytest.mark.parametrize("shape", [(244, 201), (201, 244), (60, 50)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_image_and_mask_stay_aligned(shape, resize):
    _, right, left = layouts.draw_chest(5, *shape)
    mask = right | left

    image = to_network_input(mask.astype(np.uint8) * 255, 64, resize)

    assert np.array_equal(image >= 128, mask_to_network_input(mask, 64, resize))


def test_a_mask_at_half_the_size_of_its_radiograph_gives_the_same_network_input():
    _, right, _ = layouts.draw_chest(5, 256, 256)

    from_half = mask_to_network_input(mask_to_network_input(right, 128, "stretch"), 32, "stretch")

    assert np.count_nonzero(from_half != mask_to_network_input(right, 32, "stretch")) < 0.03 * from_half.sum()


def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A radiograph with right lung, left lung and heart, (192, 160)."""
    drawn = draw_phantom(0, 192, 160)
    heart = cv2.ellipse(np.zeros((192, 160), np.uint8), (85, 125), (26, 22), 0, 0, 360, 1, -1) > 0
    return drawn.image, drawn.right_mask, drawn.left_mask, heart


FILM, CHEST_RIGHT, CHEST_LEFT, HEART = chest()
CHEST_LUNGS = CHEST_RIGHT | CHEST_LEFT
TWO = (CHEST_RIGHT * 1 + CHEST_LEFT * 2).astype(np.uint8)
ORGANS = TWO.copy()
ORGANS[HEART & ~CHEST_LUNGS] = 3
cv2.line(ORGANS, (30, 28), (62, 34), 4, 6)  # clavicles
cv2.line(ORGANS, (130, 28), (98, 34), 5, 6)
VOC = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)], np.uint8)
LUNG_AND_HEART = np.where(ORGANS == 3, 2, TWO > 0).astype(np.uint8)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


UNEXPLAINED = {
    "organs": (ORGANS, "png", "1, 2, 3, 4, 5"),
    "organs in 16 bits": (ORGANS.astype(np.uint16), "png", "1, 2, 3, 4, 5"),
    "organs, opaque": (Image.fromarray(ORGANS).convert("LA"), "png", "1, 2, 3, 4, 5"),
    "organs stretched": (ORGANS * 51, "png", "51, 102, 153, 204, 255"),
    "organs as JPEG": (ORGANS * 51, "jpg", ""),
    "organs smoothed": (cv2.GaussianBlur(ORGANS * 51, (0, 0), 1), "png", ""),
    "lungs and heart numbered": (np.where(ORGANS > 3, 0, ORGANS), "png", "1, 2, 3"),
    "one label for lungs, one for the heart": (LUNG_AND_HEART, "png", "1, 2"),
    "the same as JPEG": (LUNG_AND_HEART * 127, "jpg", ""),
    "background 1, lungs 2": (1 + (TWO > 0).astype(np.uint8), "png", "1, 2"),
    "colours": (VOC[ORGANS], "png", r"128 \(#000080\), 32768 \(#008000\), 8388608 \(#800000\)"),
    "colours as JPEG": (VOC[ORGANS], "jpg", ""),
    "palette": (palette_image(ORGANS, *map(tuple, VOC.tolist())), "png", "1, 2, 3, 4, 5|4, 2, 1, 5, 3"),
}


@pytest.mark.parametrize("kind", UNEXPLAINED)
def test_values_that_are_not_explained_are_refused_by_name(tmp_path, kind):
    pixels, suffix, values = UNEXPLAINED[kind]
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(tmp_path / f"mask.{suffix}")

    with pytest.raises(UserError, match=rf"mask\.{suffix} holds the values ({values}).*\n.*data\.folder\.lung_labels="):
        read_mask(tmp_path / f"mask.{suffix}")


@pytest.mark.parametrize("kind", ["organs", "organs in 16 bits", "organs, opaque", "palette"])
def test_lung_labels_name_the_lungs(tmp_path, kind):
    pixels = UNEXPLAINED[kind][0]
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(tmp_path / "mask.png")

    assert np.array_equal(read_mask(tmp_path / "mask.png", lung_labels=[1, 2]), (ORGANS == 1) | (ORGANS == 2))
    assert np.array_equal(read_mask(tmp_path / "mask.png", lung_labels=[2]), ORGANS == 2)


def test_lung_labels_name_colours_and_need_a_lossless_file(tmp_path):
    Image.fromarray(VOC[ORGANS]).save(tmp_path / "mask.png")
    Image.fromarray(ORGANS * 51).save(tmp_path / "mask.jpg")

    mask = read_mask(tmp_path / "mask.png", lung_labels=[128 * 65536, 128 * 256])

    assert np.array_equal(mask, (ORGANS == 1) | (ORGANS == 2))
    with pytest.raises(UserError, match=r"mask\.jpg is JPEG, which does not keep(.|\n)*PNG"):
        read_mask(tmp_path / "mask.jpg", lung_labels=[51, 102])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_lung_labels_0_reads_black_lungs(tmp_path, suffix):
    Image.fromarray(255 - CHEST_LUNGS.astype(np.uint8) * 255).save(tmp_path / f"mask.{suffix}")
    Image.fromarray(~CHEST_LUNGS).save(tmp_path / "mask.gif")

    assert dice(read_mask(tmp_path / f"mask.{suffix}", lung_labels=[0]), CHEST_LUNGS) > 0.99
    assert np.array_equal(read_mask(tmp_path / "mask.gif", lung_labels=[0]), CHEST_LUNGS)


@pytest.mark.parametrize("levels", [(0, 127, 255), (0, 255, 128), (0, 85, 170), (0, 60, 120), (0, 100, 255)], ids=str)
@pytest.mark.parametrize("how", ["jpg", "jpg, low quality", "smoothed png", "png"])
def test_two_lungs_of_two_values_are_both_kept_whole(tmp_path, levels, how):
    pixels = np.array(levels, np.uint8)[TWO]
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1) if how.startswith("smoothed") else pixels
    path = tmp_path / ("mask.jpg" if how.startswith("jpg") else "mask.png")
    Image.fromarray(pixels).save(path, quality=60 if "low" in how else 95)

    mask = read_mask(path)

    assert dice(mask, CHEST_LUNGS) > (0.97 if how.startswith("smoothed") else 0.985)
    for lung in (CHEST_RIGHT, CHEST_LEFT):
        assert np.count_nonzero(mask & lung) > 0.97 * np.count_nonzero(lung)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_noise_around_0_and_255_is_no_label(tmp_path, suffix):
    noise = np.random.default_rng(0).random(TWO.shape) < 0.03
    pixels = np.where(CHEST_LUNGS, np.where(noise, 254, 255), np.where(noise, 1, 0)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"mask.{suffix}")

    assert dice(read_mask(tmp_path / f"mask.{suffix}"), CHEST_LUNGS) > 0.99


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_radiograph_is_no_mask(tmp_path, suffix):
    Image.fromarray(FILM).save(tmp_path / f"film.{suffix}")

    with pytest.raises(UserError, match=rf"film\.{suffix} (is no mask|holds the values)"):
        read_mask(tmp_path / f"film.{suffix}")


def pages(path, *masks: np.ndarray, **options) -> None:
    first, *rest = (Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks)
    first.save(path, save_all=True, append_images=rest, **options)


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_two_lungs_on_two_pages_are_united(tmp_path, suffix):
    pages(tmp_path / f"mask.{suffix}", CHEST_RIGHT, CHEST_LEFT)

    assert np.array_equal(read_mask(tmp_path / f"mask.{suffix}"), CHEST_LUNGS)


def test_a_thumbnail_is_no_page_and_pages_of_two_sizes_are_refused(tmp_path):
    small = Image.fromarray(CHEST_LUNGS[::4, ::4].astype(np.uint8) * 255)
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(CHEST_LUNGS).convert("L").save(tmp_path / "thumbnail.tif", save_all=True, append_images=[small])
    pages(tmp_path / "two.tif", CHEST_RIGHT, CHEST_LEFT[::2, ::2])

    assert np.array_equal(read_mask(tmp_path / "thumbnail.tif"), CHEST_LUNGS)
    with pytest.raises(UserError, match=r"two\.tif holds pages of different sizes, 160x192 and 80x96"):
        read_mask(tmp_path / "two.tif")


@pytest.mark.parametrize(("value", "message"), [(np.nan, "no numbers"), (np.inf, "no numbers"), (-1, "below 0")])
def test_values_that_are_no_mask_are_refused(tmp_path, value, message):
    pixels = CHEST_LUNGS.astype(np.float32)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(tmp_path / "mask.tif")

    with pytest.raises(
        UserError, match=rf"mask\.tif holds values .*{message}|mask\.tif holds values that are {message}"
    ):
        read_mask(tmp_path / "mask.tif")


UPRIGHT = {  # by TIFF orientation
    5: lambda mask: mask.T,
    6: lambda mask: np.rot90(mask, -1),
    7: lambda mask: mask[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_tiff_that_is_stored_turned_is_read_upright(tmp_path, orientation, compression):
    mask = np.zeros((40, 30), bool)
    mask[5:35, 3:10] = mask[8:30, 18:27] = True
    stored = Image.fromarray(np.uint8(255) * mask)
    stored.save(tmp_path / "mask.tif", tiffinfo={274: orientation}, compression=compression)
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), UPRIGHT[orientation](mask))


def test_lungs_of_two_levels_in_a_smoothed_mask_of_fractions_are_both_found(tmp_path):
    """Half-way to the lower of the two: 0.25 of the highest value."""
    _, right, left = layouts.draw_chest(0, 96, 80)
    shares = cv2.GaussianBlur(0.5 * right + 1.0 * left, (0, 0), 1).astype(np.float32)
    path = tmp_path / "mask.tif"
    Image.fromarray(shares).save(path)
    assert dice(read_mask(path), right | left) > 0.97


def boxes(*values: int) -> np.ndarray:
    """Background and boxes of 60x40 pixels side by side, one of each value, (100, 60 a box)."""
    pixels = np.zeros((100, 60 * len(values)), np.uint8)
    for number, value in enumerate(values):
        pixels[20:80, 60 * number + 10 : 60 * number + 50] = value
    return pixels


def test_a_patch_of_nearly_the_same_grey_belongs_to_its_lung(tmp_path):
    """The most frequent of grey values within 6 % of the highest one counts, whichever is the lowest."""
    pixels = boxes(100, 250)
    pixels[30:42, 20:32] = 96  # uniform too, and 6 % of the lung
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), pixels > 0)


def test_a_third_value_is_refused_though_it_is_only_three_pixels_wide(tmp_path):
    pixels = boxes(1, 2)
    pixels[5:95, 59:62] = 3  # a trachea
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"holds the values 1, 2, 3; which of them are lung is not known"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("value", [200, 222])
def test_a_lung_of_a_lower_value_keeps_its_smoothed_edges_where_they_were(tmp_path, value):
    """Cut half-way to the lower lung, though its value is not far from the other one's."""
    smooth = cv2.GaussianBlur(boxes(value, 255), (0, 0), 4)
    Image.fromarray(smooth).save(tmp_path / "mask.png")
    row = read_mask(tmp_path / "mask.png")[50, :60]
    assert np.array_equal(np.flatnonzero(row), np.arange(10, 50))
