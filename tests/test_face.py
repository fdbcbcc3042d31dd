"""What Python users hand in: every form of image and file, and one named error for the rest."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dictco_lib
from dictco_lib.coding import decode_image, read_header, to_latent
from dictco_lib.errors import BitstreamError, DictcoError, ImageError, OptionError, QualityError


@pytest.fixture(scope="module")
def small(photo):
    return np.ascontiguousarray(photo[:30, :40])


@pytest.fixture(scope="module")
def encoded(nano, small):
    return dictco_lib.encode(nano, small, 50)


@pytest.fixture
def png(small, tmp_path):
    path = tmp_path / "small.png"
    Image.fromarray(small).save(path)
    return path


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


class Pipe:
    """An open file that only reads on."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read(self, *args):
        return self.data.read(*args)


def test_every_form_of_a_image_gives_the_same_file(nano, small, png, encoded):
    data = png.read_bytes()
    tensor = torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)
    with png.open("rb") as file:
        forms = [
            str(png), png, PathLike(png), Image.open(png), Image.fromarray(small), small,
            np.asfortranarray(small), tensor, tensor[None], tensor.double(),
            tensor.clone().requires_grad_(), data, bytearray(data), memoryview(data),
            io.BytesIO(data), Pipe(data), file,
        ]  # fmt: skip
        for form in forms:
            assert dictco_lib.encode(nano, form, 50).data == encoded.data, type(form)


def test_every_form_of_a_file_gives_the_same_image(nano, encoded, tmp_path):
    data = encoded.data
    path = tmp_path / "small.dco"
    path.write_bytes(data)
    want = np.asarray(dictco_lib.decode(nano, data))
    behind = io.BytesIO(b"before it" + data)
    behind.seek(9)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        forms = [
            encoded, bytearray(data), memoryview(data), str(path), path, PathLike(path),
            io.BytesIO(data), Pipe(data), file, raw, behind,
        ]  # fmt: skip
        for form in forms:
            start = form.tell() if hasattr(form, "tell") else None
            assert np.array_equal(dictco_lib.decode(nano, form), want), type(form)
            if start is not None:
                form.seek(start)
            elif isinstance(form, Pipe):
                form = Pipe(data)
            part = dictco_lib.decode(nano, form, crop=(3, 4, 10, 12))
            assert np.array_equal(part, want[4:16, 3:13]), type(form)
    assert read_header(path).width == 40


