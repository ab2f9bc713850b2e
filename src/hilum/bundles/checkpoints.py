"""Tensors out of other programs' checkpoints, with nothing in them executed.

A PyTorch checkpoint is a pickle: a program that may import and call anything. Here it is read by an unpickler that
imports nothing. It knows the handful of names by which PyTorch writes a tensor, and answers to every other name with an
inert `Shell`, an object that keeps what it is given and does nothing. So even a whole pickled module, as
torchxrayvision's files are, gives up its tensors: its shells hold their parameters in dictionaries. Both of PyTorch's
formats are read, the zip of today and the stream of before 2020.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from hilum.bundles.files import LARGEST
from hilum.errors import BundleError
from hilum.models.pretrained import read_weights

MAGIC = 0x1950A86A20F9469CFC6C  # begins the stream format
PROTOCOL = 1001
LARGEST_PICKLE = 64 << 20  # bytes without the tensors' content; a ViT-L has under one million
LARGEST_MEMO = 1 << 22  # an index into the memo makes the unpickler reserve room up to it
DEEPEST = 64  # modules in modules
INSIDE = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
)  # where a checkpoint with more in it keeps its tensors

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


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: .safetensors, or PyTorch's own, of a state dict or of a whole module.

    Raises BundleError where the file is none, is damaged, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError("there is no such file", path=path)
    if path.suffix == ".safetensors":
        return read_weights(path)
    if path.stat().st_size > LARGEST:
        raise BundleError("it is too large", path=path)
    try:
        content = _from_zip(path) if zipfile.is_zipfile(path) else _from_stream(path.read_bytes())
        found = {name: tensor.clone() for name, tensor in _tensors(content)}
    except (
        _NotReadable,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:
        raise _fault(path, str(error)) from error
    except (AttributeError, IndexError, RuntimeError, OverflowError, MemoryError, UnicodeError) as error:
        raise _fault(path, f"{type(error).__name__}: {error}") from error
    if not found:
        raise BundleError(
            "it holds no named tensors", path=path, mend="Give a state dict, or a checkpoint with one"
        )
    return found


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


class _NotReadable(Exception):
    pass


class _Call:
    """A function that a pickle may call. It has no attributes that a pickle could set."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *given: Any) -> Any:
        return self._function(*given)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise _NotReadable("it sets an attribute of a function")


class _Storage:
    __slots__ = ("content", "dtype", "length")

    def __init__(self, dtype: torch.dtype, length: int, content: torch.UntypedStorage) -> None:
        self.dtype, self.length, self.content = dtype, length, content


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
    """A view of a storage, within its bounds."""
    if not isinstance(storage, _Storage):
        raise _NotReadable("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        raise _NotReadable("a tensor of no shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.length:
        raise _NotReadable("a tensor reaches beyond its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage.content, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: object) -> Any:
    return data


def _reconstructed(kind: Any, *_: object) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Shell)):
        raise _NotReadable("it builds something that is no plain object")
    return kind()


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("copyreg", "_reconstructor"): _Call(_reconstructed),
    ("copy_reg", "_reconstructor"): _Call(_reconstructed),
}


