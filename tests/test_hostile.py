"""Hostile files, kind by kind: counted before believed, bounded, refused by name."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
import zlib
from dataclasses import fields, replace

import fuzz
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dictco_lib
from dictco_lib import encode
from dictco_lib.bitstream import Chunk, ChunkType, Flag, pack, unpack
from dictco_lib.checkpoints import load_checkpoint, load_published, save_checkpoint, to_published
from dictco_lib.checkpoints.census import read_pickle
from dictco_lib.commands.common import explain
from dictco_lib.config import (
    DCAE,
    DICTCO,
    MAX_ACTIVATION,
    MAX_WEIGHTS,
    NANO,
    PRESETS,
    activation,
    weights,
)
from dictco_lib.entropy.guard import GuardedBin, apply_guard, pack_guard, unpack_guard
from dictco_lib.errors import (
    MAX_MESSAGE,
    BadChecksum,
    BadHeader,
    BitstreamError,
    CheckpointError,
    ConfigError,
    CurveError,
    DictcoError,
    RecipeError,
    foreign,
    listed,
    quoted,
)
from dictco_lib.evaluation.curves import load_curve, load_per_image
from dictco_lib.models import PRESETS as MEMBERS
from dictco_lib.models import Codec, DictionaryCodec
from dictco_lib.tiles import joined, tile_boxes
from dictco_lib.training.data import TrainingImages
from dictco_lib.training.log import read_log
from dictco_lib.training.recipe import load_recipe

# Sizes believed before the data are counted.


def saved(path, value, *, new=True):
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": torch.zeros(1).expand(2**20, 2**20)}, "expanded tensors"),
        ({"a": torch.zeros(4).as_strided((2**20, 4), (0, 1))}, "expanded tensors"),
        ({"a": torch.zeros(3, 3).to_sparse()}, "_rebuild_sparse_tensor"),
        ({"a": zipfile.ZipFile}, "more than plain weights"),
        ({"a": bytearray(5)}, "more than plain weights"),
        ({"a": torch.zeros(3, dtype=torch.uint16)}, "more than plain weights"),
    ],
    ids=["expanded", "strided", "sparse", "class", "bytearray", "dtype"],
)
def test_a_torch_file_is_counted_before_torch_reads_it(tmp_path, monkeypatch, value, message, new):
    path = saved(tmp_path / "a.pth", value, new=new)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("believed before counted"))
    with pytest.raises(CheckpointError, match=message) as error:
        load_published(path)
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_what_training_scripts_save_is_read(tmp_path, new):
    model = torch.nn.Linear(3, 4)
    adam = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3)).sum().backward()
    adam.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, [3, 5])
    value = {
        "epoch": 3,
        "state_dict": model.state_dict(),
        "optimizer": adam.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "loss": torch.tensor(0.5, dtype=torch.float64),
        "views": [torch.zeros(9)[2:5], torch.zeros(0, 3), torch.arange(6).reshape(2, 3).T],
        "kinds": [torch.zeros(2, dtype=d) for d in (torch.half, torch.bfloat16, torch.bool)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    again = read_pickle(saved(tmp_path / "a.tar", value, new=new), CheckpointError)
    assert again.keys() == value.keys()
    assert torch.equal(again["state_dict"]["weight"], model.weight)


def repacked(path, change, kind=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    path.write_bytes(out.getvalue())
    return path


def test_archives_that_inflate_or_claim_more_are_refused(tmp_path):
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(100)})
    repacked(path, lambda _, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        load_published(path)
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(100)})
    # 100 numbers become 65535 in the storage's claim and in the tensor's size.
    repacked(path, lambda _, data: data.replace(b"Kd", b"M\xff\xff"))
    with pytest.raises(CheckpointError, match="claims 262140 bytes that are not there"):
        load_published(path)


def test_many_names_for_the_same_bytes_are_refused(tmp_path):
    tensor = torch.zeros(1000)
    state = {f"dt_{i}": tensor for i in range(100)}
    with pytest.raises(CheckpointError, match="400000 bytes of tensors that lie in 4000"):
        load_published(saved(tmp_path / "a.pth", state))


@pytest.mark.parametrize(
    "data", [b"", b"x" * 99, b"PK\x03\x04", b"\x80\x02.", b"\x80\x02" + b"(" * 9999]
)
def test_what_is_no_torch_file_is_named(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        load_published(tmp_path / "a.pth")


def test_a_table_of_tensors_that_is_larger_than_tables_are_is_not_read(nano, tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(nano, path)
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="its table claims 1099511627776 bytes"):
        load_checkpoint(path)


# Values that bound what is stored and not what is computed.


@pytest.mark.parametrize(
    "change",
    [
        {"window": 128}, {"window": 64}, {"hyper_window": 64}, {"residual_blocks": 10**6},
        {"entries": 10**6}, {"heads": 10**6}, {"hyper_channels": 10**6}, {"reduction": 10**9},
        {"parameter_widths": (4096, 4096), "context_channels": 4096, "hyper_channels": 4096},
        {"lmbdas": tuple(range(1, 1000))}, {"lmbdas": (1e-300, 1.0)},
        {"experts": 256, "entries": 8192},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_cannot_ask_for_any_amount_of_work(change):
    with pytest.raises(ConfigError):
        replace(DCAE, **change)


def test_the_published_sizes_are_far_from_the_bounds():
    for config in PRESETS.values():
        assert weights(config) < MAX_WEIGHTS / 4
        assert activation(config) < MAX_ACTIVATION / 5
    assert replace(DCAE, window=16)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"experts": 2, "reduction": 4},
        {"residual_blocks": 0},
        {"blocks": (1, 0, 3)},
        {"window": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("preset", [DCAE, DICTCO, NANO], ids=lambda c: c.name)
def test_the_weights_of_a_configuration_are_counted_without_a_model(preset, change):
    config = replace(preset, **change)
    with torch.device("meta"):
        real = sum(p.numel() for p in DictionaryCodec(config).parameters())
    assert weights(config) <= real < 1.05 * weights(config)


def test_a_checkpoint_with_a_huge_window_is_refused_by_its_config(nano, tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(nano, path)
    config = NANO.to_dict() | {"window": 128}
    metadata = {"format": "dictco-checkpoint-1", "config": json.dumps(config), "info": "{}"}
    save_file(load_file(path), path, metadata)
    with pytest.raises(CheckpointError, match="window is 128, expected integers from 1 to 64"):
        load_checkpoint(path)


# Recipes.

GOOD = 'model = "nano"\ndata = []\nout = "a"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "threads = 1000000000", "threads.*at most 512"),
        (GOOD + "workers = 100000", "workers.*at most 128"),
        (GOOD + "batch_size = 100000000", "batch_size.*at most"),
        (GOOD + "batch_size = 16384\ncrop = 4096", "pixels at once"),
        (GOOD + "crop = 6400000", "crop.*at most"),
        (GOOD + "cache_mb = 10000000000", "cache_mb.*at most"),
        (GOOD + "steps = 10000000000000", "steps.*at most"),
        (GOOD + "accumulate = 1000000", "accumulate.*at most"),
        (GOOD + "scale = 1e-300", "scale.*at least"),
        (GOOD + "balance = 1e9", "balance"),
        (GOOD + "ema_decay = -0.5", "ema_decay"),
        (GOOD + "warmup = 99999999999", "warmup.*at most"),
        (GOOD + "milestones = [0]", "positive steps"),
        (GOOD + "lr = 1e200", "lr.*at most"),
        ('model = "nano"\ndata = []\nout = "a\\u0000"', "out"),
        (GOOD + "seed = " + "[" * 50_000, "no valid TOML"),
        (GOOD + "seed = " + "1" * 9999, "no valid TOML|seed"),
        (GOOD + "seed = 2000-01-01", "seed.*expected int"),
        (GOOD + "a = 1\n" * 3, "no valid TOML"),
        (GOOD + "".join(f"k{i} = 1\n" for i in range(5000)), "and 4992 more"),
        (GOOD + "#" * 2**20, "has over"),
    ],
    ids=lambda value: value[-30:],
)
def test_a_recipe_cannot_ask_for_everything(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(path)
    assert len(str(error.value)) < 1500


# Libraries that raise anything.

JUNK = (
    b"", b"\0", b"\xff\xfe\0", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b"null", b'"a"',
    b"[]", b"{}", b'{"a": 1, "a": 2}', b"\xef\xbb\xbf", b"\x80abc",
)  # fmt: skip


@pytest.mark.parametrize("data", JUNK, ids=lambda d: repr(d[:12]))
def test_no_reader_of_json_raises_what_its_library_raises(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(CurveError):
        load_curve(path)
    with pytest.raises(DictcoError):
        read_log(path)


HARD = (
    None,
    True,
    "a",
    [],
    {},
    [1],
    [None],
    [[1]],
    float("nan"),
    float("inf"),
    -1,
    10**299,
    [10**299] * 3,
)


@pytest.mark.parametrize("value", HARD, ids=quoted)
def test_wrong_types_at_every_level_of_a_report_are_named(tmp_path, value):
    points = {"bpp": [0.1, 0.2], "psnr-rgb": [25.0, 27.0], "ms-ssim-rgb": [0.9, 0.95]}
    row = {"image": "a", "bpp": 0.1, "psnr": 25.0, "quality": 1.0}
    path = tmp_path / "a.json"
    for report in (
        *({"results": points | {key: value}, "per_image": [row]} for key in points),
        *({"results": points, "per_image": [row | {key: value}]} for key in row),
        {"results": points, "per_image": [value]},
        {"results": points, "per_image": value},
        {"results": value},
        value,
    ):
        path.write_text(json.dumps(report))
        for read in (load_curve, load_per_image, lambda p: load_curve(p, "MS-SSIM")):
            try:
                read(path)
            except CurveError as error:
                assert len(str(error)) <= MAX_MESSAGE


@pytest.mark.parametrize("value", HARD, ids=quoted)
def test_wrong_types_in_a_log_are_named(tmp_path, value):
    entry = {"kind": "train", "step": 20, "loss": 1.5, "bpp": 0.5, "psnr": 25.0}
    path = tmp_path / "log.jsonl"
    for line in (value, *(entry | {key: value} for key in entry if type(value) is not float)):
        path.write_text(json.dumps(line) + "\n")
        if line not in (entry | {"loss": -1}, entry | {"bpp": -1}, entry | {"psnr": -1}) and not (
            isinstance(line, dict) and value in (10**299,) and line["step"] == 20
        ):
            with pytest.raises(DictcoError):
                read_log(path)


def test_shards_that_are_compressed_or_cut_are_named(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    data = (tmp_path / "a.tar").read_bytes()
    assert len(TrainingImages((str(tmp_path / "a.tar"),))) == 1
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    for end in (100, 700, len(data) // 3):
        (tmp_path / "cut.tar").write_bytes(data[:end])
        with pytest.raises(RecipeError):
            TrainingImages((str(tmp_path / "cut.tar"),))
    with pytest.raises(RecipeError, match="without compression"):
        TrainingImages((str(tmp_path / "a.tar.gz"),))


@pytest.mark.parametrize(
    "error", [IndexError("a"), RecursionError(), OverflowError("b"), MemoryError()]
)
def test_whatever_a_library_raises_gets_a_name(error):
    with pytest.raises(CurveError, match="it cannot be read: .*; get it again"):
        with foreign("it cannot be read", CurveError, "get it again"):
            raise error


def test_interruptions_and_our_own_errors_pass():
    for error in (KeyboardInterrupt(), SystemExit(), BadHeader("mine")):
        with pytest.raises(type(error)):
            with foreign("it", CurveError, "get it again"):
                raise error


# Foreign text in messages.


def test_messages_are_bounded_and_printable():
    text = str(BadHeader("x" * 10**6 + "\x1b[31m\x07\u202e"))
    assert len(text) <= MAX_MESSAGE
    assert text.isprintable() and text.endswith("\\x1b[31m\\x07\\u202e")
    assert str(BadHeader("Müller 日本")) == "Müller 日本"
    assert explain(ValueError("\x1b[2J"), False).isprintable()


def test_any_value_is_quoted_in_few_characters():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (
        deep,
        10**9999,
        [10**9999],
        "\x1b" * 999,
        b"\0" * 10**6,
        {"a": "b" * 999},
        torch.zeros(9),
    ):
        assert len(quoted(value)) <= 160 and quoted(value).isprintable()
    assert quoted("a.png") == "'a.png'"
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(range(1000)).endswith("and 992 more")


def test_a_checkpoint_of_a_thousand_strange_names_gives_a_short_message(nano, tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(nano, path)
    state = load_file(path) | {f"\x1b[31m{i}" * 20: torch.zeros(1) for i in range(1000)}
    metadata = {"format": "dictco-checkpoint-1", "config": json.dumps(NANO.to_dict()), "info": "{}"}
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match="and 992 more") as error:
        load_checkpoint(path)
    assert str(error.value).isprintable()


# What no encoder writes.


@pytest.fixture(scope="module")
def box(nano):
    """Makes the same small file anew, unpacked: 2x2 tiles."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    photo = np.kron(pixels, np.ones((8, 8, 1), np.uint8))
    data = encode(nano, photo, 30, tile=4).data
    return lambda: unpack(data)


