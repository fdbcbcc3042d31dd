"""Our checkpoints: everything comes back, damage and misfits are named."""

from __future__ import annotations

import copy
import json
import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dictco_lib
from dictco_lib.book.inspect.ablations import rd_curves
from dictco_lib.checkpoints import (
    export,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
    shipped_models,
)
from dictco_lib.checkpoints.native import read_info
from dictco_lib.config import NANO
from dictco_lib.errors import CheckpointError
from dictco_lib.evaluation.bdrate import compare
from dictco_lib.images import demo_images, read_image
from dictco_lib.models import DictionaryCodec


@pytest.fixture
def saved(nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors", info={"steps": 3})
    return tmp_path / "nano.safetensors"


def test_a_checkpoint_rebuilds_the_model_without_being_told_anything(nano, saved, crops):
    again = load_checkpoint(saved)
    assert again.config == NANO
    assert not again.training
    assert fingerprint(again) == fingerprint(nano)
    with torch.no_grad():
        assert torch.equal(again(crops[:1], 50.0)["x_hat"], nano(crops[:1], 50.0)["x_hat"])
    assert read_info(saved)["info"] == {"steps": 3}


def test_tables_are_loaded_never_recomputed(nano, saved):
    state = load_file(saved)
    key = "latent_codec.z_tables.frequencies"
    state[key][:2] += torch.tensor([1, -1], dtype=torch.int32)
    metadata = {
        "format": "dictco-checkpoint-1",
        "config": json.dumps(NANO.to_dict()),
        "info": "{}",
    }
    save_file(state, saved, metadata)
    again = load_checkpoint(saved)
    assert torch.equal(again.latent_codec.z_tables.frequencies, state[key])
    assert fingerprint(again) != fingerprint(nano)


def test_the_fingerprint_sees_every_weight_and_no_name(nano):
    other = copy.deepcopy(nano)
    other.config = replace(NANO, name="mine")
    assert fingerprint(other) == fingerprint(nano)
    other.g_s[0].bias[0] += 1e-6
    assert fingerprint(other) != fingerprint(nano)


def test_the_fingerprint_sees_the_running_statistics_of_batch_norm():
    model = DictionaryCodec(replace(NANO, batch_norm=True)).eval()
    before = fingerprint(model)
    norm = next(part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d))
    norm.train()(torch.rand(2, norm.num_features, 4, 4))
    assert fingerprint(model) != before


