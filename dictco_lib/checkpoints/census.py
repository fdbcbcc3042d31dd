"""What a file of weights claims, counted before anything is allocated: one guard for all loaders.

A pickle says how large its tensors are, and torch believes it: a tensor that repeats one number
(stride 0) or shares its bytes with a thousand others takes little of a file and all of a machine.
So a file is read twice: first by an unpickler that makes nothing and counts, then by torch.
"""

from __future__ import annotations

import math
import mmap
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from dictco_lib.errors import DictcoError, foreign, quoted, reason

MAX_TENSORS = 2**15
MAX_HEADER = 2**24  # bytes of the table in a safetensors file
_ADVICE = "get the file again, or save its state dict again with torch.save"
_ITEM_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}  # fmt: skip


class _Misfit(Exception):
    """What the file claims cannot be."""


class _Inert:
    """Stands for an object that the census does not make."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        raise _Misfit("it changes a tensor after it was made")


class _Census(pickle._Unpickler):  # the one in Python: its memory follows the file's size
    """Reads a pickle of plain weights without making a tensor.

    Args:
        file: where the pickle begins.
        room: bytes of each storage by its key, or of all of them together.
    """

    def __init__(self, file: BinaryIO, room: dict[str, int] | int) -> None:
        super().__init__(file)
        self.room = room
        self.all_room = sum(room.values()) if isinstance(room, dict) else room
        self.claimed: dict[str, int] = {}
        self.total = self.tensors = 0

    def find_class(self, module: str, name: str) -> object:
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._tensor
        if module in ("torch", "torch.storage") and name in _ITEM_BYTES:
            return _ITEM_BYTES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return _Inert()
        plain = {
            "collections.OrderedDict": OrderedDict,
            "collections.Counter": dict,  # of milestones, in the state of a scheduler
            "builtins.set": set,
            "__builtin__.set": set,
            "torch.Size": _Inert,
            "torch.device": _Inert,
            "_codecs.encode": _Inert,  # bytes
            "torch._utils._rebuild_parameter": _Inert,
        }
        if f"{module}.{name}" not in plain:
            raise _Misfit(f"it holds more than plain weights: {quoted(f'{module}.{name}')}")
        return plain[f"{module}.{name}"]

    def persistent_load(self, pid: object) -> tuple[int, int]:
        _, item, key, _, numel, *_ = pid
        if type(item) is not int or type(key) is not str or type(numel) is not int or numel < 0:
            raise _Misfit("a storage has no size")
        there = self.room.get(key, -1) if isinstance(self.room, dict) else self.room
        more = numel * item - self.claimed.get(key, 0)
        if more > 0:
            self.claimed[key] = numel * item
            self.total += more
        if numel * item > there or self.total > self.all_room:
            raise _Misfit(f"storage {quoted(key)} claims {numel * item} bytes that are not there")
        return numel, item

    def _tensor(self, storage: tuple, offset: int, size: tuple, stride: tuple, *_: object):
        numel = math.prod(size)
        if any(type(v) is not int or v < 0 for v in (offset, *size, *stride)):
            raise _Misfit("a tensor has no size")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if numel and (numel > storage[0] or last >= storage[0]):
            raise _Misfit(
                f"a tensor of {numel} numbers lies in a storage of {storage[0]}; expanded tensors "
                "must be saved as .contiguous()"
            )
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise _Misfit(f"it holds more than {MAX_TENSORS} tensors")
        return _Inert()


def _count_zip(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MAX_TENSORS + 16:
            raise _Misfit(f"it has {len(members)} parts, at most {MAX_TENSORS} are read")
        names = [m.filename for m in members]
        root = names[0].split("/")[0]
        if any(m.compress_type or m.compress_size != m.file_size for m in members):
            raise _Misfit("its parts are compressed, which torch.save never does")
        if sum(m.file_size for m in members) > size or len(set(names)) < len(names):
            raise _Misfit("its parts lie over each other")
        data = f"{root}/data/"
        room = {m.filename.removeprefix(data): m.file_size for m in members}
        with archive.open(f"{root}/data.pkl") as pickled:
            _Census(pickled, room).load()


def _count_legacy(file: BinaryIO, size: int) -> None:
    """What torch.save wrote before version 1.6: three small pickles, then that of the object."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _ in range(4):
            _Census(data, size).load()


def read_pickle(path: Path, kind: type[DictcoError], advice: str = _ADVICE) -> object:
    """Plain values and tensors of a ``torch.save`` file that claims no more than it holds.

    Args:
        path: the file.
        kind: the error to raise.
        advice: what to do about a file that is refused.

    Raises:
        DictcoError: of that kind, if there is anything else in it, or it is damaged.
    """
    if not path.is_file():
        raise kind(f"{path} does not exist, or is no file")
    what = f"{path} cannot be read as plain weights"
    with foreign(what, kind, advice), path.open("rb") as file:
        size = path.stat().st_size
        is_zip = zipfile.is_zipfile(file)
        file.seek(0)
        try:
            _count_zip(file, size) if is_zip else _count_legacy(file, size)
        except _Misfit as misfit:
            raise kind(f"{what}: {misfit}; {advice}") from None
        except Exception as error:
            why = f"torch.save did not write it, or not all of it ({reason(error)})"
            raise kind(f"{what}: {why}; {advice}") from None
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def check_shares(state: Mapping[str, Tensor], what: str, kind: type[DictcoError]) -> None:
    """Raise unless tensors together are of about the size of the bytes that they lie in.

    Published layouts name some tensors twice; nothing names one a thousand times.
    """
    if len(state) > MAX_TENSORS:
        raise kind(f"{what} holds {len(state)} tensors, at most {MAX_TENSORS} are read")
    stores = {
        s.data_ptr(): s.nbytes()
        for s in (v.untyped_storage() for v in state.values() if v.layout == torch.strided)
    }
    named = sum(v.numel() * v.element_size() for v in state.values())
    if named > 2 * sum(stores.values()):
        raise kind(
            f"{what} names {named} bytes of tensors that lie in {sum(stores.values())} bytes; "
            "expanded or shared tensors must be saved as copies: .contiguous()"
        )


def check_header(path: Path, kind: type[DictcoError]) -> None:
    """Raise unless the table of a safetensors file is of a size that tensors can need."""
    if not path.is_file():
        raise kind(f"checkpoint {path} does not exist")
    with foreign(f"{path} cannot be read", kind, _ADVICE), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise kind(
            f"{path} is no readable safetensors file: its table claims {length} bytes, at most "
            f"{MAX_HEADER} are read"
        )
