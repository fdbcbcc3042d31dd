"""Fewer threads beside busy programs, and the same files whatever their number."""

import pytest
import torch
from skimage import data

from dictco_lib import cores
from dictco_lib.coding import decode_image, encode


@pytest.fixture
def load(monkeypatch, tmp_path):
    """A machine of four cores that runs as many threads as the test says, this one included."""
    path = tmp_path / "loadavg"
    monkeypatch.setattr(cores, "_LOAD", path)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield lambda running: path.write_text(f"0.52 0.58 0.59 {running}/467 1234\n")
    torch.set_num_threads(before)


@pytest.mark.parametrize(("running", "threads"), [(1, 4), (2, 3), (4, 1), (5, 1), (99, 1)])
def test_as_many_threads_as_cores_without_work(load, running, threads):
    load(running)
    with cores.free_cores():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 4


def test_never_more_threads_than_before(load):
    load(1)
    torch.set_num_threads(2)
    with cores.free_cores():
        assert torch.get_num_threads() == 2


def test_what_the_user_set_stays(load, monkeypatch):
    load(9)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with cores.free_cores():
        assert torch.get_num_threads() == 4


def test_results_that_depend_on_the_count_keep_it(load):
    load(9)
    with cores.free_cores(False):
        assert torch.get_num_threads() == 4


@pytest.mark.parametrize("text", ["", "1 2 3", "a b c d/e f"])
def test_a_system_that_does_not_tell(load, text):
    cores._LOAD.write_text(text)
    with cores.free_cores():
        assert torch.get_num_threads() == 4
    cores._LOAD.unlink()
    with cores.free_cores():
        assert torch.get_num_threads() == 4


def test_threads_come_back_after_an_error_and_from_within(load):
    load(9)
    with pytest.raises(RuntimeError), cores.free_cores():
        load(1)
        with cores.free_cores():
            assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == 4


def test_a_busy_machine_makes_and_reads_the_same_file(load, nano, monkeypatch):
    seen = []
    run = type(nano.latent_codec).run
    monkeypatch.setattr(
        type(nano.latent_codec),
        "run",
        lambda *args, **named: seen.append(torch.get_num_threads()) or run(*args, **named),
    )
    photo = data.astronaut()[:200, :300]
    load(1)
    idle = encode(nano, photo).data
    load(9)
    assert encode(nano, photo).data == idle
    decode_image(nano, idle)
    encode(nano, photo, fast=True)
    assert seen == [4, 1, 1, 4]