def place(box, kind):
    return next(i for i, chunk in enumerate(box.chunks) if chunk.type == kind)


def longer(box, kind, tail):
    i = place(box, kind)
    box.chunks[i] = replace(box.chunks[i], data=box.chunks[i].data + tail)


def repeated(box, kind):
    i = place(box, kind)
    box.chunks.insert(i, box.chunks[i])


def swapped(box, i, j):
    box.chunks[i], box.chunks[j] = box.chunks[j], box.chunks[i]


def added(box, kind, data):
    box.chunks.append(Chunk(kind, data))


def guarded(box, *bins):
    guards = [Chunk(ChunkType.GUARD, pack_guard(list(bins)))]
    guards += [Chunk(ChunkType.GUARD, b"")] * (len(box.of_type(ChunkType.Z)) - 1)
    box.chunks[1:1] = guards


PROFILE = zlib.compress(b"profile", 9)


@pytest.mark.parametrize(
    "harm",
    [
        lambda b: longer(b, ChunkType.Z, bytes(4)),
        lambda b: longer(b, ChunkType.Z, b"\xff" * 4),
        lambda b: longer(b, ChunkType.SLICE, bytes(4)),
        lambda b: longer(b, ChunkType.SLICE + 2, bytes(400)),
        lambda b: longer(b, ChunkType.SLICE, b"a"),
        lambda b: longer(b, ChunkType.SUMS, bytes(2)),
        lambda b: repeated(b, ChunkType.SUMS),
        lambda b: repeated(b, ChunkType.Z),
        lambda b: repeated(b, ChunkType.SLICE + 1),
        lambda b: swapped(b, 0, 1),
        lambda b: swapped(b, -1, 1),
        lambda b: b.chunks.pop(),
        lambda b: b.chunks.pop(1),
        lambda b: b.chunks.clear(),
        lambda b: added(b, ChunkType.SLICE + 3, bytes(4)),
        lambda b: added(b, ChunkType.SLICE + 200, bytes(4)),
        lambda b: added(b, ChunkType.PROFILE, b""),
        lambda b: added(b, ChunkType.PROFILE, PROFILE + b"more"),
        lambda b: added(b, ChunkType.PROFILE, zlib.compress(b"")),
        lambda b: [added(b, ChunkType.PROFILE, PROFILE) for _ in range(2)],
        lambda b: [added(b, ChunkType.ALPHA, zlib.compress(bytes(96 * 72))) for _ in range(2)],
        lambda b: added(b, ChunkType.ALPHA, zlib.compress(bytes(96 * 72)) + b"more"),
        lambda b: added(b, ChunkType.ALPHA, b"\x89PNG\r\n\x1a\n\0\0\0\x04iCCPabcd"),
        lambda b: b.chunks.insert(1, Chunk(ChunkType.PROFILE, PROFILE)),
        lambda b: guarded(b),
        lambda b: guarded(b, GuardedBin(0, 5, 9), GuardedBin(0, 5, 9)),
        lambda b: guarded(b, GuardedBin(1, 5, 9), GuardedBin(0, 5, 9)),
        lambda b: guarded(b, GuardedBin(0, 2**31, 9)),
        lambda b: guarded(b, GuardedBin(3, 0, 9)),
        lambda b: guarded(b, GuardedBin(0, 0, 63)),
        lambda b: setattr(b, "tile", 8),
        lambda b: setattr(b, "tile", 0),
        lambda b: setattr(b, "tile", 2**30),
        lambda b: setattr(b, "tile", 6),
        lambda b: setattr(b, "flags", Flag.SIXTEEN_BIT),
        lambda b: [setattr(b, side, 16384) for side in ("width", "height")],
    ],
)  # fmt: skip
def test_what_no_encoder_writes_is_refused(nano, box, harm):
    container = box()
    assert dictco_lib.decode(nano, pack(container)).size == (96, 72)
    harm(container)
    with pytest.raises(BitstreamError):
        dictco_lib.decode(nano, pack(container))


