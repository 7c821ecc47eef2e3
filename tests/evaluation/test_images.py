"""Reading and writing pictures and arrays, against pixel values worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from vml_fast.errors import InputError
from vml_fast.evaluation import images


def _value(level: int, top: int = 255) -> float:
    return 2.0 * level / top - 1.0


def _save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def test_rgb_png_round_trips_every_level(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    array = np.stack([levels, levels.T, 255 - levels], axis=-1)
    picture = images.read_picture(_save(tmp_path / "x.png", array))
    expected = torch.from_numpy(array.astype(np.float64)).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(picture.pixels.double(), expected, atol=1e-7, rtol=0)
    images.write_picture(tmp_path / "y.png", picture.pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "y.png")), array)


def test_rounding_std_is_that_of_a_uniform_error():
    assert images.rounding_std(255) == pytest.approx(1 / (127.5 * 12**0.5))
    values = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rounded = images.to_uint8(values.reshape(1, 1, -1)).flatten().float() / 127.5 - 1
    assert float((rounded - values).std()) == pytest.approx(images.rounding_std(255), rel=0.01)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA"])
def test_every_mode_gives_the_same_gray(tmp_path, mode):
    """A uniformly white and a black half survive any mode; all are opaque."""
    array = np.zeros((4, 6), np.uint8)
    array[:, 3:] = 255
    suffix = ".jpg" if mode == "CMYK" else ".png"
    path = tmp_path / f"x{suffix}"
    Image.fromarray(array).convert("RGB").convert(mode).save(path)
    pixels = images.read_picture(path).pixels
    assert pixels.shape == (3, 4, 6)
    tolerance = 0.1 if mode == "CMYK" else 1e-6  # JPEG loses a little
    expected = torch.from_numpy(array / 127.5 - 1.0).float().expand(3, -1, -1)
    torch.testing.assert_close(pixels, expected, atol=tolerance, rtol=0)


def test_transparency_is_composited_on_white(tmp_path):
    array = np.zeros((1, 3, 4), np.uint8)  # black, with alpha 0, 128, 255
    array[0, :, 3] = 0, 128, 255
    pixels = images.read_picture(_save(tmp_path / "x.png", array)).pixels
    expected = [1.0, _value(127), -1.0]
    torch.testing.assert_close(pixels[0, 0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_palette_with_a_transparent_entry_is_composited_on_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "x.png", transparency=0)
    pixels = images.read_picture(tmp_path / "x.png").pixels
    assert pixels[:, 0, 0].tolist() == [1.0, 1.0, 1.0]
    expected = torch.tensor([_value(40), _value(50), _value(60)])
    torch.testing.assert_close(pixels[:, 0, 1], expected, atol=1e-6, rtol=0)


def test_gray_16_bit_keeps_its_bits(tmp_path):
    levels = np.array([[0, 1, 257, 65535]], np.uint16)
    picture = images.read_picture(_save(tmp_path / "x.png", levels))
    expected = torch.tensor([_value(int(level), 65535) for level in levels[0]])
    torch.testing.assert_close(picture.pixels[1, 0], expected, atol=1e-7, rtol=0)
    assert picture.rounding_std == pytest.approx(2 / 65535 / 12**0.5)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    array = np.array([[0, 60], [120, 180], [240, 255]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(tmp_path / "x.png", exif=exif)
    pixels = images.read_picture(tmp_path / "x.png").pixels
    assert np.array_equal(images.to_uint8(pixels)[0].numpy(), turned(array))


def test_content_decides_and_not_the_suffix(tmp_path):
    _save(tmp_path / "x.png", np.full((8, 8), 200, np.uint8), format="WEBP", lossless=True)
    assert images.to_uint8(images.read_picture(tmp_path / "x.png").pixels).unique().tolist() == [
        200
    ]


def test_a_photograph_with_a_preview_is_its_first_frame(tmp_path):
    photograph, preview = (Image.new("L", (8, 8), level) for level in (200, 50))
    path = tmp_path / "x.jpg"
    photograph.save(path, format="MPO", save_all=True, append_images=[preview])
    level = images.to_uint8(images.read_picture(path).pixels).float().mean()
    assert float(level) == pytest.approx(200, abs=2)


def test_writing_clips_and_rounds(tmp_path):
    values = torch.tensor([-3.0, -1.0, _value(7) + 0.003, 1.0, 1.5]).reshape(1, 1, 5)
    images.write_picture(tmp_path / "x.png", values)
    written = Image.open(tmp_path / "x.png")
    assert written.mode == "L"
    assert np.asarray(written)[0].tolist() == [0, 0, 7, 255, 255]


def test_no_temporary_file_is_left(tmp_path):
    images.write_picture(tmp_path / "x.png", torch.zeros(3, 2, 2))
    with pytest.raises(InputError, match="cannot write"):
        images.write_picture(tmp_path / "no" / "x.png", torch.zeros(3, 2, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def _png(width: int, height: int, data: bytes) -> bytes:
    """A PNG of the size its header claims, with the given (gray) pixel data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _truncated_png() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()[:1500]


