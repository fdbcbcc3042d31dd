"""The same files read with every arithmetic that this machine offers.

A decoder computes every scale anew. Whether it reads what was written depends on how far its
log-scales are from the encoder's: up to ``EPS`` the guard makes up for it. Each arithmetic (number
of threads, instruction set, memory layout, batch, compiler, another torch, a GPU) gets a process of
its own, reads the files, and hands back its log-scales.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dictco_lib.bitstream import latent_shape, unpack
from dictco_lib.checkpoints import load
from dictco_lib.chunks import latent_streams
from dictco_lib.coding import encode
from dictco_lib.entropy.gaussian import log_scale
from dictco_lib.entropy.guard import EPS, distances_to_edges
from dictco_lib.entropy.streams import DecodingCoder
from dictco_lib.errors import BitstreamError, DictcoError
from dictco_lib.images import demo_images, read_image
from dictco_lib.models import Codec

SIDE = 256
BATCH = 4
QUALITIES = (0, 50, 100)
_ROOT = Path(__file__).resolve().parents[2]
_WORK = "import sys; from dictco_lib.evaluation.portability import work; work(*sys.argv[1:])"


@dataclass(frozen=True)
class Way:
    """One way to compute: variables of the process, and switches within it."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    switches: tuple[str, ...] = ()
    python: str = sys.executable


@dataclass(frozen=True)
class Found:
    """What one way read.

    ``failures`` of ``files`` did not decode to the symbols that were written. ``drift`` is the
    largest difference of a log-scale from those of the first way; ``seconds`` those of reading.
    ``problem`` is why the way cannot be tried here, empty if it was.
    """

    name: str
    files: int
    failures: int
    drift: float
    seconds: float
    torch: str
    problem: str = ""