def test_numbers_of_the_header_have_one_spelling(box):
    data = bytearray(pack(box()))
    at = next(span for span in unpack(bytes(data)).spans if span.name == "height")
    value = data[at.stop - 1]
    data[at.stop - 1 : at.stop] = bytes([value | 0x80, 0])
    with pytest.raises(BadHeader, match="written too long"):
        unpack(bytes(data))


def test_a_claim_of_many_pixels_is_refused_before_a_model_is_asked(box):
    container = box()
    container.width = container.height = 16384
    container.tile = 128
    with pytest.raises(BadHeader, match="too few for 64 tiles"):
        unpack(pack(container))


def test_a_stream_ends_where_its_symbols_do(nano):
    tables = nano.latent_codec.y_tables
    rng = np.random.default_rng(0)
    from dictco_lib.entropy.streams import checksum, verified

    for _ in range(50):
        indexes = rng.integers(0, 64, rng.integers(1, 300))
        symbols = rng.normal(0, tables.half_widths.numpy()[indexes] / 5).round().astype(np.int32)
        data = tables.encode(symbols, indexes)
        assert np.array_equal(verified(tables, data, indexes, checksum(symbols), "it"), symbols)
        for tail in (bytes(4), b"\xff" * 4, rng.bytes(4), rng.bytes(8)):
            with pytest.raises(BadChecksum):
                verified(tables, data + tail, indexes, checksum(symbols), "it")


