"""Our own checkpoints: one safetensors file holds weights, integer tables and configuration."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dictco_lib.checkpoints.census import MAX_TENSORS, check_header
from dictco_lib.checkpoints.fit import CONSTANT_LEAVES, tensor_problem
from dictco_lib.checkpoints.published import empty_model, load_published, skeleton_of
from dictco_lib.checkpoints.rows8 import TRAINING_ONLY, is_in_rows8, is_matrix, pack, unpack
from dictco_lib.checkpoints.rows8 import rounded as rounded_rows
from dictco_lib.config import CodecConfig
from dictco_lib.entropy.gaussian import SCALE_LEVELS
from dictco_lib.entropy.seal import Seal
from dictco_lib.errors import CheckpointError, ConfigError, foreign, listed, quoted
from dictco_lib.files import DATA_FOLDERS, atomic_path, parse_json
from dictco_lib.layers.walk import tensors_of
from dictco_lib.models import PRESETS, DictionaryCodec, config_from_dict

FORMAT = "dictco-checkpoint-1"
_GET_AGAIN = "get the file again, or save the model again with this version of dictco_lib"
_fingerprints: WeakKeyDictionary[DictionaryCodec, tuple[Seal, bytes]] = WeakKeyDictionary()


def own_state(model: DictionaryCodec) -> dict[str, Tensor]:
    """Tensors that define the model: no constants, no tables of other coders."""
    return {
        key: value
        for key, value in model.state_dict().items()
        if key.rsplit(".", 1)[-1] not in CONSTANT_LEAVES
    }


def fingerprint(model: DictionaryCodec) -> bytes:
    """Eight bytes that name a model: its configuration, weights and integer tables.

    Streams carry it, so that a file is never decoded with other weights than its encoder's.
    """
    tensors = tensors_of(model)  # some have no say in it; a change of theirs costs a second look
    known = _fingerprints.get(model)
    if known is None or not known[0].holds(tensors):
        without = ("name", *model.config.training_fields)
        config = {k: v for k, v in model.config.to_dict().items() if k not in without}
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        state = {k: v for k, v in own_state(model).items() if not k.startswith(TRAINING_ONLY)}
        for name in sorted(state):
            value = state[name].detach().cpu()
            value = value.float() if value.is_floating_point() else value
            digest.update(f"{name}{tuple(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
        known = _fingerprints[model] = (Seal(tensors), digest.digest()[:8])
    return known[1]


def save_checkpoint(
    model: DictionaryCodec,
    path: str | Path,
    *,
    half: bool = False,
    rows8: bool = False,
    info: dict | None = None,
) -> None:
    """Write a model with its configuration and integer tables, all or nothing.

    Args:
        model: any codec; its tables are saved if they were built.
        path: where to; the usual suffix is ``.safetensors``.
        half: store matrices in float16. See :func:`export`, which rounds them first.
        rows8: store those of the entropy model as 8-bit integers with a step for each row; those
            of the transforms too, if the recipe in ``info`` says that they were trained for it.
        info: plain values to keep with the weights, such as the training recipe.

    Raises:
        CheckpointError: if its networks are not those of its family's page.
    """
    if model.has_own_page:
        raise CheckpointError(
            "this model has networks of its own, which no file can say; to keep it, make them a "
            "page of dictco_lib/models/ and add it to FAMILIES"
        )
    state, transforms = {}, _is_trained_for_rows8(info)
    for key, value in own_state(model).items():
        if rows8 and is_in_rows8(key, value, transforms=transforms):
            state |= pack(key, value)
        else:
            state[key] = _halved(value) if half and is_matrix(value) else value
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(model.config.to_dict()),
        "info": json.dumps(info or {}),
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def _is_trained_for_rows8(info: dict | None) -> bool:
    recipe = (info or {}).get("recipe")
    return isinstance(recipe, dict) and recipe.get("weight_bits") == 8


def is_halved(path: str | Path) -> bool:
    """Is a file what :func:`export` makes of a checkpoint: ours, with matrices of 8 or 16 bits?

    Raises:
        CheckpointError: if it is no checkpoint at all.
    """
    read_info(path)
    with safe_open(path, "pt") as file:
        return any(file.get_slice(key).get_dtype() in ("F16", "I8") for key in file.keys())


def _halved(value: Tensor) -> Tensor:
    half = value.detach().half()
    if not bool(half.isfinite().all()):
        raise CheckpointError(
            f"weights up to {value.abs().max().item():.3g} do not fit in float16 (65504 at most); "
            "keep the checkpoint in float32"
        )
    return half


def read_info(path: str | Path) -> dict:
    """Configuration and info of a checkpoint, without its weights."""
    path = Path(path)
    check_header(path, CheckpointError)
    with foreign(f"{path} is no readable safetensors file", CheckpointError, _GET_AGAIN):
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {quoted(metadata.get('format'))}, expected {FORMAT!r}; "
            "for published weights use load_published"
        )
    return {part: _table(path, part, metadata.get(part)) for part in ("config", "info")}


def _table(path: Path, part: str, text: str | None) -> dict:
    if text is None:
        raise CheckpointError(f"{path} has no {part!r} in its metadata; {_GET_AGAIN}")
    table = parse_json(text, f"{part!r} in {path}", CheckpointError, _GET_AGAIN)
    if not isinstance(table, dict):
        raise CheckpointError(
            f"{part!r} in {path} is a {type(table).__name__}, expected a table; {_GET_AGAIN}"
        )
    return table


def load_checkpoint(
    path: str | Path, device: str | torch.device = "cpu", *, update: bool = True
) -> DictionaryCodec:
    """Rebuild a model from its file, in float32 and evaluation mode.

    Args:
        path: a file written by :func:`save_checkpoint`.
        device: where the model goes.
        update: build the integer tables if the file has none.

    Raises:
        CheckpointError: if the file is missing, damaged, or does not fit its configuration.
    """
    try:
        config = config_from_dict(read_info(path)["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}; {_GET_AGAIN}") from None
    with foreign(f"the tensors of {path} cannot be read", CheckpointError, _GET_AGAIN):
        with safe_open(path, "pt") as file:
            keys = list(file.keys())[: MAX_TENSORS + 1]
            state = {key: file.get_tensor(key) for key in keys}
    state = unpack(state, _GET_AGAIN)
    try:
        model = build(config, state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {_GET_AGAIN}") from None
    if model.latent_codec.y_tables.is_filled:
        model.latent_codec.seal()
    elif update:
        model.update()
    return model.to(device)


def build(config: CodecConfig, state: dict[str, Tensor]) -> DictionaryCodec:
    """A model with exactly these tensors, in float32 and evaluation mode.

    Raises:
        CheckpointError: unless the tensors are all of the model's and no others, of its shapes
            and kinds, and finite; constants must be left out.
    """
    with foreign(
        f"config {quoted(config.name)} is of no possible size", CheckpointError, _GET_AGAIN
    ):
        wanted = own_state(skeleton_of(config, state))
    missing = sorted(wanted.keys() - state.keys())
    unknown = sorted(state.keys() - wanted.keys())
    wrong = [
        f"{key}: {problem}"
        for key, value in wanted.items()
        if key in state and (problem := _problem(key, state[key], value))
    ]
    if missing or unknown or wrong:
        raise CheckpointError(
            f"weights do not fit config {quoted(config.name)}: missing [{listed(missing)}], "
            f"unknown [{listed(unknown)}], wrong [{listed(wrong)}]"
        )
    model = empty_model(config)
    model.load_state_dict(state, strict=False)
    _check_tables(model)
    return model


def _problem(key: str, got: Tensor, want: Tensor) -> str | None:
    """What is wrong with a tensor of a checkpoint, if anything."""
    if _is_table(key):  # empty in a new model
        ok = got.dtype == torch.int32 and got.dim() == 1
        return None if ok else f"{got.dtype} {tuple(got.shape)}, expected one row of int32"
    return tensor_problem(got, want)


def _is_table(key: str) -> bool:
    return ".y_tables." in key or ".z_tables." in key


def _check_tables(model: DictionaryCodec) -> None:
    codec = model.latent_codec
    if codec.y_tables.is_filled or codec.z_tables.is_filled:
        codec.y_tables.check(SCALE_LEVELS)
        codec.z_tables.check(model.config.N)


def export(source: str | Path, target: str | Path, *, rows8: bool = False) -> None:
    """Halve a checkpoint for shipping, and build the tables of the rounded weights.

    Two steps, because the tables of z follow from the weights that will be loaded. In 8-bit rows,
    a model that was trained for them (``weight_bits = 8``) stays exactly what it was.

    Args:
        source: a checkpoint of ours.
        target: where to.
        rows8: see :func:`save_checkpoint`.
    """
    model, info = load_checkpoint(source, update=False), read_info(source)["info"]
    for key, value in model.named_parameters():
        if rows8 and is_in_rows8(key, value, transforms=_is_trained_for_rows8(info)):
            value.data = rounded_rows(value.data)
        elif is_matrix(value):
            value.data = _halved(value).float()
    model.update()
    save_checkpoint(model, target, half=True, rows8=rows8, info=info)


def shipped_models() -> dict[str, Path]:
    """Name -> file of the weights that ship with the project."""
    found = {}
    for folder in DATA_FOLDERS:
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return found


def is_published(path: str | Path) -> bool:
    """Whether a file is in a published layout, by its suffix: ours are ``.safetensors``."""
    return Path(path).suffix in (".pth", ".pt", ".tar", ".ckpt", ".bin")


def load(source: str | Path, device: str | torch.device = "cpu") -> DictionaryCodec:
    """Load a model by name (one that ships) or by path (ours, or a published ``.pth``).

    Raises:
        CheckpointError: if there is no such model.
    """
    shipped = shipped_models()
    if str(source) in shipped:
        return load_checkpoint(shipped[str(source)], device)
    path = Path(source)
    if path.is_file():
        return (
            load_published(path).to(device) if is_published(path) else load_checkpoint(path, device)
        )
    hint = f"shipped models: {', '.join(shipped) or 'none'}; or give the path of a checkpoint"
    if str(source) in PRESETS:
        hint = f"no weights ship for this preset (load_published reads published ones); {hint}"
    raise CheckpointError(f"no model {str(source)!r}: {hint}")
