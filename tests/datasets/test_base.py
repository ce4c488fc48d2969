import struct

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from pyg_viglad.datasets import ImageFolder, list_images
from pyg_viglad.datasets.base import read_size
from pyg_viglad.transforms import to_image
from tests.datasets.trees.images import mask, write_images, write_mask


def move_exif_behind_the_picture(path):
    """Reorder the chunks of a PNG file; each has a length, a name, its data and a checksum."""
    content, place, chunks = path.read_bytes(), 8, {}
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        chunks[content[place + 4 : place + 8]] = content[place:end]
        place = end
    order = sorted(chunks, key=[b"IHDR", b"IDAT", b"eXIf", b"IEND"].index)
    path.write_bytes(content[:8] + b"".join(chunks[name] for name in order))


@pytest.mark.parametrize("kind", ["jpg", "png", "png behind"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_original_size_is_that_of_the_turned_image(tmp_path, orientation, kind):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 34, 3), np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    paths = [tmp_path / f"{name}.{kind[:3]}" for name in "ab"]
    for path in paths:
        Image.fromarray(pixels).save(path, exif=exif)
        if kind == "png behind":
            move_exif_behind_the_picture(path)
    height, width = ImageFolder(tmp_path).original_size(0)
    assert (height, width) == ((20, 34) if orientation < 5 else (34, 20))
    image = ImageFolder(tmp_path, image_size=(height, width))[0].img
    assert image.shape == (1, 3, height, width)
    stored = torch.from_numpy(np.array(Image.open(paths[0]))) / 255
    # At its own size an image is not resized: only turned and mirrored.
    assert torch.allclose(image.flatten().sort().values, stored.flatten().sort().values, atol=1e-6)


def test_sizes_of_files_that_cannot_be_read(tmp_path):
    write_images(tmp_path, 2)
    dataset = ImageFolder(tmp_path)
    path = dataset.paths[0]
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=rf"readable image file \(got '.*{path.name}"):
        dataset.original_size(0)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        dataset.original_size(0)


def test_images_that_are_too_small_are_named(tmp_path):
    for number in range(2):
        Image.new("RGB", (1, 1)).save(tmp_path / f"{number}.png")
    train = ImageFolder(tmp_path)
    for read in (lambda: train[0], lambda: train.images):
        with pytest.raises(ValueError, match=rf"{train.paths[0].name}' \(got 1 x 1\)"):
            read()


def test_original_mask_of_a_plain_folder_is_the_union(tmp_path):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test" / "bad", 1)
    write_mask(tmp_path / "ground_truth" / "bad" / "000.png", mask(255, 0, 5, 0, 5))
    # A mask of half the size, which a plain folder may have.
    write_mask(tmp_path / "ground_truth" / "bad" / "000" / "a.png", mask(9, 5, 10, size=(10, 17)))
    test = ImageFolder(tmp_path, "test")
    wanted = mask(1, 0, 5, 0, 5) | mask(1, 10, 20)
    assert np.array_equal(test.original_mask(0).numpy(), wanted > 0)


def test_sizes_and_masks_of_a_subset(tmp_path):
    write_images(tmp_path / "train", 2)
    folder = tmp_path / "test" / "bad"
    for height, path in zip((5, 6, 7), write_images(folder, 3), strict=True):
        Image.new("RGB", (9, height)).save(path)
        pixels = mask(255, 0, height - 4, size=(height, 9))
        write_mask(tmp_path / "ground_truth" / "bad" / f"{path.stem}_mask.png", pixels)
    part = ImageFolder(tmp_path, "test")[1:]
    assert [part.original_size(place) for place in (0, 1, -1)] == [(6, 9), (7, 9), (7, 9)]
    for place in (0, 1):
        wanted = mask(1, 0, 2 + place, size=(6 + place, 9)) > 0
        assert np.array_equal(part.original_mask(place).numpy(), wanted)


def test_links_are_followed_and_hidden_files_are_left_out(tmp_path):
    folder, other = tmp_path / "folder", tmp_path / "other"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / "b.png").mkdir()
    other.mkdir()
    for path in (
        folder / "a.png",
        folder / "._a.png",
        folder / ".ipynb_checkpoints" / "a-checkpoint.png",
        other / "z.png",
    ):
        Image.new("RGB", (8, 8)).save(path)
    (folder / "link").symlink_to(other)
    (other / "back").symlink_to(folder)  # round in circles
    names = [path.relative_to(folder).as_posix() for path in list_images(folder)]
    assert names == ["a.png", "link/z.png"]
    assert [path.name for path in list_images(folder, recursive=False)] == ["a.png"]


def test_damaged_exif_data_do_not_stop_a_picture(tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(pixels).save(tmp_path / "plain.jpg", quality=95)
    stored = torch.from_numpy(np.array(Image.open(tmp_path / "plain.jpg"))).permute(2, 0, 1) / 255
    # Little-endian TIFF: tag 0x153 (sample format) as a rational 0/1, and orientation 6.
    tags = struct.pack("<HHII", 0x112, 3, 1, 6) + struct.pack("<HHII", 0x153, 5, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<III", 0, 0, 1)
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    (tmp_path / "rubbish").mkdir()
    Image.fromarray(pixels).save(
        tmp_path / "rubbish" / "a.jpg", quality=95, exif=b"Exif\0\0II*\0" + b"\xff" * 40
    )
    turned = to_image(tmp_path / "turned.jpg")
    assert torch.allclose(turned, stored.rot90(-1, (1, 2)), atol=1e-6)
    assert read_size(tmp_path / "turned.jpg") == (6, 4)
    assert torch.allclose(to_image(tmp_path / "rubbish" / "a.jpg"), stored, atol=1e-6)
    assert read_size(tmp_path / "rubbish" / "a.jpg") == (4, 6)


def test_hidden_folders_are_left_out(tmp_path):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test" / "good", 1)
    write_images(tmp_path / "test" / ".checkpoints", 1)
    assert ImageFolder(tmp_path, "test").names == ["test/good/000.png"]


def test_repr(tmp_path):
    write_images(tmp_path, 10)
    text = repr(ImageFolder(tmp_path, "val", 32))
    assert text == f"ImageFolder(2, root='{tmp_path}', split='val', image_size=(32, 32))"


def test_list_images(tmp_path, monkeypatch):
    (first,) = write_images(tmp_path / "b", 1)
    (second,) = write_images(tmp_path, 1, ".JPG")
    for hidden in (tmp_path / ".cache" / "0.png", tmp_path / "b" / "._0.png", tmp_path / "b.txt"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.touch()
    assert list_images(tmp_path) == [second, first]
    assert list_images(tmp_path, recursive=False) == [second]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list_images("~/b") == [first]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"images in '.*empty'"):
        list_images(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_images(tmp_path / "nowhere")
