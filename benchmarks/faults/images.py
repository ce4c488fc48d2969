"""Image files as cameras, programs and broken disks leave them: a picture, or one clear line.

What a file should give is computed by hand from what was written into it, not by Pillow. Every kind is made
as often as ``repeats``, each time from another seed. JPEG, BMP, TIFF, GIF and WebP have no checksums of
pixels, so that nobody can tell a damaged picture: of these files only that they are read or refused.
"""

import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from benchmarks.faults import Outcome
from pyg_viglad.transforms import to_image

__all__ = ["KINDS", "check"]

# A picture [H, W, 3] in [0, 1], whether the file may be refused, and by how much it may differ.
Wanted = tuple[np.ndarray | None, bool, float]
Kind = Callable[[np.random.Generator, Path, int], Wanted]
KINDS: dict[str, Kind] = {}

LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_deflate"}),
    ("WEBP", {"lossless": True, "exact": True}),
    ("PPM", {}),
]
REFUSED: Wanted = (None, True, 0)


def check(repeats: int = 10) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged metadata and of many pixels
        for name, make in KINDS.items():
            found = []
            for number in range(repeats):
                path = Path(folder) / f"{number}.png"
                wanted = make(np.random.default_rng([len(name), number]), path, number)
                found.append(judge(path, wanted))
            wrong = sorted({text for text in found if text not in ("read", "refused")})
            counts = [f"{found.count(text)} {text}" for text in ("read", "refused", *wrong)]
            counts = [text for text in counts if text[0] != "0"]
            yield Outcome(name, repeats, ", ".join(counts), sum(text in wrong for text in found))


def judge(path: Path, wanted: Wanted) -> str:
    """Returns "read" or "refused" if a file gives what it should, or else what is wrong."""
    picture, may_fail, tolerance = wanted
    start = time.monotonic()
    try:
        found = to_image(path).permute(1, 2, 0).numpy()
    except ValueError as error:
        reason = str(error).replace(str(path), "it")
        if len(reason.splitlines()) != 1 or reason == str(error):
            return f"unclear: {reason}"
        return "refused" if may_fail else f"not read: {reason}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if time.monotonic() - start > 10:
        return "took more than 10 seconds"
    if picture is None:
        return "not refused"
    if tolerance == np.inf:  # whatever a file without checksums holds
        return "read"
    if found.shape != picture.shape or np.abs(found - picture).max() > tolerance + 1e-6:
        return "another picture"
    return "read"


def kind(name: str) -> Callable[[Kind], Kind]:
    """Adds a kind of file to the table."""

    def add(make: Kind) -> Kind:
        KINDS[name] = make
        return make

    return add


def draw(rng: np.random.Generator, colors: int = 256) -> np.ndarray:
    """Returns a picture ``[H, W, 3]`` of three overlapping rectangles and some noise."""
    height, width = rng.integers(8, 40, 2)
    picture = np.zeros((height, width, 3), dtype=np.int64)
    for _ in range(3):
        top, left = rng.integers(0, height), rng.integers(0, width)
        picture[top:, left:] = rng.integers(0, colors, 3)
    noise = rng.integers(-2, 3, picture.shape)
    return (picture + noise).clip(0, colors - 1).astype(np.uint8 if colors <= 256 else np.uint16)


def save(image: Image.Image, path: Path, number: int = 0, form: str = "", **options: Any) -> None:
    """Writes an image, whatever the ending, in a given format or one of the lossless ones."""
    name, more = (form, {}) if form else LOSSLESS[number % len(LOSSLESS)]
    image.save(path, name, **more, **options)


@kind("lossless files with the ending of PNG")
def _formats(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path, number)
    return picture / 255, False, 0


