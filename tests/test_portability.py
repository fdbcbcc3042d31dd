"""Files read with other arithmetics: what the bench says, and what the guard bears."""

from __future__ import annotations

import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dictco_lib.bitstream import unpack
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import decode_latent, encode
from dictco_lib.entropy import streams as coding
from dictco_lib.entropy.gaussian import LOG_EDGES, LOG_SCALES, log_scale, scale_bins
from dictco_lib.entropy.guard import EPS
from dictco_lib.errors import BadChecksum, BitstreamError
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


SHAPE = (1, 3, 4, 5)
COUNT = 60
#: Where a log-scale lies: which edge, and how many eps from it; far ones lie anywhere between.
PLACES = st.lists(
    st.tuples(st.integers(0, len(LOG_EDGES) - 1), st.floats(-3, 3) | st.sampled_from([-1, 0, 1])),
    min_size=COUNT, max_size=COUNT,
)  # fmt: skip
SEEDS = st.integers(0, 2**31)


def coded(tables, log_scales, seed):
    """A slice of such scales as the encoder writes it, and its symbols."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(COUNT) * log_scales.exp().flatten().numpy()
    y, nothing = torch.from_numpy(values).reshape(SHAPE).round(), torch.zeros(SHAPE).double()
    streams = [coding.LatentStreams(sums=[0])]  # that of z
    with patch.object(coding, "log_scale", lambda scale: scale):
        coding.EncodingCoder(tables, streams).code(0, y, nothing, log_scales)
    return streams, y


def read(tables, streams, log_scales):
    """What a decoder that computes these scales reads."""
    with patch.object(coding, "log_scale", lambda scale: scale):
        coder = coding.DecodingCoder(tables, streams, (1, 1, 1))
        return coder.code(0, None, torch.zeros(SHAPE).double(), log_scales)


def placed(places):
    edges, steps = zip(*places, strict=True)
    return (LOG_EDGES[list(edges)] + EPS * torch.tensor(steps).double()).reshape(SHAPE)


@given(
    places=PLACES,
    moves=st.lists(st.floats(-1, 1) | st.sampled_from([-1.0, 1.0]), min_size=COUNT, max_size=COUNT),
    seed=SEEDS,
)
@settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_scales_moved_by_anything_up_to_eps_are_read_exactly(nano, places, moves, seed):
    """Those beside edges and on them too, all the way up or down."""
    log_scales = placed(places)
    streams, y = coded(nano.latent_codec.tables, log_scales, seed)
    moved = log_scales + EPS * torch.tensor(moves).double().reshape(SHAPE)
    assert torch.equal(read(nano.latent_codec.tables, streams, moved), y)


@given(
    places=PLACES,
    exponents=st.lists(st.floats(-9, 0.5), min_size=COUNT, max_size=COUNT),
    signs=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=COUNT, max_size=COUNT),
    seed=SEEDS,
)
@settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_scales_moved_beyond_eps_are_read_exactly_or_refused(nano, places, exponents, signs, seed):
    """A bin that changed and still gives the right symbol harms nobody; a wrong symbol is named."""
    log_scales = placed(places)
    streams, y = coded(nano.latent_codec.tables, log_scales, seed)
    moves = torch.tensor(signs).double() * 10 ** torch.tensor(exponents).double()
    try:
        found = read(nano.latent_codec.tables, streams, log_scales + moves.reshape(SHAPE))
    except BitstreamError:
        return
    assert torch.equal(found, y)


@given(bins=st.lists(st.integers(20, 60), min_size=COUNT, max_size=COUNT), seed=SEEDS)
@settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_scales_that_are_all_three_bins_off_are_refused_by_name(nano, bins, seed):
    log_scales = LOG_SCALES[bins].reshape(SHAPE)
    streams, y = coded(nano.latent_codec.tables, log_scales, seed)
    moved = LOG_SCALES[torch.tensor(bins) + 3].reshape(SHAPE)
    assert (scale_bins(moved) == scale_bins(log_scales) + 3).all()
    with pytest.raises(BadChecksum, match="slice 0"):
        read(nano.latent_codec.tables, streams, moved)


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 0.02])
def test_a_file_read_with_drift_beyond_eps_is_right_or_refused(nano, photo, monkeypatch, size):
    data = encode(nano, photo[:96, :96], 60).data
    wanted, _ = decode_latent(nano, unpack(data))
    generator = torch.Generator().manual_seed(0)

    def moved(scale):
        logs = log_scale(scale)
        return logs + size * torch.randn(logs.shape, generator=generator, dtype=logs.dtype)

    monkeypatch.setattr(coding, "log_scale", moved)
    try:
        found, _ = decode_latent(nano, unpack(data))
    except BadChecksum:
        assert size > 1e-6  # below, hardly a scale lies so near to an edge
    else:
        assert size < 1e-3 and torch.equal(found, wanted)
