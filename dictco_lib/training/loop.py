"""The training loop: one recipe in, checkpoints and a log out; a killed run resumes exactly."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from dictco_lib.config import MS_SSIM_MIN_SIDE
from dictco_lib.errors import RecipeError
from dictco_lib.files import append_text, atomic_path, check_writable
from dictco_lib.progress import bar as progress_bar
from dictco_lib.training.data import TrainingImages, to_tensor
from dictco_lib.training.log import parse_entry
from dictco_lib.training.ownership import owned_folder
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.stopping import Stop, stop_between_steps
from dictco_lib.training.trainer import Trainer

log = logging.getLogger(__name__)
VALIDATION_CROP = 256
SHOWN = 4  # validation images in TensorBoard
#: Called with the trainer and each new entry of the log; at first with one of kind "start".
Listener = Callable[[Trainer, dict], None]


def train(
    recipe: Recipe,
    device: str | None = None,
    *,
    progress: bool = True,
    listener: Listener | None = None,
) -> Trainer:
    """Run a recipe to its end, continuing an earlier part if its state is there.

    An interrupt or SIGTERM lets the step end and saves before it is raised; a second one does not.
    Run by ``accelerate launch``, every process calls this; the first one writes. ``out`` then
    holds ``state.pt`` (to continue), ``last.safetensors`` and ``best.safetensors`` (averaged
    weights), ``log.jsonl`` (one JSON object per line) and ``tensorboard/``.

    Args:
        recipe: what to do.
        device: ``"cpu"``, or ``"cuda"`` or None for what `accelerate` finds.
        progress: show a bar.
        listener: called in the first process after each entry of the log, e.g. to draw it.

    Raises:
        RecipeError: if the recipe does not fit its data, an earlier part or this machine, or the
            loss is not finite.
        OutputError: if ``out`` cannot be written, or another run is writing there.
    """
    check_writable(recipe.out, "folder")
    trainer = Trainer(recipe, device)
    is_main = trainer.accelerator.is_main_process
    owned = owned_folder(trainer.out, "training") if is_main else contextlib.nullcontext()
    with owned, stop_between_steps(trainer.share.processes == 1) as stop:
        return _run(trainer, stop, progress, listener)


def _run(trainer: Trainer, stop: Stop, progress: bool, listener: Listener | None) -> Trainer:
    recipe, is_main = trainer.recipe, trainer.accelerator.is_main_process
    is_resumed = trainer.resume()
    crops = validation_crops(recipe.validation)
    if recipe.distortion != "mse" and any(min(c.shape[2:]) <= MS_SSIM_MIN_SIDE for c in crops):
        raise RecipeError(
            f"MS-SSIM needs validation images with sides above {MS_SSIM_MIN_SIDE}; remove smaller"
        )
    journal = Journal(trainer, is_resumed, listener) if is_main else None
    bar = progress_bar(
        total=trainer.end, initial=trainer.step, unit="step", is_shown=progress and is_main
    )
    if journal and listener:
        listener(trainer, {"kind": "start", "step": trainer.step})
    damage: dict[str, str] = {}
    tick = saved = time.perf_counter()
    batches = trainer.batches.from_step(trainer.step, trainer.end, recipe.workers)
    while trainer.step < trainer.end:
        with trainer.clock("data"):
            x, damaged = next(batches)
        _name_damaged(damage, damaged)
        trainer.window.append(trainer.train_step(x))
        now = time.perf_counter()
        trainer.seconds, tick = trainer.seconds + now - tick, now
        bar.update()
        is_last = trainer.step == trainer.end
        if trainer.step % recipe.log_every == 0 or is_last:
            everywhere = gather_object([*damage]) if trainer.share.processes > 1 else [*damage]
            means = _means(trainer, len(set(everywhere)))
            if journal:
                journal.write("train", means)
            bar.set_postfix(loss=f"{means['loss']:.3f}", psnr=f"{means['psnr']:.2f}")
        if crops and (trainer.step % recipe.validate_every == 0 or is_last):
            _validate(trainer, crops, journal)
        is_due = time.perf_counter() - saved >= 60 * recipe.save_minutes
        is_asked = stop.number is not None
        if trainer.step % recipe.save_every == 0 or is_due or is_last or is_asked:
            trainer.save()
            saved = time.perf_counter()
        if is_asked:
            stop.obey()
    if journal:
        journal.writer.close()
    bar.close()
    trainer.accelerator.wait_for_everyone()
    return trainer


def _name_damaged(known: dict[str, str], damaged: dict[str, str]) -> None:
    for name in damaged.keys() - known.keys():
        log.warning("skipped damaged image %s: %s", name, damaged[name])
    known |= damaged


def _means(trainer: Trainer, damaged: int) -> dict[str, float]:
    """Averages since the last entry, throughput, and where the time went."""
    window, trainer.window = trainer.window, []
    means = {key: sum(row[key] for row in window) / len(window) for key in window[0]}
    seconds = trainer.clock.take()
    total = sum(seconds.values())
    images = len(trainer.batches.share.indices()) * trainer.share.processes * len(window)
    means["images_per_s"] = images / total
    for part in ("data", "forward", "backward"):
        means[f"time/{part}"] = seconds.get(part, 0.0) / total
    if trainer.recipe.precision == "auto":
        means["bf16"] = float(trainer.precision == "bf16")  # what was chosen
    return means | {"damaged": damaged, "processes": trainer.share.processes}


def _validate(trainer: Trainer, crops: list[Tensor], journal: Journal | None) -> None:
    values = trainer.validate(crops)
    if journal is None:
        return
    if values["loss"] < trainer.best:
        trainer.best = values["loss"]
        trainer.save_weights("best")
    journal.write("validation", values)
    journal.show(crops[:SHOWN])


def validation_crops(sources: tuple[str, ...], size: int = VALIDATION_CROP) -> list[Tensor]:
    """Centre crops of the validation images, each (1, 3, size, size) or smaller."""
    if not sources:
        return []
    images = TrainingImages(sources)
    crops = []
    for i in range(len(images)):
        pixels = images.read(i)
        if pixels is None:
            continue
        top, left = (max(0, side - size) // 2 for side in pixels.shape[:2])
        crops.append(to_tensor(pixels[top : top + size, left : left + size])[None])
    _name_damaged({}, images.damaged)
    return crops


class Journal:
    """The log of a run: a line of JSON per entry, TensorBoard, and a listener."""

    def __init__(self, trainer: Trainer, is_resumed: bool, listener: Listener | None) -> None:
        self.trainer = trainer
        self.listener = listener
        self.path = trainer.out / "log.jsonl"
        _trim_log(self.path, trainer.step if is_resumed else 0)
        folder = str(trainer.out / "tensorboard")
        self.writer = SummaryWriter(folder, purge_step=trainer.step + 1)

    def write(self, kind: str, values: dict[str, float]) -> None:
        """Add an entry."""
        t = self.trainer
        entry = {"kind": kind, "step": t.step, "seconds": round(t.seconds, 1), **values}
        append_text(self.path, json.dumps(entry) + "\n")
        for key, value in values.items():
            self.writer.add_scalar(f"{kind}/{key}", value, t.step)
        if self.listener:
            self.listener(t, entry)

    @torch.no_grad()
    def show(self, crops: list[Tensor]) -> None:
        """Images above, what the averaged weights make of them at quality 50 below."""
        t = self.trainer
        quality = 50.0 if t.model.config.is_variable_rate else None
        height, width = (min(c.shape[i] for c in crops) for i in (2, 3))
        x = torch.cat([c[..., :height, :width] for c in crops]).to(t.device)
        x_hat = t.shipped()(x, quality)["x_hat"].clamp(0, 1)
        rows = torch.cat([torch.cat(list(part), dim=2) for part in (x, x_hat)], dim=1)
        self.writer.add_image("validation/images", rows.cpu(), t.step)


def _trim_log(path: Path, step: int) -> None:
    """Drop what comes after the step that a run continues from: it will be written again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines():
        row = parse_entry(line)  # None: cut off when the run was killed
        if row and row["step"] <= step:
            kept.append(line + b"\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(kept))
