import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import EpsImagePlugin, Image
from torch_geometric.data import Batch, Data

from pyg_viglad.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageNetNormalization,
    to_batch,
    to_image,
)

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
GRAY16 = (np.arange(24, dtype=np.uint16).reshape(4, 6) * 2800).astype(np.uint16)


def scaled(array, scale=255):
    """The expected tensor of an array [H, W] or [H, W, 3]."""
    tensor = torch.from_numpy(array.astype(np.float64) / scale).float()
    return tensor.expand(3, -1, -1) if tensor.dim() == 2 else tensor.permute(2, 0, 1)


def check(value, expected):
    image = to_image(value)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.shape == expected.shape
    assert torch.allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (RGB, scaled(RGB)),
        (RGB[..., 0], scaled(RGB[..., 0])),
        (RGB[..., :1], scaled(RGB[..., 0])),
        (RGB[:, ::-1], scaled(RGB[:, ::-1].copy())),
        (RGB[::2, 1:], scaled(RGB[::2, 1:])),
        (GRAY16, scaled(GRAY16, 65535)),
        (GRAY16.astype(">u2"), scaled(GRAY16, 65535)),
        (RGB > 100, scaled(RGB > 100, 1)),
        (RGB / 255, scaled(RGB)),
        (RGB.astype(np.float16) / 255, scaled(RGB.astype(np.float16) / 255, 1)),
    ],
)
def test_arrays(value, expected):
    check(value, expected)


def test_data_with_an_image():
    check(Data(img=torch.from_numpy(RGB).permute(2, 0, 1)[None], num_nodes=0), scaled(RGB))
    with pytest.raises(ValueError, match=r"with 'img' \(got the fields \['x'\]\)"):
        to_image(Data(x=torch.zeros(2, 3)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 4, 6), (4, 6), (1, 3, 4, 6)])
def test_tensors(dtype, shape):
    scale = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    values = torch.randint(0, scale + 1, shape).to(dtype)
    expected = (values.double() / scale).float()
    expected = expected[0] if len(shape) == 4 else expected
    check(values, expected.expand(3, 4, 6))


def test_float_tensor_keeps_its_gradient_and_value():
    image = torch.rand(3, 4, 6, requires_grad=True)
    assert torch.equal(to_image(image), image)
    assert to_image(image).requires_grad


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr", "HSV"])
def test_pil_colour_modes(mode):
    image = Image.fromarray(np.full((4, 6, 3), (200, 40, 90), np.uint8)).convert(mode)
    expected = scaled(np.full((4, 6, 3), (200, 40, 90), np.uint8))
    assert torch.allclose(to_image(image), expected, atol=0.03)


def test_pil_gray_modes():
    gray = Image.fromarray(RGB[..., 0].copy())
    check(gray, scaled(RGB[..., 0]))
    check(gray.point(lambda v: 255 * (v > 100)).convert("1"), scaled(RGB[..., 0] > 100, 1))
    check(Image.fromarray(RGB[..., 0] / np.float32(255)), scaled(RGB[..., 0]))
    check(Image.fromarray(GRAY16), scaled(GRAY16, 65535))
    check(Image.fromarray(GRAY16.astype(np.int32)), scaled(GRAY16, 65535))


