"""Films that stand twice: found after what happens to films on their way, and kept on one side of a split."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from hilum.cli.data import app
from hilum.datasets import duplicates
from hilum.datasets.manifest import Manifest
from hilum.datasets.split import holdout
from tests.phantom import phantom


@cache
def picture(seed: int) -> NDArray[np.float32]:
    """A phantom with lesions and soft shadows of its own: bare phantoms share one anatomy, as no two people do."""
    film = phantom(seed, 160, 140, lesions=3).pixels.astype(np.float32)
    shadows = np.random.default_rng(seed).normal(0, 1, (11, 10)).astype(np.float32)
    return np.clip(film + 0.25 * cv2.resize(shadows, (140, 160), interpolation=cv2.INTER_CUBIC), 0, 1)


def write(path: Path, film: NDArray[np.float32], quality: int = 95) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(np.clip(film, 0, 1) * 255).astype(np.uint8)
    assert cv2.imwrite(
        str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    )
    return path.stem


def manifest(folder: Path, patients: dict[str, str | None] | None = None) -> Manifest:
    files = sorted(p for p in folder.iterdir())
    table = pl.DataFrame({"image_id": [p.stem for p in files], "path": [p.name for p in files]})
    if patients is not None:
        column = pl.Series("patient", [patients[p.stem] for p in files], dtype=pl.String)
        table = table.with_columns(column)
    return Manifest(table, root=folder)


def brute_force(values: NDArray[np.uint64], distance: int) -> list[list[int]]:
    bits = np.array([[(int(v) >> b) & 1 for b in range(64)] for v in values])
    far = (bits[:, None] != bits[None]).sum(2)
    return [[i, j] for i in range(len(values)) for j in range(i + 1, len(values)) if far[i, j] <= distance]


@given(st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(1, 40))
@settings(max_examples=12, deadline=None)
def test_the_lookup_finds_what_comparing_all_pairs_finds(seed: int, distance: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 4, np.uint64)
    flips = np.array([sum(1 << int(b) for b in rng.choice(64, n, False)) for n in rng.integers(0, 12, count)])
    values = centres[rng.integers(0, 4, count)] ^ flips.astype(np.uint64)
    assert duplicates.near_pairs(values, distance).tolist() == brute_force(values, distance)


def test_a_distance_beyond_what_the_lookup_promises_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        duplicates.near_pairs(np.zeros(2, np.uint64), 16)


@given(
    seed=st.integers(0, 50),
    width=st.integers(100, 300),
    height=st.integers(100, 300),
    gain=st.floats(0.4, 1.0),
    quality=st.integers(50, 95),
)
@settings(max_examples=10, deadline=None)
def test_a_film_resized_dimmed_and_compressed_is_found(
    tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, height: int, gain: float, quality: int
) -> None:
    folder = tmp_path_factory.mktemp("films")
    film = picture(seed)
    write(folder / "a.png", film)
    write(folder / "b.jpg", gain * cv2.resize(film, (width, height)) + 0.5 * (1 - gain), quality)
    found = duplicates.find(manifest(folder), workers=1)
    assert found.groups == (("a", "b"),)
    assert found.exact_groups == ()


def test_films_of_different_people_are_not(tmp_path: Path) -> None:
    for seed in range(40):
        write(tmp_path / f"{seed:02}.png", picture(seed))
    found = duplicates.find(manifest(tmp_path), workers=1)
    assert found.groups == ()
    assert found.films == 40


def test_the_same_bytes_blank_films_and_damaged_ones(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.png", picture(1))
    write(tmp_path / "d.jpg", picture(1), 80)
    write(tmp_path / "e.png", picture(2))
    for name in "xy":
        write(tmp_path / f"{name}.png", np.zeros((20, 20), np.float32))
    (tmp_path / "z.png").write_bytes(b"no film")
    found = duplicates.find(manifest(tmp_path), workers=2)
    assert found.groups == (("a", "b", "c", "d"),)
    assert found.exact_groups == (("a", "b", "c"),)
    assert found.pairs.filter("exact").select("a", "b").rows() == [("a", "b"), ("a", "c")]
    assert found.failures["image_id"].to_list() == ["x", "y", "z"]
    assert found.films == 5


def test_a_pair_agrees_as_its_definition_says() -> None:
    thumbnails = np.stack([cv2.resize(picture(s), (64, 64)) * 255 for s in range(3)]).astype(np.uint8)
    fine = [(t - cv2.GaussianBlur(t, (0, 0), 4.0)).ravel() for t in thumbnails.astype(np.float32)]
    got = duplicates.agreement(thumbnails, np.array([[0, 1], [1, 2], [2, 2]]))
    want = [np.corrcoef(fine[i], fine[j])[0, 1] for i, j in ((0, 1), (1, 2), (2, 2))]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert duplicates.compare(_of(thumbnails[:0])).pairs.height == 0


def test_a_group_becomes_one_patient_whom_no_split_parts(tmp_path: Path) -> None:
    patients = {f"{n:02}": None if n in (8, 9) else f"p{n // 2}" for n in range(12)}
    for name in patients:
        write(tmp_path / f"{name}.png", picture(int(name)))
    groups = [("01", "02"), ("03", "04"), ("08", "09"), ("11", "elsewhere")]
    merged = duplicates.as_one_patient(manifest(tmp_path, patients), groups)
    assert merged.table["patient"].to_list() == [*["p0"] * 6, "p3", "p3", "near:08", "near:08", "p5", "p5"]
    assert merged.table["patient_published"].to_list() == list(patients.values())
    split = holdout(merged, {"train": 0.5, "test": 0.5}, 0)
    assert duplicates.crossing(merged.with_split(split), groups, "split") == 0
    assert duplicates.crossing(merged, [("00", "11"), ("00", "05")], "patient") == 1
    again = duplicates.as_one_patient(merged, [("08", "11")])
    assert set(again.table["patient"][8:]) == {"p5"}
    assert again.table["patient_published"].equals(merged.table["patient_published"])


def test_the_command_writes_groups_and_a_manifest_that_splits(tmp_path: Path) -> None:
    for place, names in (("one", "ab"), ("two", "cde")):
        for name in names:
            write(tmp_path / place / f"{name}.png", picture({"c": 0, "a": 0}.get(name, ord(name))))
        manifest(tmp_path / place).save(tmp_path / f"{place}.parquet")
    given = ["duplicates", *(str(tmp_path / f"{p}.parquet") for p in ("one", "two"))]
    given += ["--out", str(tmp_path / "d.json"), "--merged", str(tmp_path / "m.parquet"), "--workers", "1"]
    said = CliRunner().invoke(app, given, catch_exceptions=False).stdout
    assert "together: a, c" in said
    written = json.loads((tmp_path / "d.json").read_text())
    assert (written["groups"], written["films"], written["exact_pairs"]) == ([["a", "c"]], 5, 1)
    assert written["pairs"][0] == {"a": "a", "b": "c", "exact": True, "distance": 0, "correlation": 1.0}
    assert Manifest.load(tmp_path / "m.parquet").table["patient"].to_list() == [
        "near:a",
        None,
        "near:a",
        None,
        None,
    ]
    assert json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)["films_in_groups"] == 2


def _of(thumbnails: NDArray[np.uint8]) -> duplicates.Prints:
    names = tuple(map(str, range(len(thumbnails))))
    return duplicates.Prints(names, names, duplicates.hashes(thumbnails), thumbnails, pl.DataFrame())
