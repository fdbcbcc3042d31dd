"""Files read with other arithmetics: what the bench says, and what the guard bears."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dictco_lib.bitstream import unpack
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import decode_latent, encode
from dictco_lib.entropy import streams as coding
from dictco_lib.entropy.gaussian import log_scale
from dictco_lib.entropy.guard import EPS
from dictco_lib.errors import BitstreamError
from dictco_lib.evaluation.portability import Way, bench_portability, ways


@pytest.fixture(scope="module")
def path(nano, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    save_checkpoint(nano, path)
    return str(path)


@pytest.mark.slow
def test_ways_read_the_same_symbols_and_say_how_far_they_drift(path):
    tried = [Way("usual"), Way("batch", {"OMP_NUM_THREADS": "2"}, ("batch", "channels last"))]
    tried += [Way("nowhere", python="no-such-python"), Way("no torch", python="/bin/false")]
    found = list(bench_portability(path, tried=tried))
    usual, batch, nowhere, no_torch = (f for f, _ in found)
    assert usual.failures == batch.failures == 0 and usual.files == batch.files == 12
    assert usual.drift == 0 and 0 <= batch.drift < EPS / 100
    assert "does not run" in nowhere.problem and no_torch.problem
    assert all(margin >= EPS for _, margin in found)


@pytest.mark.slow
def test_the_command_counts_what_was_read_wrong(path, monkeypatch, capsys):
    from dictco_lib.evaluation import portability

    monkeypatch.setattr(portability, "ways", lambda pythons: [Way("usual")])
    assert main(["bench", "portability", "--model", path]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "failures: 0"
    # Other weights read nothing: the process is told another model than the one that wrote.
    wrong = portability.Found("usual", 12, 3, 0.0, 1.0, torch.__version__)
    monkeypatch.setattr(portability, "_read_in", lambda *args: wrong)
    monkeypatch.setattr(portability.np, "load", lambda path: np.zeros(3))
    assert main(["bench", "portability", "--model", path]) == 1
    assert "failures: 3" in capsys.readouterr().out
    assert main(["bench", "load", "--python", sys.executable]) != 0


def test_all_that_this_machine_offers_is_tried():
    names = [way.name for way in ways(["/other/python"])]
    assert names[0] == "as it comes" and names[-1] == "/other/python"
    assert {"1 threads", "2 threads", "4 threads", "without oneDNN", "compiled"} <= set(names)
    assert ("CUDA" in names) is torch.cuda.is_available()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_any_drift_below_eps_decodes_exactly(nano, photo, monkeypatch, seed, share):
    data = encode(nano, photo[:96, :96], 60).data
    wanted, _ = decode_latent(nano, unpack(data))
    generator = torch.Generator().manual_seed(seed)

    def moved(scale):
        logs = log_scale(scale)
        sign = torch.rand(logs.shape, generator=generator, dtype=logs.dtype) * 2 - 1
        if seed % 2:
            sign = sign.sign()  # all the way, up or down
        return logs + sign * share * EPS

    monkeypatch.setattr(coding, "log_scale", moved)
    found, _ = decode_latent(nano, unpack(data))
    assert torch.equal(found, wanted)


def test_a_drift_far_beyond_eps_is_named(nano, photo, monkeypatch):
    data = encode(nano, photo[:96, :96], 60).data
    monkeypatch.setattr(coding, "log_scale", lambda scale: log_scale(scale) + 0.3)
    with pytest.raises(BitstreamError):
        decode_latent(nano, unpack(data))
