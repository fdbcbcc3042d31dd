"""Deterministic synthetic weights and inputs for numeric parity tests (expected/README.md).

The value of every parameter depends only on (state_dict key, shape, seed, gain).
"""

import re
import zlib

import numpy as np

# Tensors that keep whatever value the model constructs them with
# (index tables, constants, wavelet filters, CDF tables filled by update()).
LEFT_ALONE = {
    "num_batches_tracked",
    "relative_position_index",
    "identity_matrix",
    "global_alpha",
    "w_ll",
    "w_lh",
    "w_hl",
    "w_hh",
    "filters",
    "target",
    "scale_table",
    "scale_bound",
    "bound",
    "pedestal",
    "_offset",
    "_quantized_cdf",
    "_cdf_length",
}

_EB_LIST = re.compile(r"(^|\.)(matrices|biases|factors)\.(\d+)$")
_EB_NAME = {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}

# filters (3, 3, 3, 3), init_scale 10: constant per layer of the factorized prior
_EB_DIMS = (1, 3, 3, 3, 3, 1)


def canonical_key(key):
    """Old and new CompressAI spell the factorized prior differently; use the old spelling."""
    m = _EB_LIST.search(key)
    if m is None:
        return key
    return key[: m.start()] + m.group(1) + _EB_NAME[m.group(2)] + m.group(3)


def generator(text, seed):
    return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode()) + seed * 2**32))


_CHAIN = re.compile(r"^(h_a|h_mean_s|h_scale_s|h_z_s1|h_z_s2)\.\d+(\.0)?\.weight$")
_PLAIN = re.compile(r"^g_[as]\.\d+\.weight$")
_PARAM_NETS = (
    "cc_mean_transforms.",
    "cc_scale_transforms.",
    "lrp_transforms.",
    "mean_cc_transforms.",
    "scale_cc_transforms.",
)
_SCALE_OUT = re.compile(r"(cc_scale|scale_cc)_transforms\.\d+\.(\d+)\.bias$")


def is_scale_output_bias(key, shape):
    """Bias of the last convolution of the network that predicts the Gaussian scales."""
    m = _SCALE_OUT.search(key)
    return m is not None and (m.group(2) == "8" or (m.group(2) == "4" and shape[0] != 128))


def is_image_layer(key, shape):
    """Last layer of the synthesis transform (3 channels, or 12 before a pixel shuffle)."""
    if not key.startswith(("g_s.", "end_conv.")):
        return False
    if len(shape) == 1:
        return shape[0] in (3, 12)
    return len(shape) == 4 and (shape[0] in (3, 12) or shape[1] == 3)


def weight_std(key, shape, gain):
    taps = int(np.prod(shape[2:]))
    if len(shape) > 2 and shape[1] == 1:  # depthwise
        fan = taps
    elif shape[1] == 3 and not is_image_layer(key, shape):  # sees the input image
        fan = 3 * taps
    else:
        fan = max(shape[0], shape[1]) * taps
    if is_image_layer(key, shape):
        gain = gain * 0.3
    elif key.startswith(("aux_dec.", "AuxT_dec.")):
        gain = gain * 0.5
    elif len(shape) == 4 and _CHAIN.match(key):
        gain = gain * 1.6
    elif len(shape) == 4 and _PLAIN.match(key):
        gain = gain * 1.3
    elif any(p in key for p in _PARAM_NETS):
        gain = gain * 1.5
    return gain / np.sqrt(fan)


def synthetic_array(key, shape, seed=0, gain=1.0):
    """float32 array for one state_dict entry, or None if the entry is left as constructed."""
    key = canonical_key(key)
    shape = tuple(int(s) for s in shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf in LEFT_ALONE or 0 in shape:
        return None
    n = generator(key, seed).standard_normal(shape)

    if leaf.startswith("_matrix"):
        i = int(leaf[len("_matrix") :])
        a = np.full(shape, np.log(np.expm1(1.0 / (10.0**0.2) / _EB_DIMS[i + 1])))
    elif leaf.startswith("_bias"):
        a = 0.3 * n
    elif leaf.startswith("_factor"):
        a = 0.1 * n
    elif leaf == "quantiles":  # (C, 1, 3)
        m = 0.3 * n[:, :, 1:2]
        a = np.concatenate([m - 10.0, m, m + 10.0], axis=2)
    elif leaf in ("dt", "experts"):  # dictionaries
        a = n
    elif leaf in ("relative_position_params", "relative_position_bias_table", "global_tokens"):
        a = 0.5 * n
    elif leaf == "scale":
        a = 1.0 + 0.1 * n
    elif leaf == "scaling_factors":
        a = 0.25 + 0.2 * n
    elif leaf == "freq_weights":
        a = 0.2 * n
    elif leaf == "beta" and len(shape) == 1:  # GDN, stored as a square root
        a = np.sqrt(1.0 + 0.2 * np.abs(n))
    elif leaf == "gamma" and len(shape) == 2:  # GDN, stored as a square root
        a = np.sqrt(0.1 * np.eye(shape[0]) + 0.1 / shape[0] * np.abs(n))
    elif leaf in ("beta", "gamma"):  # (1, C, 1, 1) residual scales
        a = 0.3 * n
    elif leaf == "running_mean":
        a = 0.05 * n
    elif leaf == "running_var":
        a = 1.0 + 0.1 * np.abs(n)
    elif leaf == "weight" and len(shape) == 1:  # norm layers
        a = 1.0 + 0.1 * n
    elif leaf == "weight":  # linear, conv, transposed conv
        a = n * weight_std(key, shape, gain)
    elif leaf == "bias" and is_scale_output_bias(key, shape):
        a = 1.5 + 0.3 * n  # keeps most predicted scales above the bound
    elif leaf == "bias" and is_image_layer(key, shape):
        a = 0.5 + 0.05 * n
    elif leaf == "bias":
        a = 0.02 * n
    else:
        raise KeyError(f"no synthetic rule for {key!r} {shape!r}")
    return np.ascontiguousarray(a, dtype=np.float32)


def synthetic_input(height, width, seed=0):
    """float32 (1, 3, H, W) image in [0, 1], quantised to multiples of 1/255."""
    v = (np.arange(height) + 0.5)[:, None] / 64.0
    u = (np.arange(width) + 0.5)[None, :] / 64.0
    rows = []
    for c in range(3):
        s = 0.5 + 0.25 * np.sin(2 * np.pi * (0.7 * u + 0.31 * v + c / 3.0))
        s = s + 0.15 * np.cos(2 * np.pi * (1.9 * v - 0.4 * u * (c + 1) + 0.1 * seed))
        rows.append(s)
    x = np.stack(rows)
    noise = generator(f"input:{height}x{width}", seed).random((3, height, width))
    x = np.clip(x + 0.2 * (noise - 0.5), 0.0, 1.0)
    x = np.rint(x * 255.0).astype(np.float32) / np.float32(255.0)
    return x[None]
