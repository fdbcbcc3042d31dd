"""CompressAI's own ports as a client: they load what we write, we load what they write.

They are in no release that this project can use (its import name is taken), but in a preview, in
an environment of its own: ``make client`` makes it and runs this file.
"""

from __future__ import annotations

import os
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic import synthetic_array, synthetic_input

from dictco_lib.checkpoints import load_published, to_compressai, to_published
from dictco_lib.config import NANO
from dictco_lib.errors import PortWarning
from dictco_lib.layers.branches import branch_penalty
from dictco_lib.layers.meta import on_meta
from dictco_lib.models import Codec, preset

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "build" / "client" / "bin" / "python"
#: Models of sizes that the ports' constructors can be given.
_EVEN = {"N": 32, "M": 48, "groups": (16,) * 3, "lmbdas": ()}
_THREE = {"parameter_widths": (224, 128)}
_DCAE = _EVEN | _THREE | {
    "widths": (16, 24, 32), "head_dims": (8, 8, 8), "blocks": (1, 1, 2), "residual_blocks": 3,
    "reduction": 2, "hyper_head_dim": 16, "hyper_channels": 48, "context_channels": 48,
    "experts": 0, "entries": 16, "dictionary_dim": 32, "heads": 2,
}  # fmt: skip
_WIDE = {"M": 320, "groups": (160, 160), "hyper_channels": 320, "context_channels": 320}
_TCM = replace(
    preset("nano_tcm"), **_EVEN, **_THREE, support_width=128, support_head_dim=16, auxt=False
)
_FIVE = {"parameter_widths": (224, 176, 128, 64), "seen_slices": 2}
OURS = {
    "wacnn": replace(
        preset("nano_wacnn"), **_EVEN, **_FIVE, heads=8, hyper_widths=(224, 256, 288)
    ),
    "stf": replace(
        preset("nano_stf"), **(_EVEN | {"M": 64, "groups": (16,) * 4}), **_FIVE,
        hyper_widths=(40, 48, 56),
    ),
    "cca": replace(
        preset("nano_cca"), lmbdas=(), residual_blocks=3, naf_blocks=2, parameter_widths=(32, 128)
    ),
    "dcae": replace(NANO, **_DCAE),
    "saaf": replace(preset("nano_saaf"), **(_DCAE | _WIDE)),
    "tcm": _TCM,
    "tcm_auxt": replace(_TCM, auxt=True),
}  # fmt: skip
_DCAE_THERE = {
    "head_dim": (4, 8, 8, 8, 8, 4), "N": 16, "M": 32, "hyper_channels": 16, "num_slices": 2,
    "feature_dims": (8, 16, 24), "block_num": (1, 2, 1), "dict_num": 8, "dict_head_num": 2,
    "dictionary_dim": 16, "hyper_head_dim": 8,
}  # fmt: skip
_TCM_THERE = {
    "N": 16, "M": 32, "hyper_channels": 24, "num_slices": 2, "hyper_head_dim": 4,
    "head_dim": (4, 8, 8, 8, 8, 4),
}  # fmt: skip
#: Arguments of the ports' constructors, of other sizes than ours above.
THEIRS = {
    "wacnn": {"N": 16, "M": 40, "num_slices": 5, "max_support_slices": 2},
    "stf": {
        "embed_dim": 6, "num_heads": (1, 2, 4, 8), "depths": (1, 1, 1, 2), "num_slices": 3,
        "max_support_slices": 1,
    },
    "cca": {
        "latent_channels": 40, "hyper_channels": 16, "slice_proportions": (4, 6, 10),
        "encoder_dims": (8, 16, 24), "encoder_layers": (1, 1, 1), "em_hidden_channels": 24,
        "em_num_layers": 1, "cca_training": True,
    },
    "dcae": _DCAE_THERE,
    "saaf": _DCAE_THERE | {"M": 320},
    "tcm": _TCM_THERE,
    "tcm_auxt": _TCM_THERE | {"use_auxt": True},
}  # fmt: skip
THEIRS["cca_without"] = THEIRS["cca"] | {"cca_training": False}
#: The ports that compute something else with the same weights.
PORTED = ("saaf", "tcm", "tcm_auxt")
FULL = ("dcae", "saaf", "tcm", "tcm_64", "tcm_auxt", "cca", "wacnn", "stf")


