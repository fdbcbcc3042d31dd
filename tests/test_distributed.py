"""Two processes with half a batch each do what one does with the whole batch."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dictco_lib.checkpoints import fingerprint, load_checkpoint
from dictco_lib.images import demo_images

ROOT = Path(__file__).parents[1]
RECIPE = """
model = "nano"
data = ["scikit-image"]
validation = ["images"]
out = "{out}"
steps = 2
batch_size = 4
crop = 64
warmup = 1
log_every = 1
validate_every = 2
routing = "aux"
routing_weight = 0.1
threads = 1
"""


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def launch(recipe: Path, processes: int) -> None:
    command = [sys.executable, "-m"]
    if processes > 1:
        # --multi_gpu is how accelerate starts several processes on one machine, CPU or not; its
        # --cpu starts one.
        command += ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={processes}"]
        command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
        command += [f"--main_process_port={free_port()}", "-m"]
    command += ["dictco_lib", "train", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "images").mkdir()
    for i, image in enumerate(list(demo_images().values())[:3]):  # an odd number to share
        Image.open(image).convert("RGB").crop((0, 0, 128, 128)).save(folder / "images" / f"{i}.png")
    for processes in (1, 2):
        recipe = folder / f"recipe_{processes}.toml"
        recipe.write_text(RECIPE.format(out=f"run_{processes}"))
        launch(recipe, processes)
    return {processes: folder / f"run_{processes}" for processes in (1, 2)}


def states(runs: dict[int, Path]) -> list[dict]:
    return [torch.load(runs[n] / "state.pt", weights_only=True) for n in (1, 2)]


@pytest.mark.slow
def test_two_processes_log_what_one_logs(runs):
    logs = [(runs[n] / "log.jsonl").read_text().splitlines() for n in (1, 2)]
    assert len(logs[0]) == len(logs[1]) == 3  # two steps, one validation
    assert [json.loads(log[0])["processes"] for log in logs] == [1, 2]
    clocks = ("kind", "processes", "seconds", "images_per_s", "time/")
    for one, two in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert one.keys() == two.keys()
        for key, value in one.items():
            if not key.startswith(clocks):
                assert two[key] == pytest.approx(value, rel=2e-4), key
    assert any(key.startswith("load/") for key in json.loads(logs[0][0]))


@pytest.mark.slow
def test_two_processes_have_the_gradients_and_router_statistics_of_one(runs):
    # Adam's first moments are sums of the gradients of all steps: they show a gradient that
    # differs anywhere, where the weights after a normalised step would hide its size.
    one, two = states(runs)
    torch.testing.assert_close(two["load"], one["load"])
    for name in ("optimizer", "aux_optimizer"):
        moments = [s[name]["state"] for s in (one, two)]
        assert moments[0].keys() == moments[1].keys()
        for key, entry in moments[0].items():
            a, b = entry["exp_avg"], moments[1][key]["exp_avg"]
            assert (a - b).norm() <= 1e-3 * a.norm() + 1e-7, (name, key)


@pytest.mark.slow
def test_what_two_processes_trained_is_a_checkpoint_like_any_other(runs):
    model = load_checkpoint(runs[2] / "last.safetensors")
    assert len(fingerprint(model)) == 8
