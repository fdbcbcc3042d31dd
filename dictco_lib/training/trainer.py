"""One run's state and its step: forward, backward, update; the same on one process or many."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from dictco_lib.checkpoints import load_checkpoint, save_checkpoint
from dictco_lib.checkpoints.census import read_pickle
from dictco_lib.entropy.noise import share_noise
from dictco_lib.errors import RecipeError, reason
from dictco_lib.files import atomic_path
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.clock import Clock
from dictco_lib.training.data import Batches, Share, name_small, noise_seed, uniforms
from dictco_lib.training.loss import LossOf, rate_distortion, trade_off
from dictco_lib.training.rates import ema_decay, parameter_groups, rate_factor
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.rounding import rounded_copy
from dictco_lib.training.routing import named_statistics, update_selection_bias
from dictco_lib.training.start import pca_start
from dictco_lib.training.transforms import DTYPES, faster, transform_seconds, unrounded_psnr

log = logging.getLogger(__name__)

VALIDATION_QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)


class Trainer:
    """Everything a run consists of, so that it can be saved and continued.

    The step number decides the data, the noise and the learning rates: it is all that a
    checkpoint holds of random numbers and of the position in the data.

    Args:
        recipe: what to train, on what, and how.
        device: ``"cpu"``, or ``"cuda"`` or None for what `accelerate` finds.
    """

    def __init__(self, recipe: Recipe, device: str | None = None) -> None:
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        # Without a GPU, processes form a group only if they are told to do without.
        is_cpu = device == "cpu" or not torch.accelerator.is_available()
        _forget_other_device(is_cpu)
        self.accelerator = Accelerator(cpu=is_cpu, mixed_precision="no")
        self.device = self.accelerator.device
        self.out = Path(recipe.out)
        self.share = self._own_share()
        self.batches = Batches(
            recipe.data, self.share, crop=recipe.crop, scale=recipe.scale, seed=recipe.seed,
            cache_mb=recipe.cache_mb // max(1, recipe.workers),
        )  # fmt: skip
        if self.accelerator.is_main_process:
            name_small(self.batches.images, recipe.crop)
        self.step = 0
        self.begun = 0  # step that a branch went on from
        self.seconds_in: dict[str, float] = {}  # of the transforms, with precision = "auto"
        self.seconds = 0.0  # of training, over all resumed parts
        self.best = math.inf  # validation loss of best.safetensors
        self.window: list[dict[str, float]] = []  # steps since the last line of the log
        self.clock = Clock(self.device)
        torch.manual_seed(recipe.seed)
        self.model = DictionaryCodec(recipe.config)
        if not (self.state_path.exists() or recipe.branch):
            self._begin()
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.layout = layout
        self.model.to(self.device, memory_format=layout)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._prepare()

    def _own_share(self) -> Share:
        r, processes = self.recipe, self.accelerator.num_processes
        if r.batch_size % (processes * r.accumulate):
            raise RecipeError(
                f"a batch of {r.batch_size} images cannot be shared evenly by {processes} "
                f"processes with accumulate = {r.accumulate}; change one of them"
            )
        return Share(r.batch_size, self.accelerator.process_index, processes, r.accumulate)

    def _begin(self) -> None:
        r = self.recipe
        if r.pca_start:
            x, _ = Batches(r.data, Share(256), crop=128, seed=r.seed, cache_mb=1)[0]
            pca_start(self.model, x, r.pca_lap)
        if r.start:
            begun, config = load_checkpoint(r.start), self.model.config
            # Neither changes a weight: a dense mixture may go on as a sparse one.
            if replace(begun.config, name=config.name, top_k=config.top_k) != config:
                raise RecipeError(
                    f"start = {r.start} holds a {begun.config.name!r} of another shape than the "
                    f"recipe's {config.name!r}; give a checkpoint of that shape"
                )
            mine, theirs = self.model.state_dict(), begun.state_dict()
            self.model.load_state_dict({k: theirs.get(k, v) for k, v in mine.items()})

    def _prepare(self) -> None:
        r = self.recipe
        groups = parameter_groups(self.model, r)
        self.optimizer = torch.optim.Adam(groups, lr=r.lr, fused=True)
        self.weights = [p for group in groups for p in group["params"]]
        quantiles = self.model.latent_codec.entropy_bottleneck.quantiles
        self.aux_optimizer = torch.optim.Adam([quantiles], lr=r.aux_lr, fused=True)
        config = self.model.config
        self.load = torch.full(
            (len(config.groups), max(1, config.experts)), 1 / max(1, config.experts)
        ).to(self.device)
        if r.precision == "auto":
            crops = torch.rand(r.batch_size, 3, r.crop, r.crop)[self.share.indices()]
            x = crops[: len(crops) // r.accumulate].to(self.device, memory_format=self.layout)
            self.seconds_in = transform_seconds(self.model, x)
            log.info("precision = auto: seconds of the transforms %s", self.seconds_in)
        self._set_precision()
        if r.compile:
            self.model.g_a.compile()
            self.model.g_s.compile()
        self.loss = self.accelerator.prepare_model(LossOf(self.model, r).train())
        self.model.train()

    @property
    def end(self) -> int:
        """The step to stop at: the recipe's, or where the decay of a branch ends."""
        r = self.recipe
        return self.begun + r.decay_steps if r.branch and r.decay_steps else r.steps

    @property
    def state_path(self) -> Path:
        """Everything needed to continue the run."""
        return self.out / "state.pt"

    def schedule(self, step: int) -> float:
        """Factor on every learning rate at a step: linear warm-up, then the schedule's."""
        return rate_factor(self.recipe, step, self.end)

    def draw(self, step: int) -> tuple[Tensor | None, Tensor]:
        """Quality and lmbda of each of this process's images at a step."""
        r, config = self.recipe, self.model.config
        u = uniforms(step, size=r.batch_size, seed=r.seed)[self.share.indices()]
        if not config.is_variable_rate:
            return None, torch.full_like(u, r.lmbda).to(self.device)
        quality = 100 * u
        lmbda = torch.tensor([trade_off(config, q, r.distortion) for q in quality.tolist()])
        return quality.to(self.device), lmbda.to(self.device)

    def train_step(self, x: Tensor) -> dict[str, float]:
        """Forward, backward and update.

        Args:
            x: this process's images of the current step, shape (b, 3, H, W).

        Returns:
            What to log: means over the whole batch, of all processes.

        Raises:
            RecipeError: if the loss or the gradient is not finite; the batch is saved, the
                weights are left as they were.
        """
        r = self.recipe
        self.optimizer.zero_grad(set_to_none=True)
        self.aux_optimizer.zero_grad(set_to_none=True)
        quality, lmbda = self.draw(self.step)
        values = self._backward(x, quality, lmbda)
        with self.clock("backward"):
            norm = nn.utils.clip_grad_norm_(self.weights, r.clip_norm)
            if not all(map(math.isfinite, (*values.values(), float(norm)))):
                self._stop(x, quality, lmbda, values | {"grad_norm": float(norm)})
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak_lr"] * self.schedule(self.step)
            self.optimizer.step()
            self.aux_optimizer.step()
            if r.routing == "bias":
                update_selection_bias(self.model, self.load, r.routing_weight)
            self.update_ema()
        self.step += 1
        return values | {"grad_norm": float(norm), "lr": r.lr * self.schedule(self.step - 1)}

    def _backward(self, x: Tensor, quality: Tensor | None, lmbda: Tensor) -> dict[str, float]:
        """Gradients of the whole batch, in `accumulate` parts; returns its mean terms."""
        r = self.recipe
        n = len(x) // r.accumulate
        sums: dict[str, Tensor] = defaultdict(float)
        for a in range(r.accumulate):
            own = slice(a * n, (a + 1) * n)
            torch.manual_seed(noise_seed(self.step, seed=r.seed))
            part = a * self.share.processes + self.share.rank
            share_noise(self.model, part, r.accumulate * self.share.processes)
            is_last = a == r.accumulate - 1
            alone = self.accelerator.no_sync(self.loss)  # gradients are exchanged once, at last
            with contextlib.nullcontext() if is_last else alone:
                with self.clock("forward"):
                    part_x = x[own].to(self.device, memory_format=self.layout)
                    q = None if quality is None else quality[own]
                    loss, means, routing = self.loss(part_x, q, lmbda[own], self.load)
                with self.clock("backward"):
                    self.accelerator.backward(loss / r.accumulate)
            for name, value in (means | {"routing": routing}).items():
                sums[name] = sums[name] + value / r.accumulate
        return self._reduced(sums)

    def _reduced(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Means over the processes, all in one message."""
        routing = sums.pop("routing")
        flat = torch.cat([torch.stack(list(sums.values())), routing.flatten()])
        if self.share.processes > 1:
            flat = self.accelerator.reduce(flat, "mean")
        routing = flat[len(sums) :].view_as(routing)
        self.load = routing[:, :-1]
        values = dict(zip(sums, flat.tolist(), strict=False))
        if self.model.config.experts > 1:
            values |= named_statistics(routing)
        return values

    def _stop(self, x: Tensor, quality: Tensor | None, lmbda: Tensor, values: dict) -> None:
        rank = f"_{self.share.rank}" if self.share.processes > 1 else ""
        path = self.out / f"bad_batch{rank}.pt"
        bad = {"step": self.step, "x": x, "quality": quality, "lmbda": lmbda, "values": values}
        bad["model"] = self.model.state_dict()
        with atomic_path(path) as temporary:
            torch.save(bad, temporary)
        what = [name for name, value in values.items() if not math.isfinite(value)]
        raise RecipeError(
            f"{', '.join(what)} not finite at step {self.step}; the batch and the weights are in "
            f"{path}; lower lr, transform_lr or clip_norm in the recipe and start it again: it "
            f"goes on from {self.state_path}"
        )

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the averaged weights towards the current ones; faster at the beginning."""
        decay = ema_decay(self.recipe, self.step)
        now = self.model.state_dict()
        for name, value in self.ema.state_dict().items():
            if value.is_floating_point():  # not the integer tables, which every save builds anew
                value.lerp_(now[name], 1 - decay)

    def shipped(self) -> DictionaryCodec:
        """What is measured and saved: the averaged weights, in 8-bit rows if the recipe says so."""
        return rounded_copy(self.ema) if self.recipe.weight_bits else self.ema

    @torch.no_grad()
    def validate(self, images: list[Tensor]) -> dict[str, float]:
        """Estimated bpp and quality of the averaged weights, at several qualities.

        ``loss`` is the geometric mean over the qualities, so that all rates count alike;
        ``psnr_unrounded`` is what the transforms reach alone, see :func:`unrounded_psnr`.
        """
        config, r = self.model.config, self.recipe
        qualities = VALIDATION_QUALITIES if config.is_variable_rate else (None,)
        model, rows, ceilings = self.shipped(), [], []
        for i in range(self.share.rank, len(images), self.share.processes):
            x = images[i].to(self.device)
            ceilings.append(unrounded_psnr(model, x))
            for q in qualities:
                lmbda = r.lmbda if q is None else trade_off(config, q, r.distortion)
                price = torch.tensor([lmbda]).to(x)
                terms = rate_distortion(model(x, q), x, price, r.distortion)
                rows.append((i, q, {k: v.item() for k, v in terms.items()}))
        if self.share.processes > 1:
            rows = sorted(gather_object(rows), key=lambda row: row[0])
            ceilings = gather_object(ceilings)
        result: dict[str, float] = {}
        for q in qualities:
            tag = "" if q is None else f"@{q:g}"
            mine = [terms for _, quality, terms in rows if quality == q]
            for key in ("loss", "bpp", "psnr", "ms_ssim"):
                if key in mine[0]:
                    result[f"{key}{tag}"] = sum(terms[key] for terms in mine) / len(mine)
        losses = [value for key, value in result.items() if key.startswith("loss")]
        result["loss"] = math.exp(sum(map(math.log, losses)) / len(losses))
        return result | {"psnr_unrounded": sum(ceilings) / len(ceilings)}

    def save(self) -> None:
        """Write the averaged weights to use, then the state to continue from."""
        if not self.accelerator.is_main_process:
            return
        self.save_weights("last")
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "qualities": VALIDATION_QUALITIES,  # that `best` is a mean over
            "begun": self.begun,
            "precision": self.precision,
            "window": self.window,
            "clock": dict(self.clock.seconds),
            "recipe": self.recipe.to_dict(),
            "load": self.load,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "aux_optimizer": self.aux_optimizer.state_dict(),
        }
        with atomic_path(self.state_path) as temporary:
            torch.save(state, temporary)

    def save_weights(self, name: str) -> None:
        """Write the averaged weights as a checkpoint: ``last`` or ``best``."""
        model = self.shipped()
        model.update()
        info = {
            "recipe": self.recipe.settings(),
            "steps": self.step,
            "seconds": round(self.seconds),
        }
        save_checkpoint(model, self.out / f"{name}.safetensors", info=info)

    def resume(self) -> bool:
        """Continue from the saved state, if there is one; else from that of `branch`.

        Returns:
            Whether this run was begun before.

        Raises:
            RecipeError: if the state is damaged, or of a run with other settings.
        """
        is_resumed = self.state_path.exists()
        if is_resumed:
            self._load(self.state_path)
        elif self.recipe.branch:
            if not Path(self.recipe.branch).is_file():
                raise RecipeError(
                    f"branch = {self.recipe.branch} is no file; correct `branch`: it takes the "
                    "state.pt of another run"
                )
            self._load(Path(self.recipe.branch), is_branch=True)
        return is_resumed

    def _load(self, path: Path, *, is_branch: bool = False) -> None:
        fix = "correct `branch`" if is_branch else "remove it to start again"
        try:
            state = read_pickle(path, RecipeError, fix)
            check = self.recipe.check_branches if is_branch else self.recipe.check_continues
            check(state["recipe"], path)
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            for name in ("optimizer", "aux_optimizer"):
                self._load_optimizer(getattr(self, name), state[name])
            self.load = state["load"].to(self.device)
            self.step, self.seconds = state["step"], state["seconds"]
            self._set_precision(kept=state.get("precision"))
            self.begun = self.step if is_branch else state.get("begun", 0)
            if is_branch and self.end <= self.step:
                raise RecipeError(
                    f"the branch begins at step {self.step} of {path} and would end at {self.end}; "
                    "set decay_steps, or steps to more"
                )
            if not is_branch:
                self.window = state["window"]
                self.clock.seconds.update(state.get("clock", {}))
                if tuple(state.get("qualities", ())) == VALIDATION_QUALITIES:
                    self.best = state["best"]
        except RecipeError:
            raise
        except Exception as error:  # a damaged pickle raises nearly anything
            raise RecipeError(
                f"{path} cannot be read ({reason(error)}); it is damaged or from another version: "
                f"{fix}"
            ) from None

    def _set_precision(self, kept: str | None = None) -> None:
        """What the transforms are computed in; kept: what an earlier part of the run was."""
        choice = [faster(self.seconds_in, kept) if self.seconds_in else self.recipe.precision]
        self.precision = broadcast_object_list(choice)[0]  # the first process decides
        self.model.transform_dtype = DTYPES[self.precision]

    @staticmethod
    def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
        rates = [(group["lr"], group.get("peak_lr")) for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, (lr, peak_lr) in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr  # the recipe's: it may have been lowered
            if peak_lr is not None:
                group["peak_lr"] = peak_lr


def _forget_other_device(is_cpu: bool) -> None:
    """Let a process train on one kind of device after the other; accelerate keeps the first."""
    device = PartialState._shared_state.get("device")
    if device is not None and (device.type == "cpu") != is_cpu:
        AcceleratorState._reset_state(reset_partial_state=True)
