"""Sources whose masks are published a lung at a time: Montgomery and JSRT."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.datasets import joined_masks, registry
from hilum.datasets.manifest import LABEL
from hilum.datasets.sources import jsrt
from hilum.errors import DataError
from hilum.images.read import read
from tests.datasets.mini import MINI
from tests.phantom import phantom


def values(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_montgomery_tells_age_sex_reading_and_tuberculosis(tmp_path: Path) -> None:
    table = registry.load("montgomery", MINI["montgomery"](tmp_path).root).table
    rows = table.select("image_id", "sex", "age", "reading", "class", LABEL + "Tuberculosis").rows()
    assert rows == [
        ("MCUCXR_0001_0", "F", 60.0, "normal", "Normal", 0.0),
        ("MCUCXR_0002_1", None, None, None, "Tuberculosis", 1.0),
    ]
    assert table["patient"].to_list() == ["montgomery:0001", "montgomery:0002"]


@pytest.mark.parametrize("name", ["montgomery", "jsrt"])
def test_both_lungs_are_in_the_joined_mask_and_can_be_told_apart(name: str, tmp_path: Path) -> None:
    manifest = registry.load(name, MINI[name](tmp_path / "set").root)
    joined = values(manifest.absolute(manifest.table["mask"][0]))
    truth = phantom(0, 16, 16).lungs.repeat(2, 0).repeat(2, 1) if name == "jsrt" else phantom(0, 32, 32).lungs
    # The film's left half is the patient's right.
    np.testing.assert_array_equal(joined == joined_masks.RIGHT, truth == 1)
    np.testing.assert_array_equal(joined == joined_masks.LEFT, truth == 2)


def test_joined_masks_go_where_they_are_wanted_and_follow_their_halves(tmp_path: Path) -> None:
    root = MINI["montgomery"](tmp_path / "set").root
    manifest = registry.load("montgomery", root, joined=str(tmp_path / "out"))
    assert not (root / "hilum_masks").exists()
    written = tmp_path / "out" / "MCUCXR_0001_0.png"
    assert manifest.absolute(manifest.table["mask"][0]) == written
    assert registry.load("montgomery", root, joined=str(tmp_path / "out")).digest == manifest.digest
    left = root / "ManualMask" / "leftMask" / "MCUCXR_0001_0.png"
    Image.new("L", (32, 32)).save(left)
    os.utime(left, (4e9, 4e9))
    registry.load("montgomery", root, joined=str(tmp_path / "out"))
    assert set(np.unique(values(written))) == {0, joined_masks.RIGHT}
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written.*joined=FOLDER"):
        registry.load("montgomery", root, joined=str(tmp_path / "file" / "below"))
    left.write_bytes(b"no picture")
    os.utime(left, (4e9, 4e9))
    with pytest.raises(DataError, match="not a readable mask"):
        registry.load("montgomery", root, joined=str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["montgomery", "jsrt"])
def test_an_empty_half_is_noted_and_one_of_other_proportions_refused(name: str, tmp_path: Path) -> None:
    root = MINI[name](tmp_path).root
    assert len(registry.load(name, root).notes) == 1
    half = next(p for p in sorted(root.rglob("*")) if p.parent.name in ("rightMask", "right lung"))
    mask = Image.new("L", Image.open(half).size)
    mask.save(half)
    os.utime(half, (4e9, 4e9))
    assert registry.load(name, root).notes[1] == f"1 masks of one lung are empty: {half.stem} (right)."
    mask.resize((mask.width, mask.height // 2)).save(half)
    os.utime(half, (4.1e9, 4.1e9))
    with pytest.raises(DataError, match=r"x \d+ pixels, its film 32 x 32: other proportions") as caught:
        registry.load(name, root)
    assert caught.value.path == half


def test_jsrt_folds_and_nodules(tmp_path: Path) -> None:
    manifest = registry.load("jsrt", MINI["jsrt"](tmp_path).root)
    rows = manifest.table.select("image_id", "fold", LABEL + "Nodule").rows()
    assert rows == [("JPCLN001", "fold1", 1.0), ("JPCNN001", "fold2", 0.0)]
    assert manifest.missing.rows() == [("JPCLN002", "right lung/JPCLN002.gif")]
    assert registry.load("jsrt", tmp_path).digest == manifest.digest  # its own joined masks are no films


def test_raw_jsrt_films_are_refused_with_the_way_to_convert_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsrt, "_PIXELS", 32)
    dark = np.linspace(0, 4095, 32 * 32).astype(">u2").reshape(32, 32)
    root = MINI["jsrt"](tmp_path).root
    for film in (root / "films").iterdir():
        film.unlink()
        dark.tofile(root / f"{film.stem}.IMG")
    with pytest.raises(DataError, match=r"Its films are raw: .*jsrt\.convert"):
        registry.load("jsrt", root)
    assert [p.name for p in jsrt.convert(root)] == ["JPCLN001.png", "JPCLN002.png", "JPCNN001.png"]
    film = read(root / "films" / "JPCLN001.png")
    np.testing.assert_allclose(film.pixels, 1 - dark.astype(np.float64) / 4095, atol=1e-5)
    assert not film.notices
    assert len(registry.load("jsrt", root)) == 2
    (root / "JPCNN009.IMG").write_bytes(b"\0" * 7)
    with pytest.raises(DataError, match="not 32 x 32 values"):
        jsrt.convert(root)
    np.full((32, 32), 4096, ">u2").tofile(root / "JPCNN009.IMG")
    with pytest.raises(DataError, match="beyond 12 bits"):
        jsrt.convert(root)
    with pytest.raises(DataError, match=r"no file JPCLN001\.IMG"):
        jsrt.convert(root / "scratch")
