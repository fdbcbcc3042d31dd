"""Our checkpoints: everything comes back, damage and misfits are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import dictco_lib
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
    import copy

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


def test_exporting_twice_changes_nothing_more(saved, tmp_path):
    export(saved, tmp_path / "once.safetensors")
    export(tmp_path / "once.safetensors", tmp_path / "twice.safetensors")
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
