"""Looks into the router: maps add up, overruling it changes what it should and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dictco_lib.book.inspect.routing import (
    only,
    rerouted,
    rule_named,
    sharpened,
    shuffled,
    swapped,
    uniform,
    without,
)
from dictco_lib.coding import decode, encode
from dictco_lib.errors import BadChecksum, OptionError
from dictco_lib.images import read_image
from dictco_lib.models import DictionaryCodec, preset
from dictco_lib.training.routing import gate_entropy


@pytest.fixture
def model(classroom) -> DictionaryCodec:
    return classroom  # trained: an untrained router is undecided everywhere


@pytest.fixture
def x(photo) -> torch.Tensor:
    return read_image(photo[:128, :64]).pixels[None]


def routing_maps(model, x, quality):
    return [gates[0] for gates in model(x, quality, return_routing=True)["routing"]]


def bits_by_slice(model, x, quality):
    likelihoods = model(x, quality)["likelihoods"]["y"]
    return [-part.log2().sum().item() for part in likelihoods.split(model.config.groups, dim=1)]


def test_gates_add_up_and_their_entropy_is_at_most_two_bits(model, x):
    maps = routing_maps(model, x, 50)
    assert [m.shape for m in maps] == [(4, 8, 4)] * 5
    for gates in maps:
        torch.testing.assert_close(gates.sum(0), torch.ones(8, 4))
        assert (gate_entropy(gates) <= 2 + 1e-5).all()
    assert gate_entropy(torch.eye(4)[:, :, None]).abs().max() == 0


def test_rules_have_names(model, x):
    gates = torch.softmax(torch.randn(1, 2, 3, 4), -1)
    for text, rule in [
        ("uniform", uniform), ("shuffled", shuffled()), ("only:2", only(2)),
        ("without:0", without(0)), ("swapped:1:3", swapped(1, 3)),
    ]:  # fmt: skip
        torch.testing.assert_close(rule_named(text, 4)(gates), rule(gates))
    for text, message in [("only", "choose one"), ("best:1", "choose one"), ("only:4", "0 to 3")]:
        with pytest.raises(OptionError, match=message):
            rule_named(text, 4)


@pytest.mark.parametrize(
    "rule", [uniform, only(2), without(1), swapped(0, 3), shuffled(1)],
    ids=["uniform", "only", "without", "swapped", "shuffled"],
)  # fmt: skip
def test_every_rule_gives_gates_and_lets_the_model_go_afterwards(model, x, rule):
    before = routing_maps(model, x, 50)
    bits = bits_by_slice(model, x, 50)
    with rerouted(model, rule):
        inside = routing_maps(model, x, 50)
        changed = bits_by_slice(model, x, 50)
    for gates in inside:
        torch.testing.assert_close(gates.sum(0), torch.ones(8, 4))
    assert changed != bits
    assert bits_by_slice(model, x, 50) == bits
    # Slice 0 has the same query either way, so its rule can be checked on the gates themselves.
    torch.testing.assert_close(
        inside[0], rule(before[0].permute(1, 2, 0)[None])[0].permute(2, 0, 1)
    )


def test_inner_rules_give_way_to_outer_ones_again(model, x):
    with rerouted(model, only(1)):
        with rerouted(model, uniform, slices=[0]):
            assert (routing_maps(model, x, 50)[0] == 0.25).all()
        assert (routing_maps(model, x, 50)[0][1] == 1).all()


def test_rules_give_gates_for_saturated_routers_too():
    winner = torch.tensor([1.0, 0, 0, 0]).expand(1, 2, 2, 4)
    torch.testing.assert_close(without(0)(winner)[0, 0, 0], torch.tensor([0, 1, 1, 1]) / 3)
    even = torch.full((1, 2, 2, 4), 0.25)
    torch.testing.assert_close(sharpened(100)(even), even)


def test_a_file_of_an_overruled_router_decodes_only_with_the_same_rule(model, photo):
    with rerouted(model, uniform):
        data = encode(model, photo[:64, :64], 50).data
        decode(model, data)
    with pytest.raises(BadChecksum):
        decode(model, data)


def test_shuffling_keeps_the_load_and_forcing_takes_all(model, x):
    before = routing_maps(model, x, 50)[0]
    with rerouted(model, shuffled(3), slices=[0]):
        after = routing_maps(model, x, 50)[0]
    assert not torch.equal(before, after)
    torch.testing.assert_close(before.mean((1, 2)), after.mean((1, 2)))
    with rerouted(model, only(1), slices=[0]):
        maps = routing_maps(model, x, 50)
    assert (maps[0][1] == 1).all() and (maps[1][1] < 1).all()


def test_top_k_gates_keep_k_experts_and_add_up():
    torch.manual_seed(0)
    model = DictionaryCodec(replace(preset("nano"), top_k=2)).eval()
    for gates in routing_maps(model, torch.rand(1, 3, 64, 64), 50):
        assert ((gates > 0).sum(0) == 2).all()
        torch.testing.assert_close(gates.sum(0), torch.ones(4, 4))


def test_one_expert_has_no_router():
    model = DictionaryCodec(replace(preset("nano"), experts=1, entries=64))
    assert not any("router" in name for name, _ in model.named_parameters())
    assert (routing_maps(model.eval(), torch.rand(1, 3, 64, 64), 50)[0] == 1).all()
