"""The models as functions: shapes, sizes, precision, causality, input checks."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from dictco_lib.config import CLASSROOM, LMBDAS, NANO, ModelConfig
from dictco_lib.entropy.gaussian import EstimatingCoder
from dictco_lib.entropy.heads import Side
from dictco_lib.errors import ConfigError, NotUpdatedError, QualityError, ShapeError
from dictco_lib.layers.winograd import WideConv
from dictco_lib.models import DictionaryCodec, preset


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (64, 64), (100, 65)])
def test_any_size_goes_in_and_comes_out(nano, size):
    out = nano(torch.rand(2, 3, *size), 30.0, return_routing=True)
    assert out["x_hat"].shape == (2, 3, *size)
    rows, cols = (-(-side // 64) * 4 for side in size)
    for key in ("y", "means", "scales"):
        assert out["para"][key].shape == (2, nano.config.M, rows, cols)
    assert out["likelihoods"]["z"].shape == (2, nano.config.N, rows // 4, cols // 4)
    for likelihood in out["likelihoods"].values():
        assert ((likelihood > 0) & (likelihood <= 1)).all()
    for gates in out["routing"]:
        assert gates.shape == (2, nano.config.experts, rows, cols)
        torch.testing.assert_close(gates.sum(1), torch.ones(2, rows, cols))


def test_routing_comes_only_on_request(nano):
    assert "routing" not in nano(torch.rand(1, 3, 64, 64), 50)


def test_images_of_a_batch_do_not_touch_each_other(nano, crops):
    # In float64, as a batch may be added up in another order: in float32 a symbol near a half
    # would now and then be rounded the other way.
    model, x = copy.deepcopy(nano).double(), crops[:3].double()
    quality = torch.tensor([10.0, 50.0, 90.0], dtype=torch.float64)
    together = model(x, quality)["x_hat"]
    for i in range(3):
        alone = model(x[i : i + 1], float(quality[i]))["x_hat"]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-9)


def test_float64_works_and_agrees_with_float32(crops):
    torch.manual_seed(0)
    model = DictionaryCodec(replace(NANO, lmbdas=())).eval()
    with torch.no_grad():
        single = model(crops[:1])["para"]["y"]
        double = model.double()(crops[:1].double())["para"]["y"]
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives(nano, crops):
    want = nano(crops[:2], 50.0)["para"]["y"]
    got = copy.deepcopy(nano).cuda()(crops[:2].cuda(), 50.0)["para"]["y"].cpu()
    torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)


def test_a_slice_depends_on_earlier_slices_only(crops):
    torch.manual_seed(0)
    model = DictionaryCodec(NANO).eval()
    y = model.g_a(crops[:1]).detach()
    groups = model.config.groups
    level = model.level(50.0, crops)[:1]
    for k in range(len(groups)):
        y_in = y.clone().requires_grad_()
        codec = model.latent_codec
        side = Side(*torch.randn(2, 1, model.config.hyper_channels, *y.shape[2:]))
        coder = EstimatingCoder(codec.entropy_bottleneck, codec.gaussian)
        trace = codec.run_slices(side, coder, codec.scale_y(y_in, level))
        (trace.means[k].sum() + trace.scales[k].sum()).backward()
        start = sum(groups[:k])
        if k == 0:
            assert y_in.grad is None or not y_in.grad.any()
            continue
        assert y_in.grad[:, :start].any()
        assert not y_in.grad[:, start:].any()


@pytest.mark.parametrize(
    "bad",
    [
        torch.rand(3, 64, 64),
        torch.rand(1, 1, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        torch.rand(1, 3, 0, 64),
        "photo.png",
    ],
)
def test_wrong_input_is_named(nano, bad):
    with pytest.raises(ShapeError, match="expected a float tensor"):
        nano(bad, 50)


def test_quality_is_checked(nano):
    x = torch.rand(1, 3, 64, 64)
    for quality in (-1, 101, None):
        with pytest.raises(QualityError):
            nano(x, quality)
    for quality in ("high", torch.rand(3), torch.rand(1, 1, 2), float("nan")):
        with pytest.raises(QualityError):
            nano(x, quality)
    fixed = DictionaryCodec(replace(NANO, lmbdas=())).eval()
    with pytest.raises(QualityError, match="one fixed rate"):
        fixed(x, 50)
    with pytest.raises(QualityError, match="one fixed rate"):
        fixed.config.lmbda(50)


def test_the_ends_of_the_quality_range_are_the_outer_anchors(nano):
    gain = nano.latent_codec.gain_y
    x = torch.rand(2, 3, 64, 64)
    level = nano.level(torch.tensor([0.0, 100.0]), x)
    torch.testing.assert_close(
        gain.gain(level)[:, :, 0, 0], gain.log_gain[[0, -1]].exp(), rtol=0, atol=0
    )
    middle = gain.inverse(nano.level(10.0, x))[0, :, 0, 0]  # half-way between two anchors
    torch.testing.assert_close(middle, gain.log_inverse[:2].mean(0).exp())


def changed_by_data(codec):
    codec.slices[0].mean[0].weight.data.mul_(1.5)  # no new address, no new version


def changed_by_loading(codec):
    codec.load_state_dict({k: v * 1.5 if "mean" in k else v for k, v in codec.state_dict().items()})


def changed_by_casting(codec):
    codec.half().float()


def changed_by_rerouting(codec):
    codec.slices[1].attention.reroute = lambda gates: gates.flip(-1)


@pytest.mark.parametrize("change", [changed_by_data, changed_by_loading, changed_by_casting])
def test_weights_that_changed_do_not_code_before_the_next_update(nano, change):
    codec = copy.deepcopy(nano.latent_codec)
    y, level = torch.randn(1, NANO.M, 8, 8) * 3, torch.tensor([2.0])
    before, old = codec.for_coding(), codec.compress(y, level)
    assert codec.for_coding() is before
    change(codec)
    for use in (lambda: codec.compress(y, level), lambda: codec.decompress(old, (8, 8), level)):
        with pytest.raises(NotUpdatedError, match="have changed since .* model.update"):
            use()
    codec.update()
    fresh = copy.deepcopy(codec)  # copies make a float64 copy of their own
    assert codec.for_coding() is not before
    assert codec.compress(y, level) == fresh.compress(y, level) != old


def test_an_overruled_router_is_coded_with_and_forgotten(nano):
    codec = copy.deepcopy(nano.latent_codec)
    y, level = torch.randn(1, NANO.M, 8, 8) * 3, torch.tensor([2.0])
    old = codec.compress(y, level)
    changed_by_rerouting(codec)
    assert codec.compress(y, level) != old
    codec.slices[1].attention.reroute = None
    assert codec.compress(y, level) == old


def test_a_model_that_moved_or_was_copied_is_still_the_same(nano):
    codec = copy.deepcopy(nano.latent_codec)
    codec.to(memory_format=torch.channels_last)
    y, level = torch.randn(1, NANO.M, 8, 8) * 3, torch.tensor([2.0])
    assert codec.compress(y, level) == nano.latent_codec.compress(y, level)


def test_gates_that_a_bias_alone_has_chosen_still_add_up():
    model = DictionaryCodec(replace(NANO, experts=4, top_k=2))
    attention = model.latent_codec.slices[0].attention
    attention.router[-1].weight.data.zero_()
    attention.router[-1].bias.data = torch.tensor([200.0, 200.0, 1.0, 0.0])
    attention.selection_bias.copy_(torch.tensor([0.0, 0.0, 9.0, 9.0]))
    gates = attention.gates(torch.zeros(1, 2, 2, NANO.dictionary_dim))
    want = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(gates[0, 0, 0, 2:].detach(), want)
    torch.testing.assert_close(gates.sum(-1), torch.ones(1, 2, 2))
    assert not gates[..., :2].any()


def test_coding_works_in_inference_mode(crops):
    with torch.inference_mode():
        model = DictionaryCodec.from_preset("nano").eval()
        model.update()
        codec = model.latent_codec
        y, level = model.g_a(crops[:1]), torch.tensor([2.0], dtype=torch.float64)
        streams = codec.compress(y, level)
        assert codec.decompress(streams, y.shape[2:], level).shape == y.shape


def test_coding_while_training_uses_and_keeps_the_evaluation_statistics(crops):
    model = DictionaryCodec(replace(NANO, batch_norm=True)).eval()
    model.update()
    codec, level = model.latent_codec, torch.tensor([2.0])
    y = torch.randn(1, NANO.M, 8, 8)
    want = codec.compress(y, level)
    model.train()
    state = copy.deepcopy(codec.state_dict())
    for _ in range(2):
        model.update()
        assert codec.compress(y, level) == want
    assert all(torch.equal(value, state[key]) for key, value in codec.state_dict().items())
    assert codec.training


def test_tables_of_a_model_gone_wrong_are_refused():
    model = DictionaryCodec(NANO)
    model.latent_codec.entropy_bottleneck.quantiles.data[3] = float("nan")
    with pytest.raises(NotUpdatedError, match="NaN"):
        model.update()


def test_more_quality_costs_more_bits_and_gives_less_error(nano, crops):
    bits, errors = [], []
    for quality in (0.0, 50.0, 100.0):
        out = nano(crops[:4], quality)
        bits.append(-sum(p.log2().sum() for p in out["likelihoods"].values()).item())
        errors.append((out["x_hat"] - crops[:4]).square().mean().item())
    assert bits == sorted(bits)
    assert errors == sorted(errors, reverse=True)


def test_quality_walks_through_the_lambda_anchors():
    for i, lmbda in enumerate(LMBDAS):
        assert CLASSROOM.lmbda(20 * i) == pytest.approx(lmbda)
    assert LMBDAS[2] < CLASSROOM.lmbda(50) < LMBDAS[3]


def test_configs_round_trip_and_refuse_nonsense():
    for name in ("dcae", "dictco", "classroom", "nano"):
        config = preset(name)
        assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="unknown keys"):
        ModelConfig.from_dict(NANO.to_dict() | {"colour": "blue"})
    for wrong in (
        {"groups": (8, 8)},
        {"groups": (48, 0)},
        {"groups": 48},
        {"M": 300, "groups": (1,) * 300},  # a slice number takes one byte in the file
        {"N": True},
        {"N": 32.0},
        {"heads": 3},
        {"heads": 0},
        {"head_dims": (8, 8, 0)},
        {"blocks": (0, 0, -1)},
        {"experts": -1},
        {"reduction": 17},
        {"dictionary_dim": 2},
        {"parameter_widths": (32,)},
        {"batch_norm": 0},
        {"name": None},
        {"lmbdas": (0.1,)},
        {"lmbdas": (-0.1, 0.1)},
        {"lmbdas": (0.1, float("nan"))},
        {"widths": (16, 24)},
    ):
        with pytest.raises(ConfigError):
            replace(NANO, **wrong)
    with pytest.raises(ConfigError, match="expected a table"):
        ModelConfig.from_dict([1])
    with pytest.raises(ConfigError, match="no preset"):
        preset("giant")


def test_the_shipped_shape_is_small_enough():
    model = DictionaryCodec(CLASSROOM)
    assert sum(p.numel() for p in model.parameters()) <= 12e6


@pytest.mark.parametrize("shape", [(1, 40, 1, 1), (2, 40, 5, 7), (1, 40, 1, 9)])
def test_the_float64_convolution_of_many_channels_is_the_convolution(shape):
    conv = WideConv(40, 8).double().requires_grad_(False)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    with torch.no_grad():
        ours = conv(x)
        channels_last = conv(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(ours, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(channels_last, want, rtol=1e-12, atol=1e-12)