@kind("JPEG of any quality, under any name")
def _jpeg(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    picture[:] = picture[0, 0]  # one colour, which compression keeps
    options = {"quality": 60 + number % 40, "progressive": bool(number % 2)}
    save(Image.fromarray(picture), path, form="JPEG", **options)
    return picture / 255, False, 8 / 255


@kind("gray of 1, 8 and 16 bits")
def _gray(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    bits = (1, 8, 16)[number % 3]
    gray = draw(rng, 2**bits)[..., 0]
    image = Image.fromarray(gray.astype(bool) if bits == 1 else gray)
    save(image, path, form=("PNG", "TIFF")[number % 2])
    return np.dstack([gray / (2**bits - 1)] * 3), False, 0


@kind("gray of 32 bits, integers and floats")
def _deep(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    gray = draw(rng, 2**16)[..., 0].astype((np.int32, np.float32)[number % 2])
    unit = gray / 65535
    if number % 4 > 1:  # of an unknown range
        gray[0, 0] = 70000
        unit = gray
    save(Image.fromarray(unit.astype(np.float32) if number % 2 else gray), path, form="TIFF")
    return REFUSED if number % 4 > 1 else (np.dstack([unit] * 3), False, 0)


@kind("palettes, with and without transparency")
def _palette(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    table = rng.integers(0, 256, (16, 3))
    index = draw(rng, 16)[..., 0]
    image = Image.fromarray(index)
    image.putpalette(table.astype(np.uint8).tobytes())
    alpha = np.full(16, 255)
    options: dict[str, Any] = {}
    if number % 3 == 1:
        alpha[3], options = 0, {"transparency": 3}
    elif number % 3 == 2:
        alpha = rng.integers(0, 256, 16)
        options = {"transparency": alpha.astype(np.uint8).tobytes()}
    save(image, path, form="GIF" if number % 3 == 1 else "PNG", **options)
    return (table * alpha[:, None] / 255**2)[index], False, 0


@kind("alpha, and one transparent colour")
def _alpha(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    opaque = rng.integers(0, 256, picture.shape[:2]).astype(np.uint8)
    if number % 4 == 0:
        save(Image.fromarray(np.dstack([picture, opaque])), path, (0, 2, 5)[number // 4 % 3])
        return picture * (opaque[..., None] / 255**2), False, 0
    if number % 4 == 1:
        save(Image.fromarray(np.dstack([picture[..., 0], opaque]), mode="LA"), path)
        return np.dstack([picture[..., 0] * (opaque / 255**2)] * 3), False, 0
    if number % 4 == 2:
        clear = (picture == picture[-1, -1]).all(axis=2)
        save(Image.fromarray(picture), path, transparency=tuple(picture[-1, -1].tolist()))
        return picture * ~clear[..., None] / 255, False, 0
    gray = draw(rng, 2**16)[..., 0]
    save(Image.fromarray(gray), path, transparency=int(gray[-1, -1]))
    return np.dstack([gray * (gray != gray[-1, -1]) / 65535] * 3), False, 0


@kind("CMYK and YCbCr")
def _inks(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    height, width = picture.shape[:2]
    if number % 2:
        black = rng.integers(0, 256, (height, width)).astype(np.uint8)
        inks = np.dstack([picture, black])
        save(Image.frombytes("CMYK", (width, height), inks.tobytes()), path, form="TIFF")
        return (255.0 - picture) * (255.0 - black[..., None]) / 255**2, False, 1 / 255
    save(Image.frombytes("YCbCr", (width, height), picture.tobytes()), path, form="TIFF")
    y, cb, cr = np.moveaxis(picture.astype(float), 2, 0) - np.array([0, 128, 128])[:, None, None]
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = y - 0.344136 * cb - 0.714136 * cr
    return np.dstack([red, green, blue]).clip(0, 255) / 255, False, 2 / 255


@kind("LAB")
def _lab(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    image = Image.fromarray(draw(rng) // 2 + 90)  # near black one step of L would be many of red
    lab = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    save(lab, path, form="TIFF")
    lightness, a, b = np.moveaxis(np.asarray(lab), 2, 0)
    y = (lightness * (100 / 255) + 16) / 116
    part = np.stack([y + a.astype(np.int8) / 500, y, y - b.astype(np.int8) / 200], axis=2)
    part = np.where(part > 6 / 29, part**3, 3 * (6 / 29) ** 2 * (part - 4 / 29))
    # To linear sRGB under the white of D50, then by its gamma curve.
    matrix = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = (part * np.array([0.9642, 1.0, 0.8251]) @ np.array(matrix).T).clip(0, 1)
    picture = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return picture, False, 8 / 255


@kind("animations and TIFF of several pages: the first")
def _frames(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    form = ("GIF", "PNG", "WEBP", "TIFF")[number % 4]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    if form == "GIF":
        frames = [frame.convert("L") for frame in frames]
        picture = np.dstack([np.asarray(frames[0])] * 3)
    save(frames[0], path, form=form, save_all=True, append_images=frames[1:], **options)
    return picture / 255, False, 0


@kind("EXIF orientations from 0 to 9")
def _orientation(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    exif = Image.Exif()
    exif[0x112] = number % 10
    save(
        Image.fromarray(picture),
        path,
        form=("PNG", "TIFF", "WEBP")[number % 3],
        exif=exif,
        **({"lossless": True} if number % 3 == 2 else {}),
    )
    turned = {
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture),
    }
    return turned.get(number % 10, picture) / 255, False, 0


@kind("rubbish in EXIF, and damaged texts and profiles")
def _metadata(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    rubbish = b"Exif\0\0II*\0\x08\0\0\0" + rng.bytes(60)
    form = ("PNG", "WEBP")[number % 2]
    options = {"lossless": True} if form == "WEBP" else {}
    save(Image.fromarray(picture), path, form=form, exif=rubbish, **options)
    if form == "PNG":
        content = path.read_bytes()
        damaged = chunk((b"tEXt", b"zTXt", b"iCCP", b"eXIf")[number // 2 % 4], rng.bytes(30))
        damaged = damaged[:-4] + rng.bytes(4)
        path.write_bytes(content[:33] + damaged + content[33:])
    return picture / 255, False, 0


@kind("sides of 1 to 3 pixels, the other up to 5,000")
def _sides(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    shape = [int(rng.integers(1, 4)), int(rng.integers(1, 5001))]
    picture = rng.integers(0, 256, (*shape[:: 1 - 2 * (number % 2)], 3)).astype(np.uint8)
    save(Image.fromarray(picture), path, number)
    return picture / 255, False, 0


@kind("headers that claim billions of pixels")
def _bomb(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    side = int(rng.integers(50_000, 2**31 - 1))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    if number % 2:
        content = b"P6\n%d %d\n255\n" % (side, side) + bytes(1000)
    path.write_bytes(content + chunk(b"IEND", b""))
    return REFUSED


@kind("files cut off")
def _truncated(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path, number, form="JPEG" if number % 4 == 3 else "")
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(0, len(content) - 20))])
    return (None if number % 4 == 3 else picture / 255), True, 0


@kind("PNG with flipped bits")
def _flipped_png(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path)
    damage(rng, path, 0)
    return picture / 255, True, 0


@kind("PNG with bytes overwritten, lost or inserted")
def _damaged_png(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path)
    damage(rng, path, 1 + number % 3)
    return picture / 255, True, 0


@kind("JPEG, damaged in the same ways")
def _damaged_jpeg(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path, form="JPEG", progressive=bool(number % 2))
    damage(rng, path, number % 4)
    return picture / 255, True, np.inf


@kind("other formats, damaged in the same ways")
def _damaged(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    form = ("GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")[number % 7]
    save(Image.fromarray(picture), path, form=form)
    damage(rng, path, number % 4)
    return picture / 255, True, np.inf


@kind("bytes after the end")
def _appended(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    picture = draw(rng)
    save(Image.fromarray(picture), path, number)
    path.write_bytes(path.read_bytes() + rng.bytes(100))
    return picture / 255, False, 0


@kind("no pictures: empty, text, programs, EPS")
def _others(rng: np.random.Generator, path: Path, number: int) -> Wanted:
    drawing = BytesIO()
    Image.fromarray(draw(rng)).save(drawing, "EPS")
    contents = (b"", b"no image\n", b"\x7fELF" + rng.bytes(99), b"PK\3\4" + rng.bytes(99))
    path.write_bytes((*contents, drawing.getvalue(), b"\x89PNG\r\n\x1a\n")[number % 6])
    return REFUSED


def chunk(name: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG, its checksum at the end."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def damage(rng: np.random.Generator, path: Path, way: int) -> None:
    """Flips up to five bits, or overwrites, removes or inserts up to forty bytes."""
    content = bytearray(path.read_bytes())
    place, length = int(rng.integers(0, len(content))), int(rng.integers(1, 41))
    if way == 0:
        for bit in rng.integers(0, 8 * len(content), rng.integers(1, 6)):
            content[bit // 8] ^= 1 << bit % 8
    elif way == 1:
        content[place : place + length] = rng.bytes(len(content[place : place + length]))
    elif way == 2:
        del content[place : place + length]
    else:
        content[place:place] = rng.bytes(length)
    path.write_bytes(bytes(content))
