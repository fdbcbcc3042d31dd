"""The rate-distortion loss, with a trade-off per image."""

from __future__ import annotations

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from dictco_lib.config import LMBDAS, LMBDAS_MS_SSIM, ModelConfig, interpolate_lmbda
from dictco_lib.errors import RecipeError
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.recipe import Recipe
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
    """The lmbda that a quality of a variable-rate model stands for, for either distortion."""
    if distortion == "mse":
        return config.lmbda(quality)
    if len(config.lmbdas) != len(LMBDAS_MS_SSIM):
        raise RecipeError(
            f"model {config.name!r} has {len(config.lmbdas)} lambdas, MS-SSIM has "
            f'{len(LMBDAS_MS_SSIM)}; train it with distortion = "mse"'
        )
    return interpolate_lmbda(LMBDAS_MS_SSIM, config.level(quality))


def image_weights(lmbda: Tensor, balance: float, distortion: str = "mse") -> Tensor:
    """``lmbda**-balance``, 1 for the middle lambda: how much each image counts, shape (B,)."""
    lmbdas = LMBDAS if distortion == "mse" else LMBDAS_MS_SSIM
    return (lmbda / lmbdas[len(lmbdas) // 2]) ** -balance


def rate_distortion(
    out: dict, x: Tensor, lmbda: Tensor, distortion: str = "mse"
) -> dict[str, Tensor]:
    """``bpp + lmbda * 255**2 * mse``, or ``bpp + lmbda * (1 - ms_ssim)``, for each image.

    A larger lmbda gives more bits and better quality; the field's values are in
    :data:`dictco_lib.config.LMBDAS` and :data:`dictco_lib.config.LMBDAS_MS_SSIM`.

    Args:
        out: what a model returned for ``x``.
        x: images, shape (B, 3, H, W); for MS-SSIM with sides above 160.
        lmbda: trade-off of each image, shape (B,).
        distortion: ``"mse"`` or ``"ms-ssim"``.

    Returns:
        ``loss``, ``bpp``, ``bpp_y``, ``bpp_z``, ``mse`` and ``psnr`` (dB), each of shape (B,);
        with MS-SSIM also ``ms_ssim`` (linear).
    """
    pixels = x.shape[-2] * x.shape[-1]
    bits = bits_per_image(out["likelihoods"])
    mse = (out["x_hat"] - x).square().mean(dim=(1, 2, 3))
    bpp = sum(bits.values()) / pixels
    terms = {
        "loss": bpp + lmbda * 255**2 * mse,
        "bpp": bpp,
        "bpp_y": bits["y"] / pixels,
        "bpp_z": bits["z"] / pixels,
        "mse": mse,
        "psnr": -10 * torch.log10(mse.detach().clamp(min=1e-10)),
    }
    if distortion == "ms-ssim":
        similarity = ms_ssim(out["x_hat"], x, data_range=1.0, size_average=False)
        terms |= {"loss": bpp + lmbda * (1 - similarity), "ms_ssim": similarity}
    return terms


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
        # In a list: its weights are neither trained nor saved.
        self.perceptual = [perceptual_distance()] if recipe.perceptual else []

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
        out = self.model(x, quality, return_routing=True)
        terms = rate_distortion(out, x, lmbda, r.distortion)
        loss = (image_weights(lmbda, r.balance, r.distortion) * terms["loss"]).mean()
        if r.perceptual:
            self.perceptual[0].to(x.device)
            terms["lpips"] = self.perceptual[0](out["x_hat"], x, normalize=True).flatten()
            loss = loss + r.perceptual * terms["lpips"].mean()
        loss = loss + out["training_loss"]
        if r.routing == "aux":
            loss = loss + r.routing_weight * balance_loss(out["routing"], load)
        aux = self.model.aux_loss()
        means = {name: value.detach().mean() for name, value in terms.items()}
        routing = out["routing"]  # of a member without a dictionary: none
        statistics = routing_statistics(routing) if routing else x.new_zeros(0, 2)
        return loss + aux, means | {"aux": aux.detach()}, statistics
