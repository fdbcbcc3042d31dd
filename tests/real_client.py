"""What CompressAI's ports do with weights: a script for an environment where they are installed.

There ``compressai`` is the library that has the ports, so that nothing of this project is imported.
``python real_client.py JOBS RESULTS``: each job names a port and gives either a state dict or the
arguments of its constructor; the result holds what the port makes of them.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module

import torch

PORTS = {
    "wacnn": ("stf", "WACNN"),
    "stf": ("stf", "SymmetricalTransFormer"),
    "tcm": ("tcm", "TCM"),
    "cca": ("cca", "CCAModel"),
    "dcae": ("dcae", "DCAE"),
    "saaf": ("saaf", "SAAF"),
}


def port(name: str) -> type:
    module, cls = PORTS[name]
    return getattr(import_module(f"compressai.models.{module}"), cls)


def loaded(name: str, state: dict) -> torch.nn.Module:
    """Built from a state dict, and loaded once more, strictly: some builders forgive gaps."""
    net = port(name).from_state_dict(dict(state))
    net.load_state_dict(dict(state), strict=True)
    return net


def made(name: str, arguments: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    net = port(name)(**arguments)
    for parameter in net.parameters():  # zeros and ones would hide what is exchanged
        parameter.data += 0.02 * torch.randn_like(parameter)
    return net


def outputs(net: torch.nn.Module, x: torch.Tensor) -> dict:
    found = {}
    hook = net.latent_codec.register_forward_hook(
        lambda m, a, out: found.update(y_hat=out["y_hat"])
    )
    out = net.double()(x.double())
    hook.remove()
    found["x_hat"] = out["x_hat"]
    likelihoods = dict(out["likelihoods"]) | (out.get("aux_likelihoods") or {})
    bits = {f"bits_{key}": -value.log2().sum() for key, value in likelihoods.items()}
    net.float()
    return found | bits | training_losses(net)


def training_losses(net: torch.nn.Module) -> dict:
    """What is added to the loss in training, where nothing random is drawn but from a seed."""
    found = {}
    branches = [m.loss() for m in net.modules() if type(m).__name__ == "OLP"]
    if branches:
        found["branches"] = sum(branches)
    if hasattr(net, "diffusion_prior"):
        torch.manual_seed(7)
        prior = net.diffusion_prior
        y = torch.randn(2, prior.time_embed[0].out_features, 8, 8)
        z_hat = torch.randn(2, prior.condition_encoder[0].in_channels, 2, 2).round()
        found["denoising"] = prior(y, z_hat)
    return found


@torch.no_grad()
def run(name: str, x: torch.Tensor | None, state: dict | None, arguments: dict | None) -> dict:
    net = (loaded(name, state) if arguments is None else made(name, arguments)).eval()
    result = {"state": {} if x is None else {k: v.clone() for k, v in net.state_dict().items()}}
    if x is not None:
        result |= outputs(net, x)
        net.update(force=True)
        coded = net.compress(x)
        result["decoded"] = net.decompress(coded["strings"], coded["shape"])["x_hat"]
        result["updated"] = net.state_dict()
    return result


def main(jobs: str, results: str) -> None:
    done = {}
    for name, job in torch.load(jobs, weights_only=True).items():
        try:
            done[name] = run(**job)
        except Exception:
            done[name] = {"error": traceback.format_exc()}
    torch.save(done, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