def test_rows_of_8_bits_are_within_half_a_step_and_leave_the_transforms_alone(nano, tmp_path):
    save_checkpoint(nano, tmp_path / "whole.safetensors")
    export(tmp_path / "whole.safetensors", tmp_path / "small.safetensors", rows8=True)
    small = load_checkpoint(tmp_path / "small.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < 0.5 * sizes[1]
    for key, value in load_checkpoint(tmp_path / "whole.safetensors").named_parameters():
        off = (small.get_parameter(key) - value).abs().flatten(1 if value.dim() > 1 else 0)
        most = value.abs().max() * 2**-11
        if key.startswith("latent_codec.") and value.dim() > 1 and value.numel() > 4096:
            most = value.abs().max() / 127 / 2 * 1.001
        assert off.max() <= most, key


def test_weights_in_rows_of_8_bits_cost_at_most_a_third_of_a_percent(classroom, tmp_path):
    save_checkpoint(classroom, tmp_path / "whole.safetensors")
    export(tmp_path / "whole.safetensors", tmp_path / "small.safetensors", rows8=True)
    small = load_checkpoint(tmp_path / "small.safetensors")
    images = {
        name: read_image(np.ascontiguousarray(read_image(path).samples[:256, :256]))
        for name, path in demo_images().items()
    }
    whole, rounded = (rd_curves(m, images, (0, 50, 100)) for m in (classroom, small))
    costs = [compare(whole[name], rounded[name]).rate for name in images]
    assert abs(sum(costs) / len(costs)) < 0.3, costs


def test_steps_without_their_integers_are_named(saved, tmp_path):
    path = tmp_path / "small.safetensors"
    export(saved, path, rows8=True)
    state = load_file(path)
    key = next(key for key, value in state.items() if value.dtype == torch.int8)
    steps = f"{key}.steps_of_rows"
    damaged = [
        {k: v for k, v in state.items() if k != key},
        state | {steps: state[steps][:0]},
        state | {steps: torch.ones(7)},
        state | {steps: state[steps].view(1, -1)},
        state | {steps: state[steps] * float("nan")},
        {k: v for k, v in state.items() if k != steps},
    ]
    metadata = {"format": "dictco-checkpoint-1"}
    metadata |= {part: json.dumps(table) for part, table in read_info(path).items()}
    for tensors in damaged:
        save_file(tensors, tmp_path / "bad.safetensors", metadata=metadata)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("rows8", [False, True])
def test_exporting_twice_changes_nothing_more(saved, tmp_path, rows8):
    export(saved, tmp_path / "once.safetensors", rows8=rows8)
    export(tmp_path / "once.safetensors", tmp_path / "twice.safetensors", rows8=rows8)
    once, twice = (load_checkpoint(tmp_path / f"{n}.safetensors") for n in ("once", "twice"))
    assert fingerprint(once) == fingerprint(twice)
    size = (tmp_path / "once.safetensors").stat().st_size
    assert size < 0.62 * saved.stat().st_size


def test_misfits_are_listed(nano, saved):
    state = load_file(saved)
    metadata = {"format": "dictco-checkpoint-1", "config": json.dumps(NANO.to_dict()), "info": "{}"}
    del state["g_a.0.conv.weight"]
    save_file(state | {"extra": torch.zeros(1)}, saved, metadata)
    with pytest.raises(CheckpointError, match="g_a.0.conv.weight.*extra"):
        load_checkpoint(saved)


def test_foreign_and_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        load_checkpoint(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="expected 'dictco-checkpoint-1'"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_load_knows_names_and_says_which(tmp_path):
    assert dictco_lib.load("classroom").config.name == "classroom"
    with pytest.raises(CheckpointError, match="shipped models: .*classroom"):
        dictco_lib.load("giant")
    with pytest.raises(CheckpointError, match="no weights ship for this preset"):
        dictco_lib.load("dcae")


def test_the_shipped_weights_keep_their_promises(classroom):
    path = shipped_models()["classroom"]
    assert path.stat().st_size <= 25e6
    assert classroom.config.is_variable_rate and classroom.config.experts > 1
    assert read_info(path)["info"]["recipe"]["model"] == "classroom"


METADATA = {"format": "dictco-checkpoint-1", "config": json.dumps(NANO.to_dict()), "info": "{}"}
WEIGHT = "g_a.0.conv.weight"
FREQUENCIES = "latent_codec.z_tables.frequencies"


def half_wrong(state, key):
    state[key] = state[key].clone()
    state[key].flatten()[0] = float("nan")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda s: s.pop(WEIGHT), rf"missing \['{WEIGHT}'\]"),
        (lambda s: s.update({WEIGHT + "s": s.pop(WEIGHT)}), rf"missing .*{WEIGHT}.*unknown .*s'\]"),
        (lambda s: s.update({WEIGHT: s[WEIGHT][:, :2].contiguous()}), "shape .*expected .16, 3, 5"),
        (lambda s: s.update({WEIGHT: s[WEIGHT].flatten()}), "shape .*expected .16, 3, 5"),
        (lambda s: s.update({WEIGHT: s[WEIGHT].int()}), "torch.int32, expected floats"),
        (lambda s: s.update({WEIGHT: s[WEIGHT] > 0}), "torch.bool"),
        (lambda s: s.update({WEIGHT: s[WEIGHT].to(torch.complex64)}), "torch.complex64"),
        (lambda s: half_wrong(s, WEIGHT), "NaN"),
        (lambda s: s.update({WEIGHT: s[WEIGHT].double() * 1e300}), "infinity"),
        (lambda s: s.update({FREQUENCIES: s[FREQUENCIES].float()}), "torch.float32"),
        (lambda s: s.update({FREQUENCIES: s[FREQUENCIES][:-1].clone()}), "table is damaged"),
        (lambda s: s.update({FREQUENCIES: s[FREQUENCIES] + 1}), "table is damaged"),
        (lambda s: s.update({FREQUENCIES: s[FREQUENCIES][:0].clone()}), "table is damaged"),
        (lambda s: s.update({"latent_codec.gaussian.scale_bound": torch.ones(1)}), "unknown"),
    ],
)
def test_every_harm_to_a_tensor_is_named(saved, harm, message):
    state = load_file(saved)
    harm(state)
    save_file(state, saved, METADATA)
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(saved)
    assert str(saved) in str(error.value)