def test_a_million_guarded_bins_are_read_at_once():
    guard = np.zeros(10**6, [("slice", "u1"), ("index", "<u4"), ("bin", "u1")])
    guard["index"] = np.arange(10**6)
    bins = np.ones(10**6, np.uint8)
    apply_guard(bins, unpack_guard(guard.tobytes()), 0)
    assert not bins.any()


def test_published_weights_still_load_from_files(tmp_path):
    small = {
        f.name: getattr(NANO, f.name) for f in fields(NANO) if f.name not in ("name", "lmbdas")
    }
    small |= {"blocks": (1, 1, 1), "batch_norm": True}
    model = DictionaryCodec(replace(DICTCO, **small)).eval()
    path = saved(tmp_path / "a.pth.tar", {"epoch": 1, "state_dict": to_published(model)})
    again = load_published(path).state_dict()
    assert torch.equal(again["g_a.0.conv.weight"], model.state_dict()["g_a.0.conv.weight"])


# The fuzzer.


def test_the_fuzzer_finds_nothing(tmp_path):
    run = fuzz.Run(seed=7, keep=tmp_path / "findings")
    run.go(fuzz.plan(2000))
    assert not run.wrong
    for name, outcomes in run.outcomes.items():
        assert sum(outcomes.values()) > 50, name
        assert set(outcomes) - {"right"}, name  # mutations that harm nothing prove nothing