def test_palette():
    image = Image.fromarray(RGB).quantize(24)
    check(image, scaled(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("background", [(0.0, 0.0, 0.0), (1.0, 0.5, 0.0)])
def test_alpha_is_composited_on_the_background(background):
    alpha = np.array([[0, 255, 51]], np.uint8)
    rgba = np.dstack([np.full((1, 3, 3), (255, 102, 0), np.uint8), alpha])
    share = torch.tensor([0.0, 1.0, 0.2])
    color = torch.tensor([1.0, 0.4, 0.0])[:, None]
    expected = share * color + (1 - share) * torch.tensor(background)[:, None]
    for value in (rgba, Image.fromarray(rgba), torch.from_numpy(rgba).permute(2, 0, 1)):
        assert torch.allclose(to_image(value, background)[:, 0], expected, atol=1e-6)
    gray = Image.fromarray(rgba).convert("LA")
    assert to_image(gray, background)[:, 0, 0].tolist() == list(background)


def test_transparent_palette(tmp_path):
    path = tmp_path / "palette.png"
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 255, 255, 255, 0, 0])
    image.save(path, transparency=0)
    assert to_image(path)[:, 0].tolist() == [[0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("name", ["gray16.png", "gray16.tif"])
def test_16_bit_files_keep_their_values(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(GRAY16).save(path)
    check(path, scaled(GRAY16, 65535))
    assert to_image(path)[0].unique().numel() == 24


def test_paths(tmp_path):
    path = tmp_path / "color.png"
    Image.fromarray(RGB).save(path)
    check(path, scaled(RGB))
    check(str(path), scaled(RGB))


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_exif_orientation(tmp_path, orientation):
    path = tmp_path / "photo.png"
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, exif=exif)
    turned = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        6: np.rot90(RGB, -1),
        8: np.rot90(RGB),
    }[orientation]
    check(path, scaled(np.ascontiguousarray(turned)))
    with Image.open(path) as opened:
        check(opened, scaled(np.ascontiguousarray(turned)))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        to_image(tmp_path / "nothing.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_file(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=f"cut{suffix}"):
        to_image(path)


@pytest.mark.parametrize("name", [b"tEXt", b"eXIf", b"iCCP", b"bKGD", b"prVt", b"tRNS", b"IDAT"])
def test_checksums_of_png(tmp_path, name):
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    content = path.read_bytes()
    damaged = struct.pack(">I", 9) + name + bytes(9) + b"\1\2\3\4"
    path.write_bytes(content[:33] + damaged + content[33:])
    if name in (b"tRNS", b"IDAT"):  # what the picture depends on
        with pytest.raises(ValueError, match=rf"photo\.png': damaged chunk b'{name.decode()}'"):
            to_image(path)
    else:
        check(path, scaled(RGB))


def test_overwritten_pixels_of_png(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "zeros.png"
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[-900:-700] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged chunk b'IDAT'"):
        to_image(path)


def test_errors_of_any_type_name_the_file(tmp_path, monkeypatch):
    path = tmp_path / "photo.webp"
    path.write_bytes(b"RIFF")
    for error in (RuntimeError("no plane"), struct.error("3 bytes"), MemoryError()):
        monkeypatch.setattr(Image, "open", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(ValueError, match=rf"photo\.webp': {str(error) or 'MemoryError'}\)"):
            to_image(path)


def test_eps_runs_no_ghostscript(tmp_path, monkeypatch):
    path = tmp_path / "drawing.png"
    Image.fromarray(RGB).save(path, "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("was run"))
    with pytest.raises(ValueError, match=r"drawing\.png': EPS holds no pixels"):
        to_image(path)


def test_one_transparent_value_of_16_bits(tmp_path):
    path = tmp_path / "clear.png"
    Image.fromarray(np.array([[500, 600]], np.uint16)).save(path, transparency=500)
    assert torch.allclose(to_image(path, (1.0, 0.5, 0.0))[:, 0, 0], torch.tensor([1, 0.5, 0.0]))
    assert torch.allclose(to_image(path)[:, 0, 1], torch.full((3,), 600 / 65535))


def test_premultiplied_gray():
    image = Image.fromarray(RGB).convert("LA").convert("La")
    assert torch.equal(to_image(image), to_image(Image.fromarray(RGB).convert("L")))


def test_other_files(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png"):
        to_image(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"text\.png"):
        to_image(path)
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png", Path(os.devnull)):
        with pytest.raises(ValueError, match=r"readable image file .*which is not a file"):
            to_image(path)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "got NoneType"),
        ([[0, 1]], "got list"),
        (np.zeros(5), r"got \[5\]"),
        (np.zeros((4, 6, 5)), "channels"),
        (np.zeros((4, 6), np.int64), "got torch.int64"),
        (np.zeros((4, 6), complex), "got complex128"),
        (np.full((4, 6), 200.0), r"\[0, 1\] \(got 200 to 200\)"),
        (torch.full((3, 4, 6), -0.5), "got -0.5"),
        (torch.full((3, 4, 6), torch.nan), "got nan"),
        (torch.zeros(2, 3, 4, 6), r"got the shape \[2, 3, 4, 6\]"),
        (torch.zeros(4, 6, 3, dtype=torch.uint8)[..., :0], "channels"),
        (torch.zeros(3, 0, 6), "channels"),
        (Image.fromarray(np.full((4, 6), 70000, np.int32)), "got 70000"),
    ],
)
def test_bad_input(value, match):
    with pytest.raises(ValueError, match=match):
        to_image(value)


def test_batches_of_tensors_and_graphs():
    images = torch.rand(2, 3, 8, 12)
    assert to_batch(images) is images
    batch = Batch.from_data_list([Data(img=image[None], num_nodes=0) for image in images])
    assert torch.equal(to_batch(batch), images)
    expected = F.interpolate(images, (4, 6), mode="bilinear", antialias=True)
    assert torch.equal(to_batch(batch, (4, 6)), expected)
    assert torch.equal(to_batch(images - 5, normalized=True), images - 5)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.rand(3, 8, 12), r"\[B, 3, H, W\] \(got \[3, 8, 12\]\)"),
        (torch.rand(2, 4, 8, 12), r"\[B, 3, H, W\] \(got \[2, 4, 8, 12\]\)"),
        (None, "got NoneType"),
        (Data(x=torch.rand(2, 3)), r"'img' \(got the fields \['x'\]\)"),
        (torch.zeros(1, 3, 8, 12, dtype=torch.uint8), "floating-point"),
        (torch.full((1, 3, 8, 12), torch.nan), "got nan"),
        (torch.full((1, 3, 8, 12), 2.0), "got 2 to 2"),
        (torch.rand(1, 3, 8, 3), "4 x 4 pixels"),
    ],
)
def test_bad_batches(images, match):
    with pytest.raises(ValueError, match=match):
        to_batch(images)


def test_imagenet_normalization():
    images = torch.rand(2, 3, 4, 4)
    expected = (images - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    assert torch.allclose(ImageNetNormalization()(images), expected)
    half = ImageNetNormalization().half()(images.half())
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), expected, atol=4e-3)
    resized = to_batch(images.bfloat16(), (8, 8))
    assert resized.dtype == torch.bfloat16
    assert torch.allclose(resized.float(), to_batch(images, (8, 8)), atol=1e-2)
