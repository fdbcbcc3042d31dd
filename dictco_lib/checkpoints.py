"""Checkpoints: safetensors that carry their configuration."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from dictco_lib.files import atomic_path
from dictco_lib.models import DictionaryCodec

def save_checkpoint(model, path):
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in model.state_dict().items() if v.numel()}, temporary, metadata={"config": json.dumps(model.config.to_dict())})