def test_the_fuzzer_would_find_what_is_wrong(tmp_path):
    def grow(data):
        return 1 / len(data)

    case = fuzz.Case([b""], grow, fuzz.flip)
    assert fuzz.try_input(case, b"") == "!ZeroDivisionError: division by zero"
    assert fuzz.try_input(case, b"a") == "right"
    advice = fuzz.Case(
        [b""], lambda _: (_ for _ in ()).throw(BadHeader("weights_only=False")), None
    )
    assert fuzz.try_input(advice, b"").startswith("!advice")


def test_small_tiles_are_synthesised_together():
    for side in (4, 20, 48, 64, 100):
        boxes = tile_boxes((200, 132), side)
        big = joined(boxes)
        seen = np.zeros((200, 132), int)
        for top, left, bottom, right in big:
            seen[top:bottom, left:right] += 1
        assert (seen == 1).all()
        assert len(big) <= 12 and big == sorted(big)
    assert joined(tile_boxes((200, 132), 64)) == tile_boxes((200, 132), 64)


def test_shapes_of_empty_tensors_ask_for_no_memory(tmp_path):
    model = Codec(replace(MEMBERS["nano_cca"], lmbdas=())).eval()
    model.update()
    state = to_published(model)
    for key, value in state.items():
        if value.dim() > 1 and value.is_floating_point() and key.endswith("weight"):
            rows = 10 * len(value) if "cc_" in key else 4096
            state[key] = torch.zeros(rows, 0, *value.shape[2:])
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="numbers, [0-9]+ are there"):
        load_published(tmp_path / "a.pth")


def test_every_member_has_whole_heads():
    for change in ({"hyper_head_dim": 7}, {"support_head_dim": 7}, {"hyper_head_dim": 64}):
        with pytest.raises(ConfigError, match="multiple of head_dim"):
            Codec(replace(MEMBERS["nano_tcm"], **change))
