"""Models as ONNX graphs: equal to torch, and decoding .dco files where there is no torch."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms

import dictco_lib
from dictco_lib.bitstream import ChunkType, pack, unpack
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import encode
from dictco_lib.entropy import guard, streams
from dictco_lib.errors import OptionError
from dictco_lib.export import export_onnx, graphs, tracing
from dictco_lib.models import Codec, preset

#: What the script needs, and what these need.
PACKAGES = ("numpy", "onnxruntime", "constriction", "flatbuffers", "packaging", "protobuf")


@pytest.fixture(scope="module")
def exported(classroom, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("classroom_onnx")
    export_onnx(classroom, folder)
    return folder


@pytest.fixture(scope="module")
def small(nano, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nano_onnx")
    export_onnx(nano, folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages in which only the script's are."""
    folder = tmp_path_factory.mktemp("site")
    for package in PACKAGES:
        for file in importlib.metadata.files(package):
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(file.locate()).parents[len(file.parts) - 2])
    return folder


def without_torch(site: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Python with those packages alone: -S leaves out the environment's own."""
    return subprocess.run(
        [sys.executable, "-S", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=site,  # or a module beside the repository could be found
        env={"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )


#: Decodes several files as the script does one: its graphs are loaded once.
MANY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import decode_onnx
for name in sys.argv[2:]:
    path = Path(name)
    path.with_suffix(".png").write_bytes(decode_onnx.png(*decode_onnx.decode(path.read_bytes())))
"""


def assert_decodes(site: Path, folder: Path, model, files: list[bytes], tmp_path: Path) -> None:
    """The script shows what the library shows, up to one level at a few places."""
    paths = [tmp_path / f"{i}.dco" for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    done = without_torch(site, "-c", MANY, folder, *paths)
    assert done.returncode == 0, done.stderr
    for path in paths:
        wanted = dictco_lib.decode(model, path)
        with Image.open(path.with_suffix(".png")) as image:
            assert (image.mode, image.size) == (wanted.mode, wanted.size)
            assert image.info.get("icc_profile") == wanted.info.get("icc_profile")
            levels = 257 if image.mode == "I;16" else 1
            difference = np.abs(np.asarray(image).astype(int) - np.asarray(wanted))
        assert difference.max() <= levels
        assert (difference > 0).mean() < (0.05 if levels > 1 else 0.002)


def test_there_is_no_torch_where_the_script_is_tried(site):
    for missing in ("torch", "dictco_lib", "scipy", "onnx", "PIL"):
        assert "ModuleNotFoundError" in without_torch(site, "-c", f"import {missing}").stderr
    assert without_torch(site, "-c", "import numpy, onnxruntime, constriction").returncode == 0


def test_the_script_decodes_what_compress_writes(site, exported, classroom, photo, tmp_path):
    cases = [(203, 301, 60), (1, 1, 0), (64, 65, 100), (130, 40, 12.34)]
    files = [encode(classroom, photo[:rows, :columns], q).data for rows, columns, q in cases]
    assert_decodes(site, exported, classroom, files, tmp_path)


def test_the_script_decodes_every_kind_of_image(site, small, nano, photo, tmp_path):
    image = photo[:90, :140]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(image).save(tmp_path / "in.png", icc_profile=profile)
    kinds = {
        "tiles": encode(nano, photo[:150, :140], 40, tile=4),
        "regions": encode(nano, image, 40, regions=[((20, 10, 60, 50), 90)]),
        "grey": encode(nano, image[..., 0], 40),
        "grey as RGB": encode(nano, np.repeat(image[..., :1], 3, 2), 40),
        "alpha": encode(nano, np.dstack([image, photo[40:130, 20:160, 1]]), 40),
        "16 bits": encode(nano, image[..., 0].astype(np.uint16) * 257, 40),
        "profile": encode(nano, tmp_path / "in.png", 40),
    }
    assert_decodes(site, small, nano, [encoded.data for encoded in kinds.values()], tmp_path)


def test_the_script_takes_the_bins_that_the_encoder_listed(
    site, small, nano, photo, tmp_path, monkeypatch
):
    """As if every hundredth scale of the encoder had lain on the other side of an edge."""
    image = photo[:64, :64]
    plain = unpack(encode(nano, image, 50).data)

    def moved(log_scales):
        bins = streams_bins(log_scales)
        flat = bins.flatten()
        flat[::100] = (flat[::100] + 1).clamp(max=len(guard.LOG_EDGES))
        return flat.reshape(bins.shape)

    def listed(log_scales, bins, k):
        places = range(0, bins.numel(), 100)
        return [guard.GuardedBin(k, i, int(bins.flatten()[i])) for i in places]

    streams_bins = streams.scale_bins
    with monkeypatch.context() as patch:
        patch.setattr(streams, "scale_bins", moved)
        patch.setattr(streams, "find_near_edges", listed)
        data = encode(nano, image, 50).data
    assert len(unpack(data).of_type(ChunkType.GUARD)[0]) > 6 and not plain.of_type(ChunkType.GUARD)
    assert_decodes(site, small, nano, [data], tmp_path)
    # Without the list, the script reads with its own bins, and the checksums say so.
    container = unpack(data)
    container.chunks = [c for c in container.chunks if c.type != ChunkType.GUARD]
    (tmp_path / "b.dco").write_bytes(pack(container))
    done = without_torch(site, small / graphs.SCRIPT, tmp_path / "b.dco", tmp_path / "b.png")
    assert done.returncode == 1 and "BadChecksum" in done.stderr
    assert not (tmp_path / "b.png").exists()


def test_the_script_names_what_it_does_not_decode(site, small, nano, classroom, photo, tmp_path):
    image = photo[:40, :50]
    good = encode(nano, image, 50).data
    flipped = bytearray(good)
    flipped[-9] ^= 1
    wrong = unpack(good)
    (sums,) = wrong.of_type(ChunkType.SUMS)
    place = [c.type for c in wrong.chunks].index(ChunkType.SUMS)
    wrong.chunks[place] = type(wrong.chunks[place])(ChunkType.SUMS, bytes([sums[0] ^ 1]) + sums[1:])
    cases = {
        "no .dco file": b"hello, world",
        "ends early": good[:-5],
        "BadChecksum: of a chunk": bytes(flipped),
        "BadChecksum: z": pack(wrong),
        "made by model": encode(classroom, image, 50).data,
        "--fast": encode(nano, image, 50, fast=True).data,
    }
    for words, data in cases.items():
        (tmp_path / "a.dco").write_bytes(data)
        done = without_torch(site, small / graphs.SCRIPT, tmp_path / "a.dco", tmp_path / "a.png")
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "a.png").exists()


def test_the_script_replaces_nothing(site, small, nano, photo, tmp_path):
    (tmp_path / "a.dco").write_bytes(encode(nano, photo[:40, :50], 50).data)
    (tmp_path / "a.png").write_bytes(b"holidays")
    done = without_torch(site, small / graphs.SCRIPT, tmp_path / "a.dco", tmp_path / "a.png")
    assert done.returncode == 1 and "a.png exists" in done.stderr
    assert (tmp_path / "a.png").read_bytes() == b"holidays"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["nano", "nano_saaf", "nano_tcm", "nano_cca", "nano_wacnn", "nano_stf"]
)
def test_every_member_leaves_torch(site, photo, tmp_path, name):
    model = Codec.from_preset(name).eval().requires_grad_(False)
    model.update()
    differences = export_onnx(model, tmp_path / "out")
    wide = {k: v for k, v in differences.items() if k not in ("g_a", "g_s")}
    assert len(wide) == 4 + 2 * len(model.config.groups)
    assert max(wide.values()) < 1e-13
    assert max(differences.values()) < 1e-5
    files = [encode(model, photo[:90, :140], 60).data]
    assert_decodes(site, tmp_path / "out", model, files, tmp_path)


def test_a_fixed_rate_model_has_no_gains(site, photo, tmp_path):
    config = preset("nano").__class__(**preset("nano").to_dict() | {"lmbdas": (), "top_k": 2})
    model = Codec(config).eval().requires_grad_(False)
    model.update()
    assert "gains" not in export_onnx(model, tmp_path / "out")
    files = [encode(model, photo[:60, :70]).data]
    assert_decodes(site, tmp_path / "out", model, files, tmp_path)


def test_what_stands_for_torch_in_float64_computes_the_same():
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)

    def assert_same(name, *arguments):
        got = tracing.WIDE[name](*arguments)
        torch.testing.assert_close(got, getattr(F, name)(*arguments), rtol=1e-13, atol=1e-13)

    bias = torch.randn(8, dtype=torch.float64)
    for size, step in ((1, 1), (3, 1), (5, 1), (3, 2), (5, 2)):
        for c_out in (4, 8):
            weight = torch.randn(c_out, 6, size, size, dtype=torch.float64)
            assert_same("conv2d", x, weight, bias[:c_out], step, size // 2)
        if size > 1:
            weight = torch.randn(6, 8, size, size, dtype=torch.float64)
            assert_same("conv_transpose2d", x, weight, bias, step, size // 2, step - 1)
    assert_same("conv2d", x, torch.randn(6, 1, 3, 3, dtype=torch.float64), None, 1, 1, 1, 6)
    assert_same("gelu", torch.linspace(-45, 45, 10_001, dtype=torch.float64))
    assert_same("leaky_relu", x, 0.2)
    assert_same("adaptive_avg_pool2d", x, 1)
    rows = x[0, 0], x[0, 1].abs()
    assert_same("layer_norm", 1e-3 * x, (12,), *x[0, 0, :2])
    assert_same("batch_norm", x, rows[0][:6, 0], 1e-4 * rows[1][:6, 0], x[0, 2, :6, 0], bias[:6])
    mask = torch.randn(9, 9, dtype=torch.float64)
    assert_same("scaled_dot_product_attention", x, x.flip(0), x + 1, mask)
    with pytest.raises(OptionError, match="groups"):
        tracing.conv2d(x, torch.randn(6, 3, 3, 3, dtype=torch.float64), None, 1, 1, 1, 2)
    with pytest.raises(OptionError, match="transposed"):
        tracing.conv_transpose2d(x, torch.randn(6, 8, 4, 4, dtype=torch.float64), None, 4)


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_makes_the_folder_and_replaces_nothing_else(
    capsys, nano, photo, site, tmp_path
):
    weights, folder = tmp_path / "nano.safetensors", tmp_path / "out"
    save_checkpoint(nano, weights)
    status, out, err = run(capsys, "export", weights, folder, "--onnx")
    assert status == 0, err
    assert "12 graphs" in out and "decode_onnx.py" in out and "differs from torch by" in out
    coded, shown = tmp_path / "a.dco", tmp_path / "a.png"
    coded.write_bytes(encode(nano, photo[:50, :60], 50).data)
    done = without_torch(site, folder / "decode_onnx.py", coded, shown)
    assert done.returncode == 0 and Image.open(shown).size == (60, 50), done.stderr
    assert run(capsys, "export", weights, folder, "--onnx")[0] == 0  # it is ours
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text("[1]")
    status, _, err = run(capsys, "export", weights, other, "--onnx")
    assert status == 1 and "not empty" in err and "--force" in err
    assert [path.name for path in other.iterdir()] == ["model.json"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_its_packages_the_command_says_what_to_install(
    capsys, tmp_path, monkeypatch, package
):
    monkeypatch.setitem(sys.modules, package, None)
    status, _, err = run(capsys, "export", "classroom", tmp_path / "out", "--onnx")
    assert status == 1 and f"package {package}" in err and "pip install onnx onnxruntime" in err
    assert not (tmp_path / "out").exists()


def test_a_graph_that_differs_from_torch_is_refused(nano, tmp_path, monkeypatch):
    monkeypatch.setitem(tracing.WIDE, "gelu", lambda x, approximate="none": F.relu(x))
    with pytest.raises(OptionError, match="differs from torch"):
        export_onnx(nano, tmp_path / "out")
    assert not (tmp_path / "out" / "model.json").exists()