NO_IMAGES = {
    "nothing": None,
    "a number": 5,
    "a list": [[1, 2], [3, 4]],
    "an object": object(),
    "an empty name": "",
    "a NUL": "a\0b.png",
    "a missing file": "no/such/image.png",
    "a folder": ".",
    "no bytes": b"",
    "bytes of no image": b"GIF89a nonsense",
    "an empty file": io.BytesIO(),
    "text": io.StringIO("text"),
    "four dimensions": np.zeros((3, 4, 5, 6)),
    "no dimensions": np.array(5),
    "floats": np.zeros((4, 4, 3)),
    "objects": np.array([[None, 1], [2, 3]]),
    "complex": np.zeros((4, 4), complex),
    "no pixels": np.zeros((0, 4, 3), np.uint8),
    "integers": torch.zeros(3, 8, 8, dtype=torch.uint8),
    "two dimensions": torch.zeros(8, 8),
    "NaN": torch.full((3, 8, 8), torch.nan),
    "beyond 1": torch.full((3, 8, 8), 255.0),
    "no data": torch.zeros(3, 8, 8, device="meta"),
    "sparse": torch.zeros(3, 8, 8).to_sparse(),
    "complex tensor": torch.zeros(3, 8, 8, dtype=torch.complex64),
    "a batch": torch.zeros(2, 3, 8, 8),
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_what_is_no_image_is_an_image_error(nano, what):
    with pytest.raises(ImageError) as caught:
        dictco_lib.encode(nano, NO_IMAGES[what])
    assert len(str(caught.value)) < 500


def closed() -> io.BytesIO:
    file = io.BytesIO(b"DCO")
    file.close()
    return file


class Failing:
    def read(self, *args):
        raise ZeroDivisionError("a file of somebody else")


NO_FILES = {
    "nothing": None,
    "a number": 5,
    "an array": np.zeros(5, np.uint8),
    "a tensor": torch.zeros(5),
    "an image": Image.new("RGB", (4, 4)),
    "an empty name": "",
    "a NUL": "a\0b.dco",
    "a missing file": "no/such.dco",
    "a path": Path("no/such.dco"),
    "a name of bytes in a path": PathLike("no/such.dco"),
    "a folder": os.curdir,
    "a device": os.devnull,
    "a long name": "x" * 5000,
    "no bytes": b"",
    "text": io.StringIO("text"),
    "closed": closed(),
    "failing": Failing(),
    "nonsense": b"nonsense",
    "an empty file": io.BytesIO(),
}


@pytest.mark.parametrize("crop", [None, (0, 0, 1, 1)])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_named(nano, what, crop):
    with pytest.raises((BitstreamError, OptionError)) as caught:
        dictco_lib.decode(nano, NO_FILES[what], crop=crop)
    assert len(str(caught.value)) < 6000


def test_a_folder_and_a_missing_file_are_called_so(nano, tmp_path):
    with pytest.raises(BitstreamError, match="is a folder"):
        dictco_lib.decode(nano, tmp_path)
    with pytest.raises(BitstreamError, match="does not exist"):
        dictco_lib.decode(nano, tmp_path / "no.dco")
    with pytest.raises(OptionError, match="NoneType|None"):
        dictco_lib.decode(nano, None)


NO_MODELS = [None, "classroom", 5, torch.nn.Linear(2, 2), dictco_lib]


@pytest.mark.parametrize("model", NO_MODELS, ids=lambda model: type(model).__name__)
def test_what_is_no_model_is_named(model, small, encoded):
    for call in (
        lambda: dictco_lib.encode(model, small),
        lambda: dictco_lib.encode_to(model, small, bpp=1),
        lambda: dictco_lib.decode(model, encoded),
        lambda: decode_image(model, encoded),
        lambda: to_latent(model, small),
    ):
        with pytest.raises(OptionError, match="expected a codec"):
            call()


@pytest.mark.parametrize(
    "quality",
    ["x", "50", float("nan"), float("inf"), 1j, True, -1, 100.01, 10**400, [50], (1, 2), {}]
    + [torch.tensor([1.0, 2.0]), np.zeros(3), torch.zeros((), device="meta"), np.bool_(True)],
    ids=repr,
)
def test_wrong_qualities_are_named(nano, small, quality):
    with pytest.raises(QualityError, match="quality"):
        dictco_lib.encode(nano, small, quality)


@pytest.mark.parametrize(
    "quality", [50, 50.0, np.float32(50), np.int8(50), torch.tensor(50), Fraction(100, 2)]
)
def test_numbers_of_any_kind_are_qualities(nano, small, encoded, quality):
    assert dictco_lib.encode(nano, small, quality).data == encoded.data


@pytest.mark.parametrize("tile", ["a", 4.0, None, True, 3, 0, -4, 10**30, 1j])
def test_wrong_tiles_are_named(nano, small, tile):
    with pytest.raises(DictcoError, match="tile"):
        dictco_lib.encode(nano, small, tile=tile)


@pytest.mark.parametrize("slices", [1.5, True, "1", -1, 99, 10**30, float("nan")])
def test_wrong_slices_are_named(nano, encoded, slices):
    with pytest.raises(DictcoError, match="slices"):
        dictco_lib.decode(nano, encoded, slices=slices)


@pytest.mark.parametrize(
    "crop",
    [5, "0,0,1,1", (), (0, 0, 1), (0, 0, 1, 1, 1), (0.0, 0, 1, 1), (True, 0, 1, 1), "abcd"]
    + [(None,) * 4, (float("nan"),) * 4, np.zeros(4), torch.ones(4, dtype=int), {}],
    ids=repr,
)
def test_wrong_crops_are_named(nano, encoded, crop):
    with pytest.raises(OptionError, match="crop"):
        dictco_lib.decode(nano, encoded, crop=crop)


def test_whole_numbers_of_numpy_are_a_crop(nano, encoded):
    part = dictco_lib.decode(nano, encoded, crop=np.array([1, 2, 3, 4]))
    assert part.size == (3, 4)


@pytest.mark.parametrize(
    "wish", [{"bpp": "x"}, {"bpp": 1j}, {"max_bytes": True}, {"min_psnr": [30]}, {"bpp": {}}]
)
def test_wrong_targets_are_named(nano, small, wish):
    with pytest.raises(DictcoError, match=next(iter(wish))):
        dictco_lib.encode_to(nano, small, **wish)
