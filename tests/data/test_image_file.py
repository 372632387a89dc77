import os
import struct

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from cadformer_d2.data.image_file import decode_image, read_image, read_image_size


def test_an_image_is_read_in_either_order_of_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "RGB"), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "BGR"), pixels[..., ::-1])
    assert read_image_size(tmp_path / "a.png") == (5, 7)


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "a.png"), (np.float32, "a.tif")])
def test_values_of_more_than_8_bits_are_refused_and_not_cut(tmp_path, dtype, name):
    Image.fromarray(np.full((4, 4), 300, dtype)).save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image: .* 8 bits"):
        read_image(tmp_path / name, "RGB")


def test_colours_of_16_bits_are_refused_and_not_darkened(tmp_path):
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), 300, np.uint16))
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
            read_image(tmp_path / name, "RGB")


BROKEN = {
    "no image": b"not an image",
    "cut off": None,
    "a broken header": b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDX",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_is_named(tmp_path, kind):
    path = tmp_path / "a.png"
    if BROKEN[kind] is None:
        noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_bytes(BROKEN[kind])
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image"):
        read_image(path, "RGB")


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image_size, lambda path: read_image(path, "RGB")):
        with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: not a regular"):
            read(tmp_path / "a.png")


def test_an_image_of_too_many_pixels_and_a_missing_one_are_named(tmp_path, monkeypatch):
    Image.new("L", (50, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (read_image_size, lambda path: read_image(path, "RGB")):
        with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: .* pixels"):
            read(tmp_path / "a.png")
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            read(tmp_path / "gone.png")


def upright(pixels, orientation):
    """What a viewer shows of an image stored with an Orientation, by the definition of EXIF."""
    turned = pixels if orientation < 5 else pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return turned[rows, columns]


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_path_a_pillow_image_and_a_size_are_turned_as_exif_says(tmp_path, ending, orientation):
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    image, path = Image.fromarray(pixels), tmp_path / f"a.{ending}"
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    shown = upright(pixels, orientation)
    np.testing.assert_array_equal(read_image(path, "RGB"), shown)
    assert read_image_size(path) == shown.shape[:2]
    with Image.open(path) as opened:
        np.testing.assert_array_equal(decode_image(opened, "BGR"), shown[..., ::-1])


def test_damaged_exif_data_do_not_matter(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert read_image(tmp_path / "a.jpg", "RGB").shape == (5, 7, 3)
    assert read_image_size(tmp_path / "a.jpg") == (5, 7)


@pytest.mark.parametrize(
    "error", [RuntimeError("Failed to decode frame 0"), struct.error("unpack"), KeyError(3)]
)
def test_whatever_pillow_raises_on_a_file_is_named(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image"):
        read_image(tmp_path / "a.png", "RGB")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_colours_of_any_mode_are_three_of_8_bits(mode):
    red = Image.new("RGB", (7, 5), (255, 0, 0))
    pixels = decode_image(red.convert(mode), "RGB")
    assert pixels.shape == (5, 7, 3) and pixels.dtype == np.uint8
    wanted = [255, 0, 0] if mode not in ("1", "L", "LA") else pixels[0, 0, :1].repeat(3)
    np.testing.assert_allclose(pixels[0, 0], wanted, atol=2)


def test_a_pillow_image_that_is_cut_off_is_an_error_like_a_path(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with Image.open(path) as image, pytest.raises(ValueError, match=r"a\.png cannot be read"):
        decode_image(image, "RGB")
