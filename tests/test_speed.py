"""The fast layers compute what their definitions say, with the weights of the moment."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from dictco_lib import memory
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import decode, encode
from dictco_lib.entropy.heads import Side
from dictco_lib.errors import OptionError
from dictco_lib.evaluation import coder
from dictco_lib.evaluation.speed import FAST_BF16, PATHS, PLAIN, PORTABLE, Speed, verdicts
from dictco_lib.layers import attention, residual, winograd
from dictco_lib.layers.attention import WindowAttention, _attend_in_parts
from dictco_lib.layers.dictionary import _attend_by_head
from dictco_lib.layers.linear import Linear, MapConv, PointwiseConv
from dictco_lib.layers.reference import PlainWindowAttention, plain_copy
from dictco_lib.layers.residual import Bottleneck, DepthwiseConv
from dictco_lib.layers.walk import tensors_of, walk
from dictco_lib.layers.winograd import (
    Tiles,
    TileStore,
    WideConv,
    begin_wide,
    coarse_sums,
    winograd_conv,
)
from dictco_lib.models import PRESETS, DictionaryCodec
from dictco_lib.training import transforms

FAMILY = ("nano", "one dictionary", "nano_saaf", "nano_tcm", "nano_cca", "nano_wacnn", "nano_stf")


def random_model(name: str) -> DictionaryCodec:
    """A preset whose norms have seen something, so that folding them is not folding ones."""
    torch.manual_seed(1)
    config = PRESETS["nano" if name == "one dictionary" else name]
    if name == "one dictionary":
        config = replace(config, experts=0)
    model = DictionaryCodec(config).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
            module.bias.normal_(std=0.1)
    return model


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@torch.no_grad()
def test_a_member_computes_what_its_definition_says(name, dtype, limit):
    model = random_model(name).to(dtype)
    x = torch.rand(1, 3, 128, 192, dtype=dtype)
    y, y_plain = model.g_a(x), plain_copy(model).g_a(x)
    if name == "nano" and dtype == torch.float32:
        assert not torch.equal(y, y_plain)  # it went another way
    assert (y - y_plain).abs().max() <= limit * y_plain.abs().max()
    ours, plain = model(x, 50.0), plain_copy(model)(x, 50.0)
    if dtype == torch.float64:  # in float32 a rounded symbol may differ
        for key in ("means", "scales"):
            assert (ours["para"][key] - plain["para"][key]).abs().max() < limit
        assert (ours["x_hat"] - plain["x_hat"]).abs().max() < limit


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (1, 16, 12, 20), (1, 3, 7, 9), (1, 4, 1, 1)])
def test_winograd_is_a_convolution(shape):
    x = torch.randn(*shape, dtype=torch.float64)
    weight, bias = torch.randn(6, shape[1], 3, 3).double(), torch.randn(6).double()
    expected = F.conv2d(x, weight, bias, padding=1)
    assert (winograd_conv(x, weight, bias) - expected).abs().max() < 1e-12


@torch.no_grad()
def test_nets_share_the_tiles_of_a_map_only_where_all_would_make_them():
    nets = [torch.nn.Sequential(WideConv(5, 3), torch.nn.GELU()).double() for _ in range(2)]
    more = WideConv(9, 3).double()
    x, y = torch.randn(2, 5, 7, 9).double(), torch.randn(2, 4, 7, 9).double()
    assert begin_wide(nets, x)
    tiles = Tiles.of(x)
    for net in nets:
        want = F.gelu(F.conv2d(x, net[0].weight, net[0].bias, padding=1))
        assert (net(tiles) - want).abs().max() < 1e-12
    want = F.conv2d(torch.cat([x, y], dim=1), more.weight, more.bias, padding=1)
    assert (more(tiles.joined(y)) - want).abs().max() < 1e-12
    assert not begin_wide([*nets, more], x)  # not the first of a chain: perhaps another network
    assert not begin_wide([*nets, plain_copy(nets[0])], x)
    assert not begin_wide(nets, x.float())  # few channels
    with torch.enable_grad():
        assert not begin_wide(nets, x)


@torch.no_grad()
def test_a_wide_convolution_in_float32_goes_by_tiles_where_they_pay():
    conv = WideConv(256, 64)
    net = torch.nn.Sequential(conv, torch.nn.GELU())
    x = torch.randn(1, 256, 8, 11)
    want = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    with coarse_sums():
        assert begin_wide([net], x)
        assert 0 < (conv(x) - want).abs().max() < 2e-5 * want.abs().max()
        assert conv(x).equal(conv(Tiles.of(x)))
        assert not begin_wide([net], torch.randn(1, 256, 5, 5))  # most would be border
        assert not begin_wide([torch.nn.Sequential(WideConv(128, 64))], x[:, :128])
        with torch.autocast("cpu", torch.bfloat16):
            assert not begin_wide([net], x)
        with FlopCounterMode(display=False) as counter:
            conv(x)
        assert counter.get_total_flops() == 2 * 9 * 256 * 64 * 8 * 11
    assert not begin_wide([net], x)
    assert conv(x).equal(F.conv2d(x, conv.weight, conv.bias, padding=1))


@torch.no_grad()
def test_only_fast_files_are_coded_with_coarse_sums():
    model = random_model("nano")
    model.update()
    seen = []
    for codec in (model.latent_codec, model.latent_codec.for_coding()):
        codec.slices[0].register_forward_hook(lambda *_: seen.append(winograd._is_coarse.get()))
    x = torch.rand(1, 3, 64, 64)
    model(x, 50.0)
    for dtype in (torch.float32, torch.float64):
        y, level = model.g_a(x), model.level(50.0, x)
        streams = model.latent_codec.compress(y, level, dtype)
        model.latent_codec.decompress(streams, (4, 4), level, dtype)
    assert seen == [False, True, True, False, False]


@pytest.mark.parametrize("fast", [False, True])
def test_the_transforms_of_files_are_coarse_and_those_of_estimates_exact(nano, photo, fast):
    seen = []
    handles = [
        part.register_forward_hook(lambda *_: seen.append(winograd._is_coarse.get()))
        for part in (nano.g_a, nano.g_s)
    ]
    try:
        decode(nano, encode(nano, photo, 50, fast=fast).data)
        with torch.no_grad():
            nano(torch.rand(1, 3, 64, 64), 50.0)
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [True, True, False, False]


@torch.no_grad()
def test_a_store_makes_tiles_of_each_map_once(monkeypatch):
    maps = [torch.randn(2, c, 7, 9) for c in (5, 2, 3, 4)]
    made = []
    of = Tiles.of
    monkeypatch.setattr(Tiles, "of", lambda x: made.append(x.shape[1]) or of(x))
    store = TileStore()
    for end in (2, 3, 4, 1, 3):
        want = of(torch.cat(maps[:end], dim=1))
        found = store.of(maps[:end])
        assert found.shape == want.shape and found.parts[0].equal(want.parts[0])
    assert made == [7, 3, 4]
    other = [maps[0], maps[3], maps[1]]  # begins alike and goes on otherwise
    assert store.of(other).parts[0].equal(of(torch.cat(other, dim=1)).parts[0])
    twin = [maps[0].clone()]  # equal, but nobody can know that it stays so
    assert store.of(twin).parts[0].equal(of(maps[0]).parts[0])
    assert made == [7, 3, 4, 11, 5]


@pytest.mark.parametrize("name", ["nano", "nano_wacnn", "nano_cca", "nano_tcm", "nano_stf"])
@torch.no_grad()
def test_heads_share_tiles_in_float64_and_say_what_the_definition_says(name):
    model = random_model(name).double()
    codec, plain = model.latent_codec, plain_copy(model).latent_codec
    groups, last = model.config.groups, len(model.config.groups) - 1
    channels = codec.side(torch.randn(1, model.config.N, 2, 3).double(), None).scales.shape[1]
    side = Side(*torch.randn(2, 1, channels, 8, 12).double())
    slices = [torch.randn(1, c, 8, 12).double() for c in groups]
    for k in (0, 1, last):
        seen = slices[:k][: codec.slices[k].sees]
        ours, want = (c.slices[k](side, seen, c.dictionary) for c in (codec, plain))
        assert want.tiles is None
        assert (ours.mean - want.mean).abs().max() < 1e-12
        assert (ours.scale - want.scale).abs().max() < 1e-12
        assert (ours.support - want.support).abs().max() < 1e-12
        refined = [c.slices[k].refine(p, slices[k]) for c, p in ((codec, ours), (plain, want))]
        assert (refined[0] - refined[1]).abs().max() < 1e-12


@pytest.mark.parametrize("band", [1, 8 * 2 * 6 * 5 * 2, 2**21])  # of one, two and all rows
@torch.no_grad()
def test_the_depthwise_convolution_is_a_convolution_in_any_bands(band, monkeypatch):
    monkeypatch.setattr(residual, "_BAND", band)
    conv, x = DepthwiseConv(5).double(), torch.randn(2, 5, 7, 6).double()
    want = F.conv2d(x, conv.weight, conv.bias, padding=1, groups=5)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert (conv(x.to(memory_format=layout)) - want).abs().max() < 1e-13


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("windows", [1, 5, 12])  # a part holds ten of them
@pytest.mark.parametrize("has_mask", [False, True])
@torch.no_grad()
def test_attention_in_parts_is_attention(windows, has_mask, dtype, limit):
    qkv = torch.randn(windows, 64, 3, 6, 8)
    q, k, v = qkv.to(dtype).permute(2, 0, 3, 1, 4)
    bias = torch.randn(windows if has_mask else 1, 6, 64, 64)
    if has_mask:
        bias.masked_fill_(torch.rand_like(bias) < 0.3, float("-inf"))
    want = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), bias.double())
    with torch.autocast("cpu", enabled=dtype == torch.bfloat16):
        found = _attend_in_parts(q, k, v, bias)
    assert found.dtype == dtype and found.shape == want.shape
    assert (found - want).abs().max() < limit


@torch.no_grad()
def test_few_channels_a_head_take_parts_and_more_the_fused_attention(monkeypatch):
    taken = []
    monkeypatch.setattr(
        attention, "_attend_in_parts", lambda *a: taken.append(a) or _attend_in_parts(*a)
    )
    x = torch.randn(1, 16, 16, 16)
    for head_dim in (8, 16):
        layer = WindowAttention(16, head_dim, 8, shifted=True)
        found = layer(x)
        layer.__class__ = PlainWindowAttention
        assert (found - layer(x)).abs().max() < 1e-5
    assert len(taken) == 1
    layer = WindowAttention(16, 8, 8, shifted=True)
    with torch.enable_grad():
        layer(x)
    layer.double()(x.double())  # float64 is for what a decoder repeats
    assert len(taken) == 1


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_a_convolution_of_single_points_is_a_convolution(memory_format):
    conv, x = MapConv(16, 24), torch.randn(2, 16, 5, 7).contiguous(memory_format=memory_format)
    assert (conv(x) - F.conv2d(x, conv.weight, conv.bias)).abs().max() < 1e-5
    twin = torch.nn.Conv2d(16, 24, 1)
    assert twin.state_dict().keys() == conv.state_dict().keys()
    with FlopCounterMode(display=False) as counter:
        conv(x)
    assert counter.get_total_flops() == 2 * 2 * 16 * 24 * 5 * 7


# By 400: logits whose exp nothing could hold, and whose own rounding counts.
@pytest.mark.parametrize(("size", "error"), [(1, 1e-14), (400, 1e-10)])
@torch.no_grad()
def test_attention_of_float64_is_softmax_attention(size, error):
    q, keys, values = (torch.randn(2, rows, 16).double() for rows in (9, 3 * 32, 3 * 32))
    q *= size
    gates = torch.rand(9, 3).double()
    weights = (q @ keys.mT).unflatten(-1, (3, 32)).softmax(-1) * gates[..., None]
    want = weights.flatten(-2) @ values
    assert (_attend_by_head(q, keys, values, gates) - want).abs().max() < error


@torch.no_grad()
def test_encoding_leaves_out_what_nobody_will_see(photo):
    model = random_model("nano_wacnn")
    model.update()
    sees = [head.sees for head in model.latent_codec.slices]
    calls = []
    for k, head in enumerate(model.latent_codec.for_coding().slices):
        head.lrp.register_forward_hook(lambda *_, k=k: calls.append(k))
    y = model.g_a(torch.rand(1, 3, 64, 64))
    streams = model.latent_codec.compress(y, None)
    assert calls == [k for k in range(len(sees)) if any(n is None or n > k for n in sees[k + 1 :])]
    assert 0 < len(calls) < len(sees)
    calls.clear()
    both, y_hat = model.latent_codec.compress_with_latent(y, None)
    assert calls == list(range(len(sees)))
    assert [vars(s) for s in both] == [vars(s) for s in streams]
    assert torch.equal(y_hat, model.latent_codec.decompress(streams, (4, 4), None))


def test_gradients_and_training_are_torchs_own():
    layer, x = Linear(8, 24), torch.randn(2, 5, 3, 8)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    with torch.no_grad():
        assert (layer(x) - F.linear(x, layer.weight, layer.bias)).abs().max() < 1e-5
        assert layer(x[:0]).shape == (0, 5, 3, 24)
        conv = PointwiseConv(8, 24)
        want = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias).permute(0, 2, 3, 1)
        assert (conv(x) - want).abs().max() < 1e-5
    block = Bottleneck(8, 2, batch_norm=True)
    before = block.bn1.running_mean.clone()
    with torch.no_grad():
        block(torch.randn(2, 8, 6, 6))
    assert not torch.equal(block.bn1.running_mean, before)  # in training mode it counts


def mixture(**numbers: int) -> DictionaryCodec:
    """A small codec with dictionaries, none of whose factors is 1 and none of whose biases 0."""
    torch.manual_seed(2)
    model = DictionaryCodec(replace(PRESETS["nano"], **numbers)).eval()
    with torch.no_grad():
        for head in model.latent_codec.slices:
            for p in head.attention.parameters():
                p.add_(0.1 * torch.randn_like(p))
    model.update()
    return model


DICTIONARIES = [
    {"experts": 0}, {"experts": 1}, {"experts": 3, "top_k": 1}, {"context_channels": 80},
]  # fmt: skip


@pytest.mark.parametrize("numbers", DICTIONARIES, ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@torch.no_grad()
def test_what_is_computed_once_for_coding_says_what_the_layers_say(numbers, dtype, limit):
    codec = mixture(**numbers).latent_codec
    own = copy.deepcopy(codec).to(dtype)
    for coding, head in zip(codec.for_coding(dtype).slices, own.slices, strict=True):
        x = torch.randn(2, head.attention.fc_in.in_features, 5, 6, dtype=dtype)
        want, want_gates = head.attention(x, own.dictionary)
        got, gates = coding.attention(x)  # knows its dictionary
        assert coding.attention.keys is not None and head.attention.keys is None
        assert (got - want).abs().max() < limit * want.abs().max()
        assert (gates - want_gates).abs().max() < limit


@pytest.mark.parametrize("numbers", DICTIONARIES[:2], ids=str)
def test_a_copy_for_coding_leaves_its_codec_alone(numbers):
    codec = mixture(**numbers).latent_codec
    before = copy.deepcopy(codec)
    coding = codec.for_coding(torch.float32)
    assert codec.for_coding(torch.float32) is coding is coding.for_coding(torch.float32)
    ours, theirs = ({t.data_ptr() for t in tensors_of(c)} for c in (codec, coding))
    assert 0 < len(theirs - ours) < 0.2 * len(theirs)  # the rest is shared
    assert [p.requires_grad for p in codec.parameters()] == [True] * len(list(codec.parameters()))
    assert not any(p.requires_grad for p in coding.parameters())
    after = codec.state_dict()
    assert after.keys() == before.state_dict().keys()
    assert all(torch.equal(a, after[name]) for name, a in before.state_dict().items())
    # What is folded once is not folded again by a copy of it.
    x = torch.randn(1, coding.slices[0].attention.fc_in.in_features, 4, 4)
    again = coding.for_coding(torch.float64).slices[0].attention
    want = coding.slices[0].attention(x)[0]
    assert (again(x.double())[0] - want).abs().max() < 1e-5 * want.abs().max()


@torch.no_grad()
def test_nothing_is_folded_that_outlives_its_weights(photo):
    """After update(), load_state_dict() and a new reroute, files are those of a fresh model."""
    model, image = random_model("nano"), photo[:64, :64]
    model.update()
    encode(model, image, 50)
    for parameter in model.parameters():
        parameter.mul_(1.05)
    model.update()
    fresh = DictionaryCodec(model.config).eval().requires_grad_(False)
    fresh.load_state_dict(model.state_dict())
    fresh.update()
    data = encode(model, image, 50).data
    assert data == encode(fresh, image, 50).data
    other = random_model("nano")
    model.load_state_dict(other.state_dict())
    model.update()
    other.update()
    assert encode(model, image, 50).data == encode(other, image, 50).data != data
    ring, attention = model.latent_codec, model.latent_codec.slices[0].attention
    y, level = torch.randn(1, model.config.M, 4, 4), model.level(50.0, torch.empty(1).double())
    before = ring.compress_with_latent(y, level)[1]
    attention.reroute = lambda gates: gates.roll(1, -1)
    assert not torch.equal(ring.compress_with_latent(y, level)[1], before)
    attention.reroute = None
    assert torch.equal(ring.compress_with_latent(y, level)[1], before)


def test_bf16_files_decode_in_both_precisions_to_nearly_the_same_image(classroom, photo):
    model = copy.deepcopy(classroom)
    exact = np.asarray(decode(classroom, encode(classroom, photo, 60).data)).astype(float)
    model.transform_dtype = torch.bfloat16
    data = encode(model, photo, 60).data
    seen = [np.asarray(decode(m, data)).astype(float) for m in (classroom, model)]
    loss = [10 * np.log10(((s - photo) ** 2).mean() / ((exact - photo) ** 2).mean()) for s in seen]
    assert max(loss) < 0.02
    assert not np.array_equal(*seen)


def test_a_precision_that_is_slower_here_is_refused_or_left(nano, monkeypatch):
    model = copy.deepcopy(nano)
    seconds = {"float32": 1.0, "bf16": 3.0}
    monkeypatch.setattr(transforms, "transform_seconds", lambda *args, **options: seconds)
    with pytest.raises(OptionError, match="3.0 times as long"):
        transforms.set_transforms(model, "bf16")
    assert model.transform_dtype is None
    assert transforms.set_transforms(model, "auto") == "float32"
    with pytest.raises(OptionError, match="expected float32, bf16 or auto"):
        transforms.set_transforms(model, "fp8")
    seconds["bf16"] = 0.5
    assert transforms.set_transforms(model, "auto") == "bf16"
    assert model.transform_dtype == torch.bfloat16


def test_the_commands_take_transforms(nano, photo, tmp_path, monkeypatch, capsys):
    from PIL import Image

    model, image, coded = (str(tmp_path / n) for n in ("nano.safetensors", "a.png", "a.dco"))
    save_checkpoint(nano, model)
    Image.fromarray(photo[:64, :64]).save(image)
    found = {"float32": 2.0, "bf16": 1.0}
    monkeypatch.setattr(transforms, "transform_seconds", lambda *args, **options: found)
    common = ["--model", model, "--device", "cpu", "--transforms"]
    assert main(["compress", image, coded, *common, "auto"]) == 0
    assert "transforms in bf16" in capsys.readouterr().err
    assert main(["decompress", coded, str(tmp_path / "b.png"), *common, "bf16"]) == 0
    assert main(["evaluate", str(tmp_path / "a.png"), "--quality", "50", *common, "bf16"]) in (0, 1)
    found["bf16"] = 9.0
    assert main(["decompress", coded, str(tmp_path / "c.png"), *common, "bf16"]) == 1
    assert "no fast bf16" in capsys.readouterr().err


def test_memory_is_kept_only_within(monkeypatch):
    said = []
    monkeypatch.setattr(memory, "_set", lambda what, value: said.append((what, value)))
    with memory.kept_memory():
        first = len(said)
        with memory.kept_memory():
            assert len(said) == first == 2
        assert len(said) == first
    assert said[0] == (-4, 0) and (-4, 65536) in said[first:]
    with memory.kept_memory_off(), memory.kept_memory():
        assert said[5:] == [(-3, 2**25), (-1, 2**26)]
    assert said[7:] == [(-1, 2**30)]
    with pytest.raises(RuntimeError), memory.kept_memory():
        raise RuntimeError
    assert memory._inside == 0 and len(said) == 13


def test_little_free_memory_is_kept_and_much_given_back(monkeypatch):
    given = []
    functions = {"malloc_trim": given.append}
    monkeypatch.setattr(memory, "_function", functions.get)
    small, big = lambda: 100, lambda: memory._KEPT
    memory.release_memory(small)  # a C library that does not tell how much is free
    for free in (memory._KEPT, memory._KEPT + 1):
        monkeypatch.setattr(memory, "_free", lambda free=free: free)
        memory.release_memory(small)
        memory.release_memory(big)
    assert len(given) == 2
    monkeypatch.setattr(memory, "_free", lambda: 2 * memory._KEPT + 1)
    memory.release_memory(big)
    assert len(given) == 3
    functions.clear()
    memory.release_memory(small)  # no glibc


def test_every_part_and_tensor_is_found_once():
    model = random_model("nano")
    model.latent_codec.twin = model.latent_codec.h_a  # registered twice
    assert list(walk(model)) == list(model.modules())
    want = {id(t) for t in (*model.parameters(), *model.buffers())}
    found = tensors_of(model)
    assert len(found) == len(want) and {id(t) for t in found} == want


@pytest.mark.slow
def test_bench_speed_says_what_was_reached(nano, tmp_path, capsys):
    path = str(tmp_path / "nano.safetensors")
    save_checkpoint(nano, path)
    options = ["--size", "64", "64", "--repeats", "1", "--device", "cpu"]
    assert main(["bench", "speed", path, *options]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in list(PATHS)[:3])
    assert re.search(r"portable / fast: \d+\.\d\d, aim at most 1.25: (reached|MISSED)", out)
    assert main(["bench", "speed", path, "--full", *options]) == 1
    assert main(["bench", "speed", "--recipe", "data/nano.toml"]) == 1


def test_verdicts_compare_with_the_right_path():
    seconds = dict(zip(PATHS, (10.0, 5.0, 9.0, 4.0, 8.0), strict=True))
    found = {name: Speed(name, s / 2, s / 2, s) for name, s in seconds.items()}
    lines = list(verdicts(found, is_full=True))
    assert [line.rpartition(" ")[2] for line in lines] == ["MISSED", "reached", "reached"]
    assert "1.80" in lines[0] and "2.00" in lines[1] and "2.50" in lines[2]
    del found[FAST_BF16]
    assert len(list(verdicts(found, is_full=True))) == 2
    assert PORTABLE in found and PLAIN in found


def test_a_table_of_scales_costs_what_two_gaussians_differ_by():
    table = torch.linspace(math.log(0.11), math.log(256), 12, dtype=torch.float64)
    # Wide scales, each as far between two entries as there is: a factor f costs, a symbol,
    # log2(f) + (1 / f**2 - 1) / (2 ln 2) bits. One of 23 entries is just there.
    middle = ((table[-4] + table[-3]) / 2).expand(200_000)
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.standard_normal(len(middle)) * middle[0].exp().item()).astype(np.int32)
    cost, none = coder.bench_scale_tables([(symbols, middle)], (12, 23))
    # A little below the middle, which rounding might else take for the entry after.
    (dearer,) = coder.bench_scale_tables([(symbols, middle - 0.01)], (12,), above=True)
    factor = math.exp(float(table[1] - table[0]) / 2)
    bits = math.log2(math.sqrt(2 * math.pi * math.e) * middle[0].exp().item())
    up, down = (math.log2(f) + (f**-2 - 1) / (2 * math.log(2)) for f in (factor, 1 / factor))
    assert min(up, down) * 0.95 < cost * bits < max(up, down) * 1.05
    assert abs(none) < 1e-9 and dearer * bits == pytest.approx(up, rel=0.05)


@pytest.mark.slow
def test_bench_coder_codes_what_the_tables_promise(nano, tmp_path, capsys):
    ours, theirs = coder.bench_coder(nano, coder.slices_of(nano, (128, 128)), 1)
    assert ours.symbols == theirs.symbols == nano.config.M * 64
    # A stream closes with at most two words, CompressAI's begins with a state of 64 bits.
    slices = len(nano.config.groups)
    assert 0 <= ours.excess * ours.size < 8.1 * slices
    assert 0 <= theirs.excess * theirs.size < 8.1 * slices + 0.01 * theirs.size
    path = str(tmp_path / "nano.safetensors")
    save_checkpoint(nano, path)
    assert main(["bench", "coder", "--model", path, "--size", "64", "64", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "CompressAI's" in out and len(re.findall(r"64: -?\d+\.\d+%", out)) == 2
    assert main(["bench", "coder", "--model", path, "--size", "0", "64"]) == 1
    assert main(["bench", "coder", "--recipe", "data/nano.toml"]) == 1