class _Unpickler(pickle.Unpickler):
    """Imports nothing. `storage(dtype, key, length)` gives a storage its content."""

    def __init__(
        self, file: io.BytesIO, storage: Callable[[torch.dtype, str, int], torch.UntypedStorage]
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return type("Shell", (Shell,), {})  # a new one each time: what is done to it stays with it

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise _NotReadable("a reference of an unknown kind")
        if pid[0] == "module":  # the stream format keeps a module's source beside it
            return pid[1]
        kind, dtype, key, _, length = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(length) is not int or length < 0:
            raise _NotReadable("a storage of an unknown kind")
        if any(part is not None for part in pid[5:]):
            raise _NotReadable("a storage inside another")
        key = str(key)
        if key not in self.storages:
            self.storages[key] = _Storage(dtype, length, self.storage(dtype, key, length))
        if (self.storages[key].dtype, self.storages[key].length) != (dtype, length):
            raise _NotReadable("a storage of two kinds")
        return self.storages[key]


def _from_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        tops = [
            name.removesuffix("data.pkl")
            for name in entries
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(tops) != 1:
            raise _NotReadable("a zip without PyTorch's data.pkl")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise _NotReadable("a compressed zip")
        order = f"{tops[0]}byteorder"
        if order in entries and archive.read(order) != b"little":
            raise _NotReadable("it was written in another byte order")

        def storage(dtype: torch.dtype, key: str, length: int) -> torch.UntypedStorage:
            entry = entries.get(f"{tops[0]}data/{key}")
            if entry is None or entry.file_size != length * dtype.itemsize:
                raise _NotReadable(f"its tensor data {key!r} is missing or of another size")
            return _filled(archive.read(entry))

        if entries[f"{tops[0]}data.pkl"].file_size > LARGEST_PICKLE:
            raise _NotReadable("its pickle is too large")
        return _unpickled(io.BytesIO(archive.read(f"{tops[0]}data.pkl")), storage)[0]


def _from_stream(content: bytes) -> Any:
    file = io.BytesIO(content)
    for expected in (MAGIC, PROTOCOL):
        if _unpickled(file, _no_storage)[0] != expected:
            raise _NotReadable("it begins as no checkpoint does")
    _unpickled(file, _no_storage)  # facts about the machine that wrote it
    left = len(content)

    def storage(dtype: torch.dtype, _: str, length: int) -> torch.UntypedStorage:
        nonlocal left
        left -= length * dtype.itemsize
        if left < 0:
            raise _NotReadable("its tensors are larger than the file")
        return torch.UntypedStorage(length * dtype.itemsize)

    found, storages = _unpickled(file, storage)
    keys = _unpickled(file, _no_storage)[0]
    for key in keys:
        there = storages[str(key)]
        if int.from_bytes(file.read(8), "little") != there.length:
            raise _NotReadable(f"its tensor data {key!r} is of another size")
        size = there.length * there.dtype.itemsize
        there.content.copy_(_filled(_exactly(file, size)))
    if set(storages) - {str(key) for key in keys}:
        raise _NotReadable("tensor data is missing")
    return found


def _unpickled(
    file: io.BytesIO, storage: Callable[[torch.dtype, str, int], torch.UntypedStorage]
) -> tuple[Any, dict[str, _Storage]]:
    """One pickle of `file`, read on from where it stands, and the storages it names."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("LONG_BINPUT", "PUT") and int(argument or 0) > LARGEST_MEMO:
            raise _NotReadable("it asks for too much memory")
    file.seek(start)
    reader = _Unpickler(file, storage)
    return reader.load(), reader.storages


def _no_storage(*_: object) -> NoReturn:
    raise _NotReadable("a tensor where none belongs")


def _filled(content: bytes) -> torch.UntypedStorage:
    if not content:
        return torch.UntypedStorage(0)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _exactly(file: io.BytesIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise _NotReadable("it ends too early")
    return content


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """The named tensors of a state dict, of a checkpoint around one, or of a module's shell."""
    if isinstance(content, Shell):
        yield from _of_module(content, "", 0)
        return
    if not isinstance(content, dict):
        return
    for key in INSIDE:
        if isinstance(content.get(key), dict | Shell):
            yield from _tensors(content[key])
            return
    yield from ((name, t) for name, t in content.items() if isinstance(name, str) and isinstance(t, Tensor))


def _of_module(shell: Shell, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if depth > DEEPEST:
        raise _NotReadable("modules in modules without end")
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _mapping(shell.state.get(kind)):
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
    for name, child in _mapping(shell.state.get("_modules")):
        if isinstance(child, Shell):
            yield from _of_module(child, f"{prefix}{name}.", depth + 1)


def _mapping(value: object) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _fault(path: Path, why: str) -> BundleError:
    lines = why.strip().splitlines() or ["it is damaged"]
    return BundleError(
        f"no tensors can be read from it ({lines[0][:200]})",
        path=path,
        mend="Give a PyTorch checkpoint or a .safetensors file",
    )
