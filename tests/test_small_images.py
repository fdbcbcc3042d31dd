"""Images below the crop are counted and named before a training, in folders and in shards."""

from __future__ import annotations

import io
import logging
import tarfile

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dictco_lib.errors import RecipeError
from dictco_lib.training.data import TrainingImages, name_small, random_crop
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.trainer import Trainer


@pytest.fixture
def sources(tmp_path, photo) -> tuple[str, str]:
    """A folder and a shard: one image that crops of 64 fit into, nine that they do not."""
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(photo[:64, :70]).save(folder / "fits.png")
    for i in range(4):
        Image.fromarray(photo[:63, : 64 + i]).save(folder / "deeper" / f"low{i}.jpg")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for i in range(5):
            buffer = io.BytesIO()
            Image.fromarray(photo[:200, : 59 + i]).save(buffer, "PNG")
            info = tarfile.TarInfo(f"narrow{i}.png")
            info.size = buffer.tell()
            tar.addfile(info, io.BytesIO(buffer.getvalue()))
    return str(folder), str(tmp_path / "shard.tar")


def test_images_below_the_crop_are_counted_and_named_once(sources, caplog, tmp_path):
    recipe = Recipe(
        model="nano", data=sources, out=str(tmp_path / "run"), steps=2, batch_size=2, crop=64,
        warmup=1, pca_start=False,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        trainer = Trainer(recipe, "cpu")
    (text,) = [r.getMessage() for r in caplog.records if "crop" in r.getMessage()]
    assert text.startswith("9 of 10 training images are smaller than the crop of 64 pixels")
    assert text.count(".jpg") == 3
    assert text.endswith(", ...")
    assert trainer.batches[0][0].shape == (2, 3, 64, 64)


def test_nothing_is_said_where_all_fit(sources, caplog):
    with caplog.at_level(logging.WARNING):
        name_small(TrainingImages(sources), 59)
    assert not caplog.text


def test_an_error_names_them_where_none_is_left(sources):
    with pytest.raises(RecipeError, match=r"10 of 10 .* crop of 128: .*low0.jpg.*lower `crop`"):
        name_small(TrainingImages(sources), 128)
    with pytest.raises(RecipeError, match=r"5 of 5 .*shard.tar/narrow0.png"):
        name_small(TrainingImages(sources[1:]), 64)


def test_counting_reads_headers_wherever_they_lie(tmp_path, photo):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "behind.tif")  # its directory follows the pixels
    text = PngInfo()
    text.add_text("long", "".join(map(chr, noise[..., 0].ravel() % 90 + 32)) * 8, zip=False)
    Image.fromarray(photo[:50, :200]).save(tmp_path / "text.png", pnginfo=text)
    Image.fromarray(photo[:50]).save(tmp_path / "profile.jpg", icc_profile=noise.tobytes())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for path in sorted(tmp_path.glob("*.*")):
            if path.suffix != ".tar":
                tar.add(path, path.name)
    assert (
        (tmp_path / "behind.tif").stat().st_size > 2**16 < (tmp_path / "profile.jpg").stat().st_size
    )
    for source in (tmp_path, tmp_path / "all.tar"):
        names = [name.rpartition("/")[2] for name in TrainingImages((str(source),)).below(64)]
        assert sorted(names) == ["profile.jpg", "text.png"]  # what is broken is named when met


def test_counting_changes_no_crop(sources):
    drawn = []
    for count in (False, True):
        photos = TrainingImages(sources)
        if count:
            name_small(photos, 64)
        rng = np.random.default_rng(5)
        drawn.append([random_crop(photos, 64, rng) for _ in range(6)])
    assert np.array_equal(*drawn)
