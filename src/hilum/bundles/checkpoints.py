"""Tensors out of other programs' checkpoints, with nothing in them executed (`unpickling`).

Even a whole pickled module, as torchxrayvision's files are, gives up its tensors: its shells hold their parameters in
dictionaries. Both of PyTorch's formats are read, the zip of today and the stream of before 2020.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from hilum.bundles.files import LARGEST
from hilum.bundles.unpickling import NotReadable, Shell, unpickled
from hilum.errors import BundleError
from hilum.models.pretrained import read_weights

MAGIC = 0x1950A86A20F9469CFC6C  # begins the stream format
PROTOCOL = 1001
LARGEST_PICKLE = 64 << 20  # bytes without the tensors' content; a ViT-L has under one million
DEEPEST = 64  # modules in modules
INSIDE = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
)  # where a checkpoint with more in it keeps its tensors


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
        NotReadable,
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


def _from_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        tops = [
            name.removesuffix("data.pkl")
            for name in entries
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(tops) != 1:
            raise NotReadable("a zip without PyTorch's data.pkl")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise NotReadable("a compressed zip")
        order = f"{tops[0]}byteorder"
        if order in entries and archive.read(order) != b"little":
            raise NotReadable("it was written in another byte order")

        def storage(dtype: torch.dtype, key: str, length: int) -> torch.UntypedStorage:
            entry = entries.get(f"{tops[0]}data/{key}")
            if entry is None or entry.file_size != length * dtype.itemsize:
                raise NotReadable(f"its tensor data {key!r} is missing or of another size")
            return _filled(archive.read(entry))

        if entries[f"{tops[0]}data.pkl"].file_size > LARGEST_PICKLE:
            raise NotReadable("its pickle is too large")
        return unpickled(io.BytesIO(archive.read(f"{tops[0]}data.pkl")), storage)[0]


def _from_stream(content: bytes) -> Any:
    file = io.BytesIO(content)
    for expected in (MAGIC, PROTOCOL):
        if unpickled(file, _no_storage)[0] != expected:
            raise NotReadable("it begins as no checkpoint does")
    unpickled(file, _no_storage)  # facts about the machine that wrote it
    left = len(content)

    def storage(dtype: torch.dtype, _: str, length: int) -> torch.UntypedStorage:
        nonlocal left
        left -= length * dtype.itemsize
        if left < 0:
            raise NotReadable("its tensors are larger than the file")
        return torch.UntypedStorage(length * dtype.itemsize)

    found, storages = unpickled(file, storage)
    keys = unpickled(file, _no_storage)[0]
    for key in keys:
        there = storages[str(key)]
        if int.from_bytes(file.read(8), "little") != there.length:
            raise NotReadable(f"its tensor data {key!r} is of another size")
        size = there.length * there.dtype.itemsize
        there.content.copy_(_filled(_exactly(file, size)))
    if set(storages) - {str(key) for key in keys}:
        raise NotReadable("tensor data is missing")
    return found


def _no_storage(*_: object) -> NoReturn:
    raise NotReadable("a tensor where none belongs")


def _filled(content: bytes) -> torch.UntypedStorage:
    if not content:
        return torch.UntypedStorage(0)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _exactly(file: io.BytesIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise NotReadable("it ends too early")
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
        raise NotReadable("modules in modules without end")
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