def ways(pythons: Sequence[str] = ()) -> list[Way]:
    """All that can be tried here: first the usual one, which the others are compared with.

    Args:
        pythons: programs of other environments with torch, numpy and this library's requirements.
    """
    old = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    old |= {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"}
    usual = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
    found = [Way("as it comes")]
    found += [Way(f"{n} threads", {"OMP_NUM_THREADS": str(n)}) for n in (1, 2, 4)]
    found += [
        Way("AVX2 only", usual),
        Way("no AVX at all", old),
        Way("without oneDNN", switches=("no oneDNN",)),
        Way("channels last", switches=("channels last",)),
        Way(f"{BATCH} at a time", switches=("batch",)),
        Way("compiled", switches=("compile",)),
    ]
    if torch.cuda.is_available():
        found += [
            Way("CUDA", switches=("cuda",)),
            Way("CUDA with TF32", switches=("cuda", "tf32")),
            Way(f"CUDA, {BATCH} at a time", switches=("cuda", "batch")),
        ]
    return found + [Way(python, python=python) for python in pythons]


def bench_portability(
    model: str, pythons: Sequence[str] = (), tried: Sequence[Way] | None = None
) -> Iterator[tuple[Found, float]]:
    """Write files once, read them in every way.

    Args:
        model: name or path of a checkpoint.
        pythons: as for :func:`ways`.
        tried: these ways instead.

    Yields:
        What each way found, and the smallest distance of a log-scale from an edge between bins
        that the guard does not cover: ``drift`` must stay below it.

    Raises:
        DictcoError: if the first way cannot be tried.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(load(model), folder)
        usual = None
        for way in tried or ways(pythons):
            found = _read_in(way, model, folder)
            scales = None
            if not found.problem:
                scales = np.load(folder / "scales.npy")
                usual = scales if usual is None else usual
                drift = float(np.abs(scales - usual).max()) if len(scales) == len(usual) else np.nan
                found = Found(**vars(found) | {"drift": drift})
            elif usual is None:
                raise DictcoError(f"{way.name}: {found.problem}")
            yield found, _margin(usual)


def write_files(model: Codec, folder: Path) -> None:
    """Crops of the demo photographs at several qualities, as .dco files of one size."""
    qualities = QUALITIES if model.config.is_variable_rate else (None,)
    parts = []
    for path in demo_images().values():
        pixels = read_image(path).pixels
        top, left = ((side - SIDE) // 2 for side in pixels.shape[1:])
        parts.append(pixels[:, top : top + SIDE, left : left + SIDE])
    for quality in qualities:
        for i, part in enumerate(parts[:BATCH]):
            data = encode(model, part, quality).data
            (folder / f"{quality}_{i}.dco").write_bytes(data)


def _read_in(way: Way, model: str, folder: Path) -> Found:
    environment = os.environ | way.variables | {"PYTHONPATH": str(_ROOT)}
    source = str(Path(model).resolve()) if Path(model).is_file() else model
    command = [way.python, "-c", _WORK, source, str(folder), json.dumps(way.switches)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except OSError as error:
        return Found(way.name, 0, 0, np.nan, np.nan, "", f"{way.python} does not run: {error}")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return Found(way.name, 0, 0, np.nan, np.nan, "", reason[:200])
    return Found(way.name, drift=np.nan, **json.loads(lines[-1]))


def _margin(scales: np.ndarray) -> float:
    """Distance of the log-scales from the nearest edge that lies further away than the guard."""
    distance = distances_to_edges(scales)
    return float(distance[distance >= EPS].min())


class _Listening(DecodingCoder):
    """Decoder that adds the log-scales of every slice to ``heard``, a tensor for each image."""

    def __init__(self, heard: list[list[Tensor]], *args: object) -> None:
        super().__init__(*args)
        self.heard = heard

    def code(self, k: int, y: None, mean: Tensor, scale: Tensor) -> Tensor:
        self.heard.append(list(log_scale(scale).double().cpu()))
        return super().code(k, y, mean, scale)


def work(model: str, folder: str, switches: str) -> None:
    """The process of one way: reads the files of a folder, leaves ``scales.npy`` there."""
    wanted = json.loads(switches)
    codec = _prepared(load(model, "cuda" if "cuda" in wanted else "cpu"), wanted)
    paths = sorted(Path(folder).glob("*.dco"))
    size = BATCH if "batch" in wanted else 1
    scales, failures, start = [], 0, time.perf_counter()
    for i in range(0, len(paths), size):
        heard: list[list[Tensor]] = []
        try:
            _read(codec, paths[i : i + size], heard)
        except BitstreamError:
            failures += size
        scales += [part.flatten() for image in zip(*heard, strict=True) for part in image]
    seconds = time.perf_counter() - start
    np.save(Path(folder) / "scales.npy", torch.cat(scales).numpy())
    answer = {"files": len(paths), "failures": failures, "seconds": seconds}
    print(json.dumps(answer | {"torch": torch.__version__}))


def _prepared(model: Codec, switches: Sequence[str]) -> Codec:
    torch.backends.mkldnn.enabled = "no oneDNN" not in switches
    if "tf32" in switches:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    coding = model.latent_codec.for_coding()
    if "channels last" in switches:
        coding.to(memory_format=torch.channels_last)
    if "compile" in switches:  # the nets of the scales: compiling all takes minutes
        for head in coding.slices:
            head.scale = torch.compile(head.scale)
    return model


def _read(model: Codec, paths: Sequence[Path], heard: list[list[Tensor]]) -> None:
    containers = [unpack(path.read_bytes()) for path in paths]
    shape = latent_shape((SIDE, SIDE))
    streams = [latent_streams(c, 1, len(model.config.groups), None, False)[0] for c in containers]
    level = None
    if containers[0].quality is not None:
        like = torch.empty(len(paths), dtype=torch.float64, device=next(model.parameters()).device)
        level = model.level(torch.tensor([c.quality for c in containers]).to(like), like)
    listening = partial(_Listening, heard)
    model.latent_codec.decompress(streams, shape, level, torch.float64, listening)
