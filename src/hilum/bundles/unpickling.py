"""PyTorch's pickles, with nothing in them executed.

A pickle is a program that may import and call anything. Here it is read by an unpickler that imports nothing. It knows the
handful of names by which PyTorch writes a tensor, and answers to every other name with an inert `Shell`, an object that
keeps what it is given and does nothing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

LARGEST_MEMO = 1 << 22  # an index into the memo makes the unpickler reserve room up to it

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def unpickled(
    file: io.BytesIO, storage: Callable[[torch.dtype, str, int], torch.UntypedStorage]
) -> tuple[Any, dict[str, Storage]]:
    """One pickle of `file`, read on from where it stands, and the storages it names."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("LONG_BINPUT", "PUT") and int(argument or 0) > LARGEST_MEMO:
            raise NotReadable("it asks for too much memory")
    file.seek(start)
    reader = Unpickler(file, storage)
    return reader.load(), reader.storages


class Shell:
    """Stands for any object that a checkpoint names: it keeps its state and does nothing."""

    state: Mapping[Any, Any] = {}

    def __new__(cls, *_: object, **__: object) -> Shell:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> Shell:
        return Shell()

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass


class NotReadable(Exception):
    pass


class Call:
    """A function that a pickle may call. It has no attributes that a pickle could set."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *given: Any) -> Any:
        return self._function(*given)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise NotReadable("it sets an attribute of a function")


class Storage:
    __slots__ = ("content", "dtype", "length")

    def __init__(self, dtype: torch.dtype, length: int, content: torch.UntypedStorage) -> None:
        self.dtype, self.length, self.content = dtype, length, content


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
    """A view of a storage, within its bounds."""
    if not isinstance(storage, Storage):
        raise NotReadable("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        raise NotReadable("a tensor of no shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.length:
        raise NotReadable("a tensor reaches beyond its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage.content, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: object) -> Any:
    return data


def _reconstructed(kind: Any, *_: object) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Shell)):
        raise NotReadable("it builds something that is no plain object")
    return kind()


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): Call(_parameter),
    ("copyreg", "_reconstructor"): Call(_reconstructed),
    ("copy_reg", "_reconstructor"): Call(_reconstructed),
}


class Unpickler(pickle.Unpickler):
    """Imports nothing. `storage(dtype, key, length)` gives a storage its content."""

    def __init__(
        self, file: io.BytesIO, storage: Callable[[torch.dtype, str, int], torch.UntypedStorage]
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return type("Shell", (Shell,), {})  # a new one each time: what is done to it stays with it

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise NotReadable("a reference of an unknown kind")
        if pid[0] == "module":  # the stream format keeps a module's source beside it
            return pid[1]
        kind, dtype, key, _, length = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(length) is not int or length < 0:
            raise NotReadable("a storage of an unknown kind")
        if any(part is not None for part in pid[5:]):
            raise NotReadable("a storage inside another")
        key = str(key)
        if key not in self.storages:
            self.storages[key] = Storage(dtype, length, self.storage(dtype, key, length))
        if (self.storages[key].dtype, self.storages[key].length) != (dtype, length):
            raise NotReadable("a storage of two kinds")
        return self.storages[key]
