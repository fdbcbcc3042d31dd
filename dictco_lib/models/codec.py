"""The codec: analysis transform -> latent codec -> synthesis transform."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.config import Z_STRIDE, CodecConfig
from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.errors import QualityError, ShapeError, TrainingModeError
from dictco_lib.layers.walk import walk
from dictco_lib.models.family import FAMILIES, preset


def pad_to_stride(x: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the stride of z."""
    return F.pad(x, (0, -x.shape[-1] % Z_STRIDE, 0, -x.shape[-2] % Z_STRIDE), mode="replicate")


class Codec(nn.Module):
    """Any member of the family, for images of any size.

    ::

        x --g_a--> y --latent_codec--> y_hat --g_s--> x_hat

    Args:
        config: the shape of the model; its ``family`` says which page of ``models/`` holds the
            networks, and the papers.
        page: networks of your own instead, for experiments: whatever has the functions of such a
            page. Such a model codes and trains, but is not saved: a file could not say what it is.
    """

    def __init__(self, config: CodecConfig, page: object = None) -> None:
        super().__init__()
        self.config = config
        self.has_own_page = page is not None
        page = page or FAMILIES[config.family]
        #: Precision of g_a and g_s, by autocast; None: that of the weights. The entropy model is
        #: never lowered: its rates would change, and no file would decode.
        self.transform_dtype: torch.dtype | None = None
        self.g_a = page.analysis(config)
        self.latent_codec = LatentCodec(config, page)
        self.g_s = page.synthesis(config)
        self._penalty = getattr(page, "training_loss", None)
        make = getattr(page, "training_only", None)
        #: A part that has a loss of its own and no say in any stream; None for most members.
        self.training_only: nn.Module | None = make(config) if make else None

    @classmethod
    def from_preset(cls, name: str) -> Codec:
        """Untrained model of a preset, a name of ``models.PRESETS``."""
        return cls(preset(name))

    def forward(
        self, x: Tensor, quality: float | Tensor | None = None, *, return_routing: bool = False
    ) -> dict:
        """Reconstruct a batch and estimate its rate.

        Args:
            x: images in [0, 1], shape (B, 3, H, W), any size from 1x1.
            quality: 0-100, one for all or one per image (B,); required by a variable-rate
                model, refused by a fixed-rate one.
            return_routing: also return the gates of each slice.

        Returns:
            ``x_hat`` (B, 3, H, W), not clamped; ``likelihoods`` with ``y`` and ``z``; ``para``
            with ``y``, ``means`` and ``scales`` (raw, before the lower bound), all of the padded
            size; ``routing``, if asked for: per slice (B, K, H/16, W/16); in training mode
            ``training_loss``, see :meth:`training_loss`.

        Raises:
            ShapeError: if x is not a float batch of RGB images.
            QualityError: if the quality is missing, not expected, or out of range.
        """
        self.check_input(x)
        level = self.level(quality, x)
        out = self.latent_codec(self.transform(self.g_a, pad_to_stride(x)), level)
        x_hat = self.transform(self.g_s, out["y_hat"])
        result = {
            "x_hat": x_hat[..., : x.shape[-2], : x.shape[-1]],
            "likelihoods": out["likelihoods"],
            "para": out["para"],
        }
        if return_routing:
            result["routing"] = out["routing"]
        if self.training:
            result["training_loss"] = self.training_loss(out, x.shape[0] * x.shape[2] * x.shape[3])
        return result

    def transform(self, transform: nn.Module, x: Tensor) -> Tensor:
        """``g_a(x)`` or ``g_s(x)`` in the precision of :attr:`transform_dtype`, as x's dtype."""
        if not torch.is_grad_enabled():
            # On a CPU a fifteenth of the time, an eighth in bf16: oneDNN's 1x1 convolutions want it
            # so, and the attention between them has its channels last anyway.
            x = x.contiguous(memory_format=torch.channels_last)
        if self.transform_dtype is None:
            return transform(x)
        with torch.autocast(x.device.type, self.transform_dtype):
            return transform(x).to(x.dtype)

    def check_input(self, x: Tensor) -> None:
        """Raise ShapeError unless x is a non-empty float batch of RGB images."""
        want = "expected a float tensor (B, 3, H, W) with values in [0, 1]"
        if not isinstance(x, Tensor):
            raise ShapeError(f"got a {type(x).__name__}; {want}")
        if x.dim() != 4 or x.shape[1] != 3 or 0 in x.shape:
            raise ShapeError(f"got shape {tuple(x.shape)}; {want}")
        weight = next(self.g_a.parameters())
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ShapeError(
                f"got {x.dtype} for a model in {weight.dtype}; {want}, converted with .to(dtype)"
            )

    def check_eval(self) -> None:
        """Raise TrainingModeError unless every part is in evaluation mode, as coding needs it."""
        if any(part.training for part in walk(self)):
            name = next(name for name, part in self.named_modules() if part.training)
            raise TrainingModeError(
                f"{name or 'the model'} is in training mode, where BatchNorm depends on the batch "
                "and no stream would decode to what was encoded; call model.eval() before coding"
            )

    def level(self, quality: float | Tensor | None, x: Tensor) -> Tensor | None:
        """Levels (B,) for a quality; None for a fixed-rate model."""
        if not self.config.is_variable_rate:
            if quality is not None:
                raise QualityError(
                    f"model {self.config.name!r} has one fixed rate; leave the quality out "
                    "(a model with lmbdas in its config takes one)"
                )
            return None
        if quality is None:
            raise QualityError(f"model {self.config.name!r} needs a quality from 0 to 100")
        try:
            q = torch.as_tensor(quality, dtype=x.dtype, device=x.device).expand(len(x))
        except (RuntimeError, TypeError, ValueError) as error:
            raise QualityError(
                f"quality {quality!r} is neither a number nor one number for each of {len(x)} "
                f"images: {error}"
            ) from None
        if not bool(((q >= 0) & (q <= 100)).all()):
            raise QualityError(f"quality {q.tolist()} is outside 0-100")
        return q / 100 * (len(self.config.lmbdas) - 1)

    def update(self) -> None:
        """Build the integer frequency tables; needed once after training, before coding."""
        self.latent_codec.update()

    def training_loss(self, out: dict, pixels: int) -> Tensor:
        """What a member adds to the rate-distortion loss while it is trained; 0 for most.

        Args:
            out: what the latent codec returned.
            pixels: of the batch, to weigh bits like the rate.
        """
        if self._penalty is None:
            return out["y_hat"].new_zeros(())
        return self._penalty(self, out, pixels)

    def aux_loss(self) -> Tensor:
        """Loss of the quantiles of z, for their own optimiser (they take no other gradient)."""
        return self.latent_codec.entropy_bottleneck.loss()


#: The name from when DCAE and DictCO were the whole family.
DictionaryCodec = Codec