def _animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read as a PNG, JPEG or WebP picture"),
        (b"not a picture", "cannot be read as a PNG"),
        (_truncated_png(), "truncated"),
        (_png(9000, 9000, b""), "9000×9000 pixels"),
        (_png(100_000, 100_000, b""), "10,000,000,000 pixels, more than the 50,000,000 pixels"),
        (_png(0, 0, b""), "cannot be read as a"),
        (_animated(), "animated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "cannot be read as a PNG"),
    ],
    ids=["empty", "text", "truncated", "huge", "bomb", "no-size", "animated", "postscript"],
)
def test_broken_pictures_are_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        images.read_picture(path)
    message = str(caught.value)
    assert sentence in message
    assert str(path) in message
    assert "\n" not in message


def test_arrays_round_trip(tmp_path):
    values = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    images.write_array(tmp_path / "x.npy", values)
    assert torch.equal(images.read_array(tmp_path / "x.npy"), values)


def test_float64_and_big_endian_arrays_become_float32(tmp_path):
    np.save(tmp_path / "x.npy", np.array([0.5, -0.25], dtype=">f8"))
    read = images.read_array(tmp_path / "x.npy")
    assert read.dtype == torch.float32
    assert read.tolist() == [0.5, -0.25]


class _Trap:
    """Calls the fatal function when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def _array_bytes(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def _promising_header() -> bytes:
    """A header of 4 TB with no data behind it."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**20)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a readable .npy array"),
        (b"\x93NUMPY garbage", "not a readable .npy array"),
        (_array_bytes(np.zeros(100))[:300], "not a readable .npy array"),
        (_promising_header(), "not a readable .npy array"),
        (_array_bytes(np.array([_Trap()], object), allow_pickle=True), "pickled objects"),
        (_archive(), "archive"),
        (_array_bytes(np.zeros((2, 2), np.uint8)), "uint8"),
        (_array_bytes(np.zeros((2, 2), np.complex64)), "complex64"),
        (_array_bytes(np.zeros((0, 2))), "holds 0 numbers"),
        (_array_bytes(np.array([1.0, np.nan])), "NaN"),
        (_array_bytes(np.array([1.0, np.inf])), "NaN or infinity"),
        (_array_bytes(np.array([1.0, -1e300])), "holds the value 1e+300, beyond the range"),
    ],
    ids=["empty", "garbage", "truncated", "terabytes", "pickled", "npz", "uint8", "complex",
         "no-numbers", "nan", "infinity", "too-large"],
)  # fmt: skip
def test_broken_arrays_are_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        images.read_array(path)
    message = str(caught.value)
    assert sentence in message
    assert str(path) in message
    assert "\n" not in message


def test_fit_keeps_constants_and_takes_the_center():
    wide = torch.full((3, 10, 30), -1.0)
    wide[:, :, 10:20] = 0.5
    torch.testing.assert_close(images.fit(wide, (5, 5)), torch.full((3, 5, 5), 0.5))


def test_no_hidden_value_leaks_into_a_known_pixel():
    """Whatever stands under the mask, the known pixels of the fitted picture are the same."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 13, 17, generator=generator)
    missing = torch.rand(1, 13, 17, generator=generator) < 0.2
    size = (5, 6)
    hidden = images.fit_mask(missing, size)
    assert 0 < int(hidden.sum()) < hidden.numel()
    known = images.fit_cells(pixels, size) * ~hidden
    other = torch.where(missing, torch.full_like(pixels, 100.0), pixels)
    torch.testing.assert_close(images.fit_cells(other, size) * ~hidden, known)


def test_mask_is_true_where_white(tmp_path):
    array = np.array([[0, 127, 128, 255]], np.uint8)
    mask = images.read_mask(_save(tmp_path / "m.png", array))
    assert mask.tolist() == [[[False, False, True, True]]]
