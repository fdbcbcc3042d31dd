"""The training loop: one recipe in, checkpoints and a log out; a killed run resumes exactly."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.config import LMBDAS, PRESETS
from dictco_lib.errors import RecipeError
from dictco_lib.files import atomic_path
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.data import Photos, batch, to_tensor
from dictco_lib.training.loss import rate_distortion
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.start import pca_start

VALIDATION_QUALITIES = (0.0, 50.0, 100.0)
VALIDATION_CROP = 256


class Trainer:
    """Holds everything a run consists of, so that it can be saved and continued.

    Args:
        recipe: what to train, on what, and how.
        device: where.
    """

    def __init__(self, recipe: Recipe, device: str | torch.device = "cpu") -> None:
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        self.device = torch.device(device)
        self.out = Path(recipe.out)
        self.photos = Photos(recipe.data, recipe.cache_mb)
        self.step = 0
        self.seconds = 0.0  # of training, over all resumed parts
        torch.manual_seed(recipe.seed)
        self.model = DictionaryCodec(PRESETS[recipe.model])
        if recipe.pca_start and not self.state_path.exists():
            x, _ = batch(self.photos, 0, size=256, crop=128, seed=recipe.seed)
            pca_start(self.model, x)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        groups = parameter_groups(self.model, recipe)
        self.optimizer = torch.optim.Adam(groups, lr=recipe.lr)
        self.weights = [p for group in groups for p in group["params"]]
        quantiles = self.model.latent_codec.entropy_bottleneck.quantiles
        self.aux_optimizer = torch.optim.Adam([quantiles], lr=recipe.aux_lr)

    @property
    def state_path(self) -> Path:
        """Everything needed to continue the run."""
        return self.out / "state.pt"

    def schedule(self, step: int) -> float:
        """Factor on every learning rate: linear warm-up, then half a cosine to ``final``."""
        r = self.recipe
        if step < r.warmup:
            return (step + 1) / r.warmup
        part = (step - r.warmup) / max(1, r.steps - r.warmup)
        return r.final + (1 - r.final) * 0.5 * (1 + math.cos(math.pi * part))

    def train_step(self) -> dict[str, float]:
        """One batch forward, backward and update; returns what to log."""
        r = self.recipe
        x, uniform = batch(self.photos, self.step, size=r.batch_size, crop=r.crop, seed=r.seed)
        x = x.to(self.device, memory_format=torch.channels_last)
        quality, lmbda = self.draw(uniform)
        # The noise of each step has a seed of its own: a resumed run draws the same.
        torch.manual_seed(r.seed * 2**32 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.schedule(self.step)
        out = self.model(x, quality)
        terms = rate_distortion(out, x, lmbda)
        weight = (lmbda / LMBDAS[len(LMBDAS) // 2]) ** -r.balance
        loss = (weight * terms["loss"]).mean()
        if not bool(loss.isfinite()):
            raise RecipeError(
                f"loss is {loss.item()} at step {self.step}; lower lr or clip_norm in the recipe "
                f"and resume from {self.state_path}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights, r.clip_norm)
        self.optimizer.step()
        aux = self.model.aux_loss()
        self.aux_optimizer.zero_grad(set_to_none=True)
        aux.backward()
        self.aux_optimizer.step()
        self.update_ema()
        self.step += 1
        means = {name: value.mean().item() for name, value in terms.items()}
        return means | {
            "aux": aux.item(),
            "grad_norm": norm.item(),
            "lr": self.recipe.lr * self.schedule(self.step - 1),
        }

    def draw(self, uniform: Tensor) -> tuple[Tensor | None, Tensor]:
        """Quality and lmbda of each image, from uniform numbers."""
        config = self.model.config
        if not config.is_variable_rate:
            return None, torch.full_like(uniform, self.recipe.lmbda).to(self.device)
        quality = 100 * uniform
        lmbda = torch.tensor([config.lmbda(q) for q in quality.tolist()])
        return quality.to(self.device), lmbda.to(self.device)

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the averaged weights towards the current ones; faster at the beginning."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        now = self.model.state_dict()
        for name, value in self.ema.state_dict().items():
            if value.is_floating_point():  # not the integer tables, which every save builds anew
                value.lerp_(now[name], 1 - decay)

    @torch.no_grad()
    def validate(self, pictures: list[Tensor]) -> dict[str, float]:
        """Estimated bpp and PSNR of the averaged weights, at several qualities."""
        result: dict[str, float] = {}
        config = self.model.config
        for q in VALIDATION_QUALITIES if config.is_variable_rate else (None,):
            tag = "" if q is None else f"@{q:g}"
            lmbda = self.recipe.lmbda if q is None else config.lmbda(q)
            rows = []
            for x in pictures:
                x = x.to(self.device)
                terms = rate_distortion(self.ema(x, q), x, torch.tensor([lmbda]).to(x))
                rows.append({k: v.mean().item() for k, v in terms.items()})
            for key in ("loss", "bpp", "psnr"):
                result[f"{key}{tag}"] = sum(row[key] for row in rows) / len(rows)
        return result

    def save(self) -> None:
        """Write the state to continue from, and the averaged weights to use."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "recipe": self.recipe.to_dict(),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "aux_optimizer": self.aux_optimizer.state_dict(),
        }
        with atomic_path(self.state_path) as temporary:
            torch.save(state, temporary)
        self.ema.update()
        info = {
            "recipe": self.recipe.settings(),
            "steps": self.step,
            "seconds": round(self.seconds),
        }
        save_checkpoint(self.ema, self.out / "last.safetensors", info=info)

    def resume(self) -> bool:
        """Continue from the saved state, if there is one."""
        if not self.state_path.exists():
            return False
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        if state["recipe"]["model"] != self.recipe.model:
            raise RecipeError(
                f"{self.state_path} holds a run of {state['recipe']['model']!r}, the recipe wants "
                f"{self.recipe.model!r}; choose another `out`"
            )
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.aux_optimizer.load_state_dict(state["aux_optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        return True


def parameter_groups(model: DictionaryCodec, recipe: Recipe) -> list[dict]:
    """Transforms, entropy model and factorised prior, each with its peak learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.endswith("quantiles"):
            continue
        if "entropy_bottleneck" in name:
            lr = recipe.prior_lr
        else:
            lr = recipe.transform_lr if name.startswith(("g_a.", "g_s.")) else recipe.lr
        groups.setdefault(lr, []).append(parameter)
    return [{"params": params, "peak_lr": lr} for lr, params in groups.items()]


def validation_crops(sources: tuple[str, ...], size: int = VALIDATION_CROP) -> list[Tensor]:
    """Centre crops of the validation pictures, each (1, 3, size, size)."""
    if not sources:
        return []
    photos = Photos(sources)
    crops = []
    for i in range(len(photos)):
        pixels = photos.read(i)
        if pixels is None:
            continue
        top, left = ((side - size) // 2 for side in pixels.shape[:2])
        crops.append(to_tensor(pixels[top : top + size, left : left + size])[None])
    return crops


def train(recipe: Recipe, device: str | torch.device = "cpu", *, progress: bool = True) -> Trainer:
    """Run a recipe to its end, continuing an earlier part if its state is there.

    The log is one JSON object per line in ``out/log.jsonl``; the same numbers go to TensorBoard.
    """
    trainer = Trainer(recipe, device)
    is_resumed = trainer.resume()
    trainer.model.train()
    trainer.out.mkdir(parents=True, exist_ok=True)
    crops = validation_crops(recipe.validation)
    log_path = trainer.out / "log.jsonl"
    _trim_log(log_path, trainer.step if is_resumed else 0)
    writer = SummaryWriter(str(trainer.out / "tensorboard"), purge_step=trainer.step)
    bar = tqdm(total=recipe.steps, initial=trainer.step, disable=not progress, unit="step")
    window: list[dict[str, float]] = []
    tick = time.perf_counter()

    def record(kind: str, values: dict[str, float]) -> None:
        entry = {"kind": kind, "step": trainer.step, "seconds": round(trainer.seconds, 1), **values}
        with log_path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        for key, value in values.items():
            writer.add_scalar(f"{kind}/{key}", value, trainer.step)

    while trainer.step < recipe.steps:
        window.append(trainer.train_step())
        now = time.perf_counter()
        trainer.seconds, tick = trainer.seconds + now - tick, now
        bar.update()
        is_last = trainer.step == recipe.steps
        if trainer.step % recipe.log_every == 0 or is_last:
            means = {k: sum(w[k] for w in window) / len(window) for k in window[0]}
            record("train", means)
            bar.set_postfix(loss=f"{means['loss']:.3f}", psnr=f"{means['psnr']:.2f}")
            window = []
        if crops and (trainer.step % recipe.validate_every == 0 or is_last):
            record("validation", trainer.validate(crops))
        if trainer.step % recipe.save_every == 0 or is_last:
            trainer.save()
    writer.close()
    bar.close()
    return trainer


def _trim_log(path: Path, step: int) -> None:
    """Drop entries past the step a run continues from: they will be written again."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines))