def test_every_float_type_is_accepted(nano, saved):
    state = load_file(saved)
    state[WEIGHT] = state[WEIGHT].double()
    save_file(state, saved, METADATA)
    again = load_checkpoint(saved)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert fingerprint(again) == fingerprint(nano)


def test_wrong_metadata_is_named(saved):
    state = load_file(saved)
    for part in ("config", "info"):
        for wrong in (None, "", "{", "[" * 100_000, "[1]", "3", "null", '"a"'):
            metadata = {k: v for k, v in METADATA.items() if k != part or wrong is not None}
            save_file(state, saved, metadata | ({part: wrong} if wrong is not None else {}))
            with pytest.raises(CheckpointError, match=part):
                load_checkpoint(saved)


@pytest.mark.parametrize("field", [*NANO.to_dict(), "top_k"])
def test_any_junk_in_the_config_is_named(saved, field):
    state = load_file(saved)
    junk = (0, -1, 7, 1.5, 10**6, 10**12, 10**30, True, None, "a", "", [], [0, 0, 0], [1, 2, 3])
    for wrong in (*junk, ["a"] * 3, [10**12] * 3, {}, [[1]], float("nan"), [float("inf"), 1]):
        config = NANO.to_dict() | {field: wrong}
        if field == "name" and isinstance(wrong, str):
            continue
        if (field, wrong) in (("lmbdas", [1, 2, 3]), ("top_k", 0)):
            continue  # other values, but right ones
        save_file(state, saved, METADATA | {"config": json.dumps(config)})
        with pytest.raises(CheckpointError, match="save the model again"):
            load_checkpoint(saved)


def test_a_file_cut_or_altered_anywhere_in_its_header_raises_nothing_unnamed(saved):
    data = saved.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    chance = random.Random(0)
    for _ in range(50):
        saved.write_bytes(
            data[: chance.choice([chance.randrange(header), chance.randrange(len(data))])]
        )
        with pytest.raises(CheckpointError):
            load_checkpoint(saved)
    for _ in range(100):
        altered = bytearray(data)
        altered[chance.randrange(header)] = chance.randrange(256)
        saved.write_bytes(altered)
        try:
            load_checkpoint(saved)  # a digit of lmbdas, a name: not every byte can be proved
        except CheckpointError:
            pass


def test_a_model_too_large_for_float16_is_not_halved(nano, tmp_path):
    model = copy.deepcopy(nano)
    model.g_a[0].conv.weight.data = torch.full((90, 3, 5, 5), 1e5)
    with pytest.raises(CheckpointError, match="do not fit in float16"):
        save_checkpoint(model, tmp_path / "half.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_sees_changes_that_torch_does_not_count(nano):
    model = copy.deepcopy(nano)
    before = fingerprint(model)
    model.g_s[0].bias.data.add_(1)  # no new address, no new version
    assert fingerprint(model) != before


def test_copies_and_pickles_are_the_same_model(nano):
    nano.latent_codec.for_coding()
    for other in (copy.deepcopy(nano), pickle.loads(pickle.dumps(nano))):
        assert fingerprint(other) == fingerprint(nano)
        assert other.latent_codec.for_coding() is not nano.latent_codec.for_coding()


def test_loading_does_not_depend_on_the_callers_defaults(nano, saved):
    torch.set_default_dtype(torch.float64)
    try:
        again = load_checkpoint(saved)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert fingerprint(again) == fingerprint(nano)


def test_a_model_loaded_in_inference_mode_has_a_fingerprint(nano, saved):
    with torch.inference_mode():
        assert fingerprint(load_checkpoint(saved)) == fingerprint(nano)


def test_an_empty_model_keeps_the_random_numbers_of_the_caller(saved):
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    load_checkpoint(saved)
    assert torch.equal(torch.rand(1), want)


def test_a_model_without_tables_gets_them_when_it_is_loaded(tmp_path):
    model = DictionaryCodec(replace(NANO, name="bare"))
    save_checkpoint(model, tmp_path / "bare.safetensors")
    assert not load_checkpoint(
        tmp_path / "bare.safetensors", update=False
    ).latent_codec.y_tables.is_filled
    assert load_checkpoint(tmp_path / "bare.safetensors").latent_codec.y_tables.is_filled
