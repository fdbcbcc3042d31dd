"""Members of the family on equal terms: seconds and memory of real files, one image, one run.

Every member lives in a process of its own, so that its peak of memory is its own; they take turns,
so that a machine that slows down slows them all; and only one works at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TextIO

import torch

from dictco_lib.checkpoints import load, shipped_models
from dictco_lib.coding import decode, encode
from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.evaluation.load import sized_image
from dictco_lib.evaluation.measure import peak_memory_mb, reset_peak_memory
from dictco_lib.evaluation.timing import check_bench, median_seconds
from dictco_lib.models import PRESETS, Codec

#: What is measured if nothing is named: one small form of each family, and what ships.
SMALL = (*(name for name in PRESETS if name.startswith("nano")), "classroom")
#: The sizes that were published.
FULL = tuple(name for name, config in PRESETS.items() if not config.is_variable_rate)
SEED = 0


@dataclass(frozen=True)
class Cost:
    """One member.

    Median seconds from pixels to the bytes of a .dco file and back. ``peak_mb`` is the largest
    resident set of its process (10**6 bytes), of which ``idle_mb`` before there was a model; on a
    GPU what was allocated there; None where the system does not tell. ``bpp`` of random weights
    means nothing.
    """

    name: str
    encode_s: float
    decode_s: float
    peak_mb: float | None
    idle_mb: float | None
    bpp: float
    is_random: bool

    @property
    def own_mb(self) -> float | None:
        """What the member adds to an idle process."""
        return None if self.peak_mb is None else self.peak_mb - self.idle_mb


def bench_members(
    names: Sequence[str],
    size: tuple[int, int] = (768, 512),
    repeats: int = 5,
    device: str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> list[Cost]:
    """Encode and decode an image with several members, turn by turn.

    Args:
        names: presets, models that ship, or paths of checkpoints. A preset without weights gets
            random ones, the same at every run.
        size: width and height of the image in pixels.
        repeats: turns that count, after one that does not.
        device: of all of them.
        tick: called after every file made or read, ``2 * (repeats + 1)`` times a member.

    Raises:
        OptionError: if there would be nothing to measure, or a member twice.
        DictcoError: if a member fails; the message names it.
    """
    check_bench(size, repeats)
    if len(set(names)) != len(names) or not names:
        raise OptionError(f"got the members [{', '.join(names)}]; name each of them once")
    with ExitStack() as stack:
        started = [stack.enter_context(_started(name, size, device)) for name in names]
        for worker in started:  # together, for most of it is waiting for libraries
            worker.ready()
        works = {
            (worker.name, verb): lambda w=worker, v=verb: (w.ask(v), tick())
            for worker in started
            for verb in ("encode", "decode")
        }
        seconds = median_seconds(works, repeats, torch.device("cpu"))  # workers wait for GPUs
        return [
            Cost(w.name, seconds[w.name, "encode"], seconds[w.name, "decode"], **w.ask("facts"))
            for w in started
        ]


# The largest set of a process counts from before its program began, when it was a copy of its
# parent: so a small parent starts it.
_LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
_WORK = "import sys; from dictco_lib.evaluation.side_by_side import work; work(*sys.argv[1:])"


class _Worker:
    """The parent's end of a process that holds one member."""

    def __init__(self, name: str, process: subprocess.Popen) -> None:
        self.name = name
        self.process = process

    def ask(self, verb: str) -> dict:
        """Have something done, and wait for it."""
        try:
            self.process.stdin.write(f"{verb}\n")
            self.process.stdin.flush()
        except OSError:  # it is gone; the answer says so
            pass
        return self.ready()

    def ready(self) -> dict:
        """Its next answer."""
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise DictcoError(
                f"{self.name}: its process ended with status {status}, perhaps for want of memory; "
                "name fewer or smaller members, or a smaller --size"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise DictcoError(f"{self.name}: {answer['error']}")
        return answer


@contextmanager
def _started(name: str, size: tuple[int, int], device: str) -> Iterator[_Worker]:
    arguments = [sys.executable, "-c", _WORK, name, *map(str, size), device]
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # an interrupt is for the parent alone, which then ends it
    )  # fmt: skip
    try:
        yield _Worker(name, process)
    finally:
        try:
            process.stdin.close()  # which ends it
        except OSError:
            pass
        process.stdout.close()
        process.wait()


def work(name: str, width: str, height: str, device: str) -> None:
    """The process of one member: does what standard input says, a line a time.

    Answers are lines of JSON on standard output: ``{}``, facts, or an error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    try:
        _serve(name, (int(width), int(height)), torch.device(device), answers)
    except (BrokenPipeError, KeyboardInterrupt):  # nobody asks any more
        pass
    except Exception as error:
        _answer(answers, {"error": f"{error}" or type(error).__name__})


@torch.no_grad()
def _serve(name: str, size: tuple[int, int], device: torch.device, answers: TextIO) -> None:
    image = sized_image(size)
    idle = peak_memory_mb(device)
    reset_peak_memory(device)
    model, is_random = prepared(name, device)
    quality = 50.0 if model.config.is_variable_rate else None
    _answer(answers, {})
    data = b""
    for line in sys.stdin:
        verb = line.strip()
        if verb == "encode":
            data = encode(model, image, quality=quality).data
        elif verb == "decode":
            decode(model, data)
        facts = {
            "peak_mb": peak_memory_mb(device),
            "idle_mb": idle,
            "bpp": 8 * len(data) / (size[0] * size[1]),
            "is_random": is_random,
        }
        _answer(answers, facts if verb == "facts" else {})


def _answer(answers: TextIO, values: dict) -> None:
    print(json.dumps(values), file=answers, flush=True)


def prepared(name: str, device: str | torch.device) -> tuple[Codec, bool]:
    """A member ready for coding, and whether its weights are random.

    Args:
        name: see :func:`bench_members`.
        device: where it goes.
    """
    if name not in PRESETS or name in shipped_models():
        return load(name, device), False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Codec.from_preset(name).eval().requires_grad_(False)
    model.update()
    return model.to(device), True
