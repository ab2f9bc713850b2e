"""HAZARDS C 36: a pickle offered as a checkpoint gives its tensors or an error, and nothing in it runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from hilum.bundles.checkpoints import read_tensors
from hilum.errors import BundleError
from hilum.models.yolov5 import YOLOv5
from tests.models.test_pretrained import Evil

FORMATS = pytest.mark.parametrize("zipped", [True, False])


def written(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.Flatten(), nn.Linear(5, 2)))


@FORMATS
@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        lambda m: m.state_dict(),
        lambda m: {"state_dict": m.state_dict(), "epoch": 3, "args": object()},
        lambda m: {"model": m, "optimizer": torch.optim.Adam(m.parameters()).state_dict()},
        nn.DataParallel,
    ],
    ids=["module", "state", "checkpoint", "module in a checkpoint", "parallel"],
)
def test_tensors_come_out_as_they_were(tmp_path, zipped, wrap):
    model = net()
    found = read_tensors(written(wrap(model), tmp_path / "x.pt", zipped))
    found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    assert set(found) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_published_detectors_file_gives_weights_to_start_from(tmp_path):
    torch.manual_seed(0)
    model = YOLOv5(3, "n", channels=3).half()  # as published: a whole module at 16 bit, with more beside it
    path = written({"epoch": -1, "model": model, "ema": None, "optimizer": None}, tmp_path / "yolov5n.pt")
    save_file(read_tensors(path), tmp_path / "yolov5n.safetensors")
    started = YOLOv5(3, "n", channels=3, pretrained=tmp_path / "yolov5n.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(
            started.state_dict()[name], tensor.float() if tensor.is_floating_point() else tensor
        )


@FORMATS
def test_views_shared_storages_and_every_dtype(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "base": base,
        "column": base[:, 1],
        "turned": base.T,
        "empty": torch.zeros(0, 3),
        "one": base[2, 3],
    }
    for dtype in (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    ):
        content[str(dtype)] = torch.tensor([0, 1, 2]).to(dtype)
    found = read_tensors(written(content, tmp_path / "x.pt", zipped))
    assert set(found) == set(content)
    for name, tensor in content.items():
        assert torch.equal(found[name], tensor), name


@FORMATS
@pytest.mark.parametrize("where", ["alone", "beside", "inside a module"])
def test_code_in_a_checkpoint_does_not_run(tmp_path, zipped, where):
    mark = tmp_path / "mark"
    model = net()
    if where == "inside a module":
        model.evil = Evil(mark)
    content = {"alone": Evil(mark), "beside": {"evil": Evil(mark), "state_dict": model.state_dict()}}
    path = written(content.get(where, model), tmp_path / "x.pt", zipped)
    if where == "alone":
        with pytest.raises(BundleError, match=r"no named tensors|no tensors can be read"):
            read_tensors(path)
    else:
        assert set(read_tensors(path)) == set(model.state_dict())
    assert not mark.exists()
    torch.load(path, weights_only=False)  # what it would have done
    assert mark.exists()


def pickled(code: bytes, path: Path) -> Path:
    """A zip checkpoint whose pickle is `code`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", code)
        archive.writestr("x/data/0", bytes(16))
    return path


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def tensor_code(size: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    """{'w': a tensor of that size and stride in a storage of four floats}."""
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + size + stride + b"\x89NtR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + call + b"s."


def test_the_codes_below_are_a_checkpoint(tmp_path):
    found = read_tensors(pickled(tensor_code(b"K\x02K\x02\x86", b"K\x02K\x01\x86"), tmp_path / "x.pt"))
    assert found["w"].shape == (2, 2)


@pytest.mark.parametrize(
    "code",
    [
        tensor_code(b"K\x05\x85", b"K\x01\x85"),
        tensor_code(b"K\x02K\x02\x86", b"K\x03K\x01\x86"),
        tensor_code(b"K\x04\x85", b"K\x01\x85", b"K\x01"),
        tensor_code(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
        tensor_code(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        tensor_code(b"K\x04\x85", b"K\x01K\x01\x86"),
        tensor_code(b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", b"K\x01\x85"),
        tensor_code(b"K\x04\x85", b"K\x01\x85").replace(b"FloatStorage", b"QInt8Storage"),
        tensor_code(b"K\x04\x85", b"K\x01\x85").replace(b"cpuK\x04", b"cpuK\x05"),
        tensor_code(b"K\x04\x85", b"K\x01\x85").replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x001"),
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo index that would reserve 32 GB
        b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00xtR.",
        b"\x80\x02ccopyreg\n_reconstructor\n(cbuiltins\ndict\ncbuiltins\nobject\nNtR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb.",
        b"\x80\x02(" * 20,
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"",
        b".",
        b"\x80\x02]q\x00h\x00a.",
    ],
)  # fmt: skip
def test_broken_and_hostile_pickles_are_refused(tmp_path, code):
    with pytest.raises(BundleError) as caught:
        read_tensors(pickled(code, tmp_path / "x.pt"))
    assert "x.pt" in str(caught.value)


def test_nothing_is_imported(tmp_path):
    code = b"\x80\x02}X\x01\x00\x00\x00wcantigravity\nfly\n)Rs."
    with pytest.raises(BundleError, match="no named tensors"):
        read_tensors(pickled(code, tmp_path / "x.pt"))
    assert "antigravity" not in __import__("sys").modules
    assert any(op.name == "GLOBAL" for op, _, _ in pickletools.genops(code))


def test_a_stream_that_claims_more_than_it_holds_is_refused(tmp_path):
    written({"w": torch.zeros(8)}, tmp_path / "x.pt", zipped=False)
    whole = (tmp_path / "x.pt").read_bytes()
    for cut in (len(whole) - 1, len(whole) - 40, len(whole) // 2, 30, 3):
        (tmp_path / "x.pt").write_bytes(whole[:cut])
        with pytest.raises(BundleError):
            read_tensors(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(whole[:-40] + struct.pack("<q", 1 << 40) + whole[-32:])
    with pytest.raises(BundleError, match="another size"):
        read_tensors(tmp_path / "x.pt")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_gives_tensors_or_a_clear_error(tmp_path_factory, data):
    buffer = io.BytesIO()
    zipped = data.draw(st.booleans())
    torch.save({"state_dict": net().state_dict()}, buffer, _use_new_zipfile_serialization=zipped)
    content = bytearray(buffer.getvalue())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flipped") / "x.pt"
    path.write_bytes(content)
    with contextlib.suppress(BundleError):
        assert read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", pickle.dumps({"w": 1}), b"PK\x03\x04", bytes(range(190, 254))],
    ids=["empty", "text", "a pickle", "a zip's beginning", "noise"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(BundleError, match="no tensors can be read"):
        read_tensors(tmp_path / "x.pt")
    with pytest.raises(BundleError, match="no such file"):
        read_tensors(tmp_path / "absent.pt")