def port_of(name: str) -> str:
    return "tcm" if name.startswith("tcm") else name.partition("_")[0]


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that has the ports."""
    python = Path(os.environ.get("DICTCO_COMPRESSAI_TEMP", DEFAULT))
    if not python.is_file():
        pytest.skip(
            f"no {python}: `make client` makes an environment with CompressAI's ports; or set "
            "DICTCO_COMPRESSAI_TEMP to the Python of one"
        )
    return python


def run_there(python: Path, jobs: dict[str, dict], folder: Path) -> dict[str, dict]:
    empty = {"x": None, "state": None, "arguments": None}
    torch.save({name: empty | job for name, job in jobs.items()}, folder / "jobs.pt")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run(
        [python, ROOT / "tests" / "real_client.py", folder / "jobs.pt", folder / "results.pt"],
        check=True, env=environment,
    )  # fmt: skip
    results = torch.load(folder / "results.pt", weights_only=True)
    errors = [f"{name}: {found['error']}" for name, found in results.items() if "error" in found]
    assert not errors, "\n".join(errors)
    return results


def synthetic_model(name: str) -> Codec:
    """A model whose weights are drawn by the rule of the golden outputs, and so are no defaults."""
    config = OURS[name]
    with on_meta():
        shapes = to_published(Codec(config))
    arrays = {key: synthetic_array(key, value.shape) for key, value in shapes.items()}
    state = {key: torch.from_numpy(a) for key, a in arrays.items() if a is not None}
    return load_published(state)


def outputs(model: Codec, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """In float64, where no value lies near enough to a half to be rounded otherwise there."""
    model = model.double()
    with torch.no_grad():
        out = model(x.double())
        latent = model.latent_codec(out["para"]["y"], None)
        likelihoods = dict(out["likelihoods"])
        if model.config.family == "cca" and model.training_only is not None:
            args = out["para"]["y"], latent["side"], model.latent_codec.gaussian
            likelihoods |= model.training_only(*args)
    model.float()
    bits = {f"bits_{key}": -value.log2().sum() for key, value in likelihoods.items()}
    return {"x_hat": out["x_hat"], "y_hat": latent["y_hat"]} | bits


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """Largest difference of each output, as a share of its largest value."""
    assert ours.keys() <= theirs.keys()
    return {k: ((v - theirs[k]).abs().max() / v.abs().max()).item() for k, v in ours.items()}


def silent() -> warnings.catch_warnings:
    """Where a warning would be wrong."""
    return warnings.catch_warnings(action="error", category=PortWarning)


X = torch.from_numpy(synthetic_input(64, 128))


@pytest.fixture(scope="module")
def there(python, tmp_path_factory) -> dict[str, dict]:
    """All that is asked of the ports, in one start of them."""
    jobs = {}
    for name in OURS:
        state = to_compressai(synthetic_model(name))
        jobs[f"ours {name}"] = {"name": port_of(name), "state": state, "x": X}
    for name, arguments in THEIRS.items():
        jobs[f"theirs {name}"] = {"name": port_of(name), "arguments": arguments, "x": X}
    return run_there(python, jobs, tmp_path_factory.mktemp("client"))


@pytest.mark.parametrize("name", OURS)
def test_what_we_write_loads_there_strictly_and_gives_our_outputs(there, name):
    model = synthetic_model(name)
    theirs = there[f"ours {name}"]
    if name in PORTED:  # the same weights, in a model that computes what the port does
        model = load_published(to_compressai(model), ported=True)
    found = differences(outputs(model, X), theirs)
    print(name, found)
    assert max(found.values()) < 1e-6
    # Coding there works with what we wrote, too; it is float32, where a value may be rounded
    # otherwise.
    assert (theirs["decoded"] - theirs["x_hat"]).abs().mean() < 0.01 * theirs["x_hat"].abs().max()


@pytest.mark.parametrize(("name", "losses"), [("tcm_auxt", 1), ("saaf", 2)])
def test_what_is_added_to_the_loss_in_training_is_the_same_there(there, name, losses):
    theirs = there[f"ours {name}"]
    model = load_published(to_compressai(synthetic_model(name)), ported=True)
    ours = {"branches": branch_penalty(model.g_a, model.g_s)}
    if name == "saaf":
        torch.manual_seed(7)
        y = torch.randn(2, model.config.M, 8, 8)
        ours["denoising"] = model.training_only(y, torch.randn(2, model.config.N, 2, 2).round())
    assert len(ours) == losses and all(loss > 0 for loss in ours.values())
    assert max(differences(ours, theirs).values()) < 1e-5


@pytest.mark.parametrize("name", PORTED)
def test_two_ports_compute_something_else_and_we_say_so(there, name):
    model = synthetic_model(name)
    found = differences(outputs(model, X), there[f"ours {name}"])
    print(name, found)
    assert found["y_hat"] > 1e-3
    assert found["bits_z"] < 1e-6 or name == "saaf"  # TCM's goes wrong behind z
    with pytest.warns(PortWarning, match="something else"):
        to_compressai(model)


@pytest.mark.parametrize("name", THEIRS)
def test_what_is_made_there_loads_here_and_gives_their_outputs(there, name):
    theirs = there[f"theirs {name}"]
    model = load_published(theirs["state"], ported=True)
    assert getattr(model.config, "ported", False) == (name in PORTED)
    found = differences(outputs(model, X), theirs)
    print(name, found)
    assert max(found.values()) < 1e-6
    with pytest.warns(PortWarning) if name in PORTED else silent():
        load_published(theirs["state"])


@pytest.mark.parametrize("name", THEIRS)
def test_what_is_made_there_goes_back_whole(there, name):
    theirs = there[f"theirs {name}"]["state"]
    model = load_published(theirs, ported=True)
    with warnings.catch_warnings(action="ignore"):  # other sizes are tried than the full ones
        back = to_compressai(model)
    assert back.keys() == theirs.keys()
    changed = {key for key in back if not torch.equal(back[key], theirs[key])}
    folded = (".attn.proj.weight", ".attn.proj.bias", ".output_proj.weight", ".output_proj.bias")
    idle = tuple(f"aux_entropy_model.inner_codec.latent_codec.y{k}.lrp_" for k in (1, 2))
    assert all(key.endswith(folded) or key.startswith(idle) for key in changed)
    assert bool(changed) == (name.startswith("tcm") or name == "cca")


@pytest.mark.parametrize("name", THEIRS)
def test_tables_that_are_filled_there_are_kept(there, name):
    updated = there[f"theirs {name}"]["updated"]
    assert updated["latent_codec.y.latent_codec.y1.gaussian_conditional._quantized_cdf"].numel()
    with warnings.catch_warnings(action="ignore"):
        back = to_compressai(load_published(updated, ported=True))
    tables = ("_quantized_cdf", "_cdf_length", "_offset", "scale_table")
    for key in back:
        if key.endswith(tables) and "y_entropy_bottleneck" not in key:
            assert torch.equal(back[key], updated[key]), key


@pytest.mark.slow
def test_models_of_full_size_load_there_strictly(python, tmp_path):
    jobs = {}
    for name in FULL:
        with on_meta(), warnings.catch_warnings(action="ignore"):
            shapes = to_compressai(Codec(preset(name)))
        state = {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in shapes.items()}
        jobs[name] = {"name": port_of(name), "state": state}
    assert run_there(python, jobs, tmp_path).keys() == set(FULL)
