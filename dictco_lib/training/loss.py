"""The rate-distortion loss, with a trade-off per image."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from dictco_lib.checkpoints import load_checkpoint
from dictco_lib.config import LMBDAS, LMBDAS_MS_SSIM, ModelConfig, interpolate_lmbda
from dictco_lib.errors import RecipeError
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.rounding import run_rounded
from dictco_lib.training.routing import balance_loss, routing_statistics


def bits_per_image(likelihoods: dict[str, Tensor]) -> dict[str, Tensor]:
    """Information content of each image, in bits.

    Args:
        likelihoods: name -> probabilities, shape (B, C, H, W), in (0, 1].

    Returns:
        The same names -> bits, shape (B,).
    """
    return {name: -p.log2().sum(dim=(1, 2, 3)) for name, p in likelihoods.items()}


def trade_off(config: ModelConfig, quality: float, distortion: str = "mse") -> float:
    """The lmbda that a quality of a variable-rate model stands for; of squared error for a mix."""
    if distortion != "ms-ssim":
        return config.lmbda(quality)
    if len(config.lmbdas) != len(LMBDAS_MS_SSIM):
        raise RecipeError(
            f"model {config.name!r} has {len(config.lmbdas)} lambdas, MS-SSIM has "
            f'{len(LMBDAS_MS_SSIM)}; train it with distortion = "mse"'
        )
    return interpolate_lmbda(LMBDAS_MS_SSIM, config.level(quality))


def image_weights(lmbda: Tensor, balance: float, distortion: str = "mse") -> Tensor:
    """``lmbda**-balance``, 1 for the middle lambda: how much each image counts, shape (B,)."""
    lmbdas = LMBDAS_MS_SSIM if distortion == "ms-ssim" else LMBDAS
    return (lmbda / lmbdas[len(lmbdas) // 2]) ** -balance


def rate_distortion(
    out: dict, x: Tensor, lmbda: Tensor, distortion: str = "mse"
) -> dict[str, Tensor]:
    """``bpp + lmbda * 255**2 * mse``, or ``bpp + lmbda * (1 - ms_ssim)``, for each image.

    A mix is ``bpp`` and half of either distortion, each with its own lmbda: the field's two
    lists pair them. It follows the mix of Zhao et al., "Loss Functions for Image Restoration with
    Neural Networks", 2017, with squared error in place of L1.

    A larger lmbda gives more bits and better quality; the field's values are in
    :data:`dictco_lib.config.LMBDAS` and :data:`dictco_lib.config.LMBDAS_MS_SSIM`.

    Args:
        out: what a model returned for ``x``.
        x: images, shape (B, 3, H, W); for MS-SSIM with sides above 160.
        lmbda: trade-off of each image, shape (B,); for a mix that of squared error.
        distortion: ``"mse"``, ``"ms-ssim"`` or ``"mix"``.

    Returns:
        ``loss``, ``bpp``, ``bpp_y``, ``bpp_z``, ``mse`` and ``psnr`` (dB), each of shape (B,);
        with MS-SSIM also ``ms_ssim`` (linear).
    """
    pixels = x.shape[-2] * x.shape[-1]
    bits = bits_per_image(out["likelihoods"])
    mse = (out["x_hat"] - x).square().mean(dim=(1, 2, 3))
    bpp = sum(bits.values()) / pixels
    error = lmbda * 255**2 * mse
    terms = {
        "loss": bpp + error,
        "bpp": bpp,
        "bpp_y": bits["y"] / pixels,
        "bpp_z": bits["z"] / pixels,
        "mse": mse,
        "psnr": -10 * torch.log10(mse.detach().clamp(min=1e-10)),
    }
    if distortion != "mse":
        similarity = ms_ssim(out["x_hat"], x, data_range=1.0, size_average=False)
        price = lmbda if distortion == "ms-ssim" else _similarity_lmbda(lmbda)
        unlike = price * (1 - similarity)
        cost = unlike if distortion == "ms-ssim" else (error + unlike) / 2
        terms |= {"loss": bpp + cost, "ms_ssim": similarity}
    return terms


def _similarity_lmbda(lmbda: Tensor) -> Tensor:
    """The lmbda of MS-SSIM that stands beside one of squared error in the field's two lists."""
    logs, theirs = np.log(LMBDAS), np.log(LMBDAS_MS_SSIM)
    ratio = np.exp(np.interp(lmbda.log().tolist(), logs, theirs - logs))
    return lmbda * torch.from_numpy(ratio).to(lmbda)


