"""Fixtures that several test files share; all randomness is seeded here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

import dictco_lib
from dictco_lib.checkpoints import shipped_models
from dictco_lib.images import read_image
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.start import pca_start


def pytest_addoption(parser):
    parser.addoption("--regenerate", action="store_true", help="write golden files anew")


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory):
    """Tests note what they made in a list of their own, not in the user's."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """An photograph with odd sides, (203, 301, 3) uint8."""
    return np.ascontiguousarray(data.astronaut()[40:243, 90:391])


@pytest.fixture(scope="session")
def crops() -> torch.Tensor:
    """Crops of packaged photographs, (24, 3, 128, 128) in [0, 1]."""
    rng = np.random.default_rng(0)
    images = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    parts = []
    for i in range(24):
        pixels = images[i % 4]
        top, left = (int(rng.integers(side - 128)) for side in pixels.shape[:2])
        parts.append(read_image(np.ascontiguousarray(pixels[top : top + 128, left : left + 128])))
    return torch.stack([part.pixels for part in parts])


@pytest.fixture(scope="session")
def nano(crops) -> DictionaryCodec:
    """A small variable-rate mixture model whose latents look like those of a trained one."""
    torch.manual_seed(0)
    model = DictionaryCodec.from_preset("nano")
    pca_start(model, crops)
    model.eval().requires_grad_(False)
    model.update()
    return model


@pytest.fixture(scope="session")
def classroom() -> DictionaryCodec:
    """The weights that ship."""
    assert "classroom" in shipped_models()
    return dictco_lib.load("classroom")


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The folder of the HTML book, made of the outputs that the notebooks were saved with."""
    out = tmp_path_factory.mktemp("book")
    script = Path(__file__).parents[1] / "notebooks" / "book" / "book.py"
    subprocess.run([sys.executable, script, out, "--kept"], check=True)
    return out
