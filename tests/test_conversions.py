"""Checkpoints of every member in every layout: nothing is lost, and no harm goes unnamed."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import dictco_lib
from dictco_lib.checkpoints import (
    fingerprint,
    load_checkpoint,
    load_published,
    save_checkpoint,
    to_compressai,
    to_published,
)
from dictco_lib.cli import main
from dictco_lib.errors import CheckpointError, PortWarning, WrongModel
from dictco_lib.models import FAMILIES, Codec, preset

_DICTIONARY = {"blocks": (1, 1, 1), "residual_blocks": 2}
CHANGES = {
    "nano_wacnn": {}, "nano_stf": {}, "nano_cca": {}, "nano_saaf": {},
    "nano_tcm": {"groups": (16, 32)}, "nano_tcm plain": {"groups": (16, 32), "auxt": False},
    "nano dcae": _DICTIONARY | {"experts": 0},
    "nano dictco": _DICTIONARY | {"batch_norm": True},
}  # fmt: skip
BOTH = [(name, "published") for name in CHANGES if "plain" not in name]
BOTH += [(name, "compressai") for name in CHANGES if "dictco" not in name]
WRITE = {"published": to_published, "compressai": to_compressai}

pytestmark = pytest.mark.filterwarnings("ignore::dictco_lib.errors.PortWarning")


def made(name: str, **changes) -> Codec:
    torch.manual_seed(0)
    config = replace(preset(name.split()[0]), lmbdas=(), **CHANGES[name], **changes)
    model = Codec(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # zeros and ones would hide what is exchanged
        parameter.add_(0.01 * torch.randn_like(parameter))
    return model


FEW = pytest.mark.parametrize(
    "case", [("nano_cca", "published"), ("nano_stf", "compressai")], indirect=True, ids=" ".join
)


@pytest.fixture(scope="module", params=BOTH, ids=" ".join)
def case(request):
    """A model, its state dict in a layout of others, and the way to write one."""
    name, layout = request.param
    model = made(name)
    with warnings.catch_warnings(action="ignore"):
        return model, WRITE[layout](model), WRITE[layout]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def ours(model: Codec) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if "_tables" not in k}


# Nothing is lost.


def test_nothing_is_lost_there_and_back(case):
    model, state, write = case
    again = load_published(state)
    assert replace(again.config, name=model.config.name) == model.config
    assert same(ours(again), ours(model))
    assert same(write(again), state)


def test_wrappers_prefixes_and_old_names_change_nothing(case, tmp_path):
    model, state, _ = case
    new = (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor"))
    odd = {}
    for key, value in state.items():
        for name, old in new:
            key = re.sub(rf"(entropy_bottleneck)\.{re.escape(name)}(\d)$", rf"\1.{old}\2", key)
        odd[f"module.{key}"] = value
    assert any("._matrix0" in key for key in odd)
    path = tmp_path / "a.pth.tar"
    torch.save({"epoch": 1, "state_dict": {"state_dict": odd, "lr": 1e-4}}, path)
    assert same(ours(load_published(path)), ours(model))


def test_other_precisions_are_read_as_float32_each_tensor_in_its_own(case):
    model, state, _ = case
    kinds = (torch.float64, torch.bfloat16, torch.float16, torch.float32)
    mixed = {  # tensors that are one in the authors' model have names that end alike
        k: v.to(kinds[len(k.rpartition(".")[2]) % 4]) if v.is_floating_point() else v
        for k, v in state.items()
    }
    assert len({v.dtype for v in mixed.values() if v.is_floating_point()}) >= 3
    again = load_published(mixed)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    for got, want in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=2**-8, atol=1e-6)
        assert any(torch.equal(got, want.to(kind).float()) for kind in kinds)


def test_a_model_in_another_precision_is_written_in_it(case):
    model, state, write = case
    written = write(copy.deepcopy(model).double())
    floats = [v for v in written.values() if v.is_floating_point()]
    assert sum(v.dtype == torch.float64 for v in floats) > 0.9 * len(floats)
    assert same(ours(load_published(written)), ours(model))


def test_a_report_names_every_tensor_once(case):
    model, state, write = case
    read, written = [], []
    load_published(state, report=read)
    assert sorted(line.split(" ")[0] for line in read) == sorted(state)
    write(model, report=written)
    ends = [re.sub(r" \(.*\)$", "", line).split(" -> ")[-1] for line in written]
    assert sorted(ends) == sorted(state)
    # Ours are all there, and on both lists.
    reached = {re.sub(r" \(.*\)$", "", line).split(" -> ")[-1] for line in read}
    assert reached >= ours(model).keys() - {k for k in ours(model) if k.endswith("tracked")}
    assert {line.split(" ")[0] for line in written} >= ours(model).keys()
    assert all("(" in line for line in read + written if " -> " not in line)


# No harm goes unnamed.


def harms(value: torch.Tensor) -> list[object]:
    return [
        None,  # it is not there
        torch.zeros(()),
        torch.zeros(2, 3),
        torch.zeros(0, 5),
        torch.zeros(value.shape, dtype=torch.complex64),
        torch.zeros(value.shape, dtype=torch.bool),
        torch.full(value.shape, torch.nan),
        torch.zeros(value.shape, device="meta"),
        torch.zeros(value.shape).to_sparse(),
        "weights",
    ]


def test_any_harm_is_named_or_harmless(case):
    model, state, _ = case
    rng = np.random.default_rng(0)
    keys = list(state)
    for i in rng.choice(len(keys), 3, replace=False):
        key, wrong = keys[i], harms(state[keys[i]])[rng.integers(10)]
        harmed = {k: v for k, v in state.items() if k != key}
        harmed |= {} if wrong is None else {key: wrong}
        try:
            again = load_published(harmed)
        except CheckpointError as error:
            assert len(str(error)) <= 2000
        else:
            assert same(ours(again), ours(model)), (key, wrong)


@FEW
def test_what_does_not_fit_is_called_as_in_the_file(case):
    _, state, _ = case
    weights = [k for k in state if k.endswith("lrp_transform.0.weight") or k.startswith("lrp_tr")]
    missing, wrong = weights[0], next(k for k in state if "h_a" in k and k.endswith("bias"))
    harmed = {k: v for k, v in state.items() if k != missing}
    harmed |= {wrong: torch.zeros(1, 2), "surprise.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        load_published(harmed)
    for part in (rf"missing \['{missing}'", rf"wrong \['{wrong}: ", r"unknown \['surprise\.weight"):
        assert re.search(part, str(error.value)), str(error.value)


@FEW
def test_a_thousand_unknown_tensors_are_told_in_a_few_words(case):
    _, state, _ = case
    more = {f"more.{i}.weight": torch.zeros(1) for i in range(1000)}
    with pytest.raises(CheckpointError, match="and 992 more") as error:
        load_published(state | more)
    assert len(str(error.value)) < 1000


@FEW
def test_a_tensor_under_two_names_must_be_one(case):
    model, state, _ = case
    key = next(k for k in state if "h_a" in k and k.endswith("bias"))
    twice = [f"module.{key}"]
    if key.startswith("latent_codec."):
        twice.append(key.removeprefix("latent_codec."))
    for name in twice:
        assert same(ours(load_published(state | {name: state[key].clone()})), ours(model))
        with pytest.raises(CheckpointError, match="twice|which is meant"):
            load_published(state | {name: state[key] + 1})


def test_a_mapping_that_holds_itself_is_named(tmp_path):
    state: dict = {"epoch": 1}
    state["state_dict"] = state
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="expected a tensor"):
        load_published(tmp_path / "a.pth")


def test_networks_of_ones_own_have_no_layout():
    config = replace(preset("nano_stf"), lmbdas=())
    model = Codec(config, FAMILIES["stf"])
    for write in WRITE.values():
        with pytest.raises(CheckpointError, match="networks of its own"):
            write(model)


# CompressAI's layout.


def test_a_wrong_index_or_wavelet_is_another_function():
    state = to_compressai(made("nano_tcm"))
    for end in ("relative_position_index", "dwt.transform.h1_col", "idwt.inverse.g0_row"):
        key = next(k for k in state if k.endswith(end))
        with pytest.raises(CheckpointError, match=f"wrong .*{re.escape(key)}"):
            load_published(state | {key: state[key].flip(0) * 2})
        load_published({k: v for k, v in state.items() if k != key})


def test_the_extra_layer_must_be_whole():
    state = to_compressai(made("nano_tcm"))
    key = next(k for k in state if k.endswith("msa.attn.proj.weight"))
    for harm in (None, torch.zeros(2, 2), torch.eye(3)):
        harmed = {k: v for k, v in state.items() if k != key} | (
            {} if harm is None else {key: harm}
        )
        with pytest.raises(CheckpointError, match=r"msa\.proj"):
            load_published(harmed)


def test_branches_may_lie_at_the_root():
    model = made("nano_tcm")
    older = {}
    for key, value in to_compressai(model).items():
        for new, old in (("g_a.aux", "AuxT_enc"), ("g_s.aux", "AuxT_dec")):
            key = key.replace(f"{new}iliary_layers.", f"{old}.")
        older[key.replace("g_a.transform.", "g_a.").replace("g_s.transform.", "g_s.")] = value
    assert not any("auxiliary" in key for key in older)
    assert same(ours(load_published(older)), ours(model))


def test_sizes_that_the_port_cannot_have_are_told():
    with pytest.warns(PortWarning, match=r"groups \(8, 16, 24\) \(there: \(16, 16, 16\)\)"):
        to_compressai(made("nano_wacnn"))
    for name in ("dcae", "wacnn", "stf", "cca"):
        from dictco_lib.checkpoints.published import _port_problems

        assert not _port_problems(preset(name), name)


# The two ports that compute something else.


@pytest.fixture(scope="module", params=["nano_tcm", "nano_tcm plain", "nano_saaf"])
def pair(request):
    """The same weights in a model of the authors' code and in one of the port's."""
    model = made(request.param)
    with warnings.catch_warnings(action="ignore"):
        return load_published(to_published(model)), load_published(
            to_compressai(model), ported=True
        )


def test_a_model_of_a_port_is_another_one(pair, tmp_path, photo):
    authors, ported = pair
    assert "ported" not in authors.config.to_dict()  # so that old fingerprints hold
    assert ported.config == replace(authors.config, ported=True)
    assert fingerprint(ported) != fingerprint(authors)
    x = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(authors(x)["x_hat"], ported(x)["x_hat"], atol=1e-4)
    save_checkpoint(ported, tmp_path / "a.safetensors")
    again = load_checkpoint(tmp_path / "a.safetensors")
    assert again.config == ported.config
    data = dictco_lib.encode(again, photo[:70, :80]).data
    dictco_lib.decode(ported, data)
    with pytest.raises(WrongModel):
        dictco_lib.decode(authors, data)


def test_a_model_of_a_port_goes_back_there_only(pair):
    authors, ported = pair
    assert same(to_compressai(ported), to_compressai(authors))
    with pytest.raises(CheckpointError, match="authors' code computes something else"):
        to_published(ported)
    with pytest.raises(CheckpointError, match="leave it out"):
        load_published(to_published(authors), ported=True)


def test_ported_is_no_news_where_the_port_computes_the_same():
    state = to_compressai(made("nano_stf"))
    assert load_published(state, ported=True).config == load_published(state).config


def test_where_weights_were_trained_is_asked_for(tmp_path, capsys):
    there, here, back = (str(tmp_path / n) for n in ("a.pth", "b.safetensors", "c.pth"))
    torch.save(to_compressai(made("nano_tcm")), there)
    assert main(["convert", there, here, "--to", "dco"]) == 0
    assert "--ported" in capsys.readouterr().err
    assert main(["convert", here, back, "--to", "compressai"]) == 0
    assert "support before its transform" in capsys.readouterr().err
    assert main(["convert", there, here, "--to", "dco", "--ported", "--force"]) == 0
    assert capsys.readouterr().err == ""
    assert load_checkpoint(here).config.ported
    assert main(["convert", here, back, "--to", "published", "--force"]) == 1
    assert "Give --to compressai" in capsys.readouterr().err
    assert main(["convert", here, back, "--to", "dco", "--ported"]) == 1


def test_files_are_named_by_what_they_are(tmp_path, capsys):
    source = str(tmp_path / "a.pth")
    torch.save(to_published(made("nano_stf")), source)
    for name, layout, wanted in (
        ("b.pth", "dco", "b.safetensors"),
        ("b.safetensors", "published", "b.pth"),
    ):
        assert main(["convert", source, str(tmp_path / name), "--to", layout]) == 1
        assert f"name it {wanted}" in capsys.readouterr().err
        assert not (tmp_path / name).exists()


@pytest.mark.slow
def test_a_model_of_full_size_goes_there_and_back():
    model = Codec(preset("tcm_auxt")).eval()
    again = load_published(to_compressai(model))
    assert again.config == model.config
    assert same(ours(again), ours(model))