def load_teacher(recipe: Recipe) -> DictionaryCodec:
    """The trained model that a recipe names as its teacher.

    Raises:
        RecipeError: if it takes other rates than the student.
        CheckpointError: if it is no checkpoint.
    """
    teacher, student = load_checkpoint(recipe.teacher), recipe.config
    if teacher.config.lmbdas != student.lmbdas:
        raise RecipeError(
            f"teacher = {recipe.teacher} has the lambdas {teacher.config.lmbdas}, the student "
            f"{student.name!r} {student.lmbdas}: the two would mean different rates by the same "
            "quality; give a teacher with the student's lambdas (none: fixed rates)"
        )
    return teacher.requires_grad_(False)


def unlike_teacher(out: dict, taught: dict, lmbda: Tensor) -> Tensor:
    """How far a student is from its teacher, in the units of the rate-distortion loss.

    Its image counts like an error against x. Where both have a latent of one shape, its distance,
    relative to the teacher's energy, is added: a small network then need not find out by itself
    which latent is worth its bits.

    Args:
        out: what the student returned.
        taught: what the teacher returned for the same images and qualities.
        lmbda: trade-off of each image, shape (B,), of squared error.

    Returns:
        Shape (B,).

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531;
        hints of latents: Romero et al., "FitNets", ICLR 2015, arXiv:1412.6550.
    """
    apart = lmbda * 255**2 * (out["x_hat"] - taught["x_hat"]).square().mean(dim=(1, 2, 3))
    y, y_taught = out["para"]["y"], taught["para"]["y"]
    if y.shape == y_taught.shape:
        energy = y_taught.square().mean(dim=(1, 2, 3)).clamp(min=1e-9)
        apart = apart + (y - y_taught).square().mean(dim=(1, 2, 3)) / energy
    return apart


def perceptual_distance() -> nn.Module:
    """LPIPS (AlexNet), for images in [0, 1].

    Raises:
        RecipeError: if the package or its weights cannot be had.

    Reference:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
        CVPR 2018, arXiv:1801.03924.
    """
    try:
        from lpips import LPIPS

        return LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
    except ImportError:
        raise RecipeError(
            "perceptual > 0 needs the package lpips: pip install lpips; or set perceptual = 0"
        ) from None
    except OSError as error:  # its backbone is downloaded on first use
        raise RecipeError(
            f"the weights of LPIPS's AlexNet could not be fetched ({error}); put them where "
            "torch.hub looks (TORCH_HOME), or set perceptual = 0"
        ) from None


class LossOf(nn.Module):
    """A model and its loss as one module, so that all processes agree on every gradient.

    Args:
        model: what is trained.
        recipe: which loss.
    """

    def __init__(self, model: DictionaryCodec, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        # In lists: their weights are neither trained nor saved.
        self.perceptual = [perceptual_distance()] if recipe.perceptual else []
        self.teacher = [load_teacher(recipe)] if recipe.teacher else []

    def forward(
        self, x: Tensor, quality: Tensor | None, lmbda: Tensor, load: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of some images.

        Args:
            x: images, shape (B, 3, H, W).
            quality: of each image, (B,); None for a fixed-rate model.
            lmbda: trade-off of each image, (B,).
            load: expert load of the step before, (slices, K).

        Returns:
            The loss to minimise (with that of z's quantiles, which share no weights with the
            rest), mean terms for the log, and the routing statistics.
        """
        r = self.recipe
        if r.weight_bits:
            out = run_rounded(self.model, x, quality)
        else:
            out = self.model(x, quality, return_routing=True)
        terms = rate_distortion(out, x, lmbda, r.distortion)
        weights = image_weights(lmbda, r.balance, r.distortion)
        loss = (weights * terms["loss"]).mean()
        if r.perceptual:
            self.perceptual[0].to(x.device)
            terms["lpips"] = self.perceptual[0](out["x_hat"], x, normalize=True).flatten()
            loss = loss + r.perceptual * terms["lpips"].mean()
        if self.teacher:
            terms["unlike_teacher"] = unlike_teacher(out, self._taught(x, quality), lmbda)
            loss = loss + r.teacher_weight * (weights * terms["unlike_teacher"]).mean()
        loss = loss + out["training_loss"]
        if r.routing == "aux":
            loss = loss + r.routing_weight * balance_loss(out["routing"], load)
        aux = self.model.aux_loss()
        means = {name: value.detach().mean() for name, value in terms.items()}
        routing = out["routing"]  # of a member without a dictionary: none
        statistics = routing_statistics(routing) if routing else x.new_zeros(0, 2)
        return loss + aux, means | {"aux": aux.detach()}, statistics

    @torch.no_grad()
    def _taught(self, x: Tensor, quality: Tensor | None) -> dict:
        teacher = self.teacher[0].to(x.device)
        teacher.transform_dtype = self.model.transform_dtype
        return teacher(x, quality)
