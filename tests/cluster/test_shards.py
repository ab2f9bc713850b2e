"""Films found, parted into shards and fetched by address; results as whole files; what is done is not done again."""

from __future__ import annotations

from pathlib import Path

import cv2
import fsspec
import numpy as np
import polars as pl
import pytest

from hilum.analysis.analyzer import Analyzer
from hilum.bundles import save
from hilum.cluster import films, rows
from hilum.cluster.analysis import Wish, _hold_to, size_of
from hilum.errors import HilumError, ReadError
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom


def png(seed: int) -> bytes:
    pixels = np.rint(phantom(seed, 160, 144).pixels * 255).astype(np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture
def store() -> str:
    """Films in an object store, with files beside them that are none."""
    system = fsspec.filesystem("memory")
    system.rm("/archive", recursive=True) if system.exists("/archive") else None
    for name in ("b/2.png", "a/1.png", "a/notes.txt", "a/.hidden.png"):
        system.pipe(f"/archive/{name}", png(0))
    return "memory://archive"


def test_films_of_a_store_a_folder_and_a_table_each_once(store: str, tmp_path: Path):
    (tmp_path / "film.png").write_bytes(png(1))
    listed = tmp_path / "films.parquet"
    pl.DataFrame({"path": ["memory:///archive/a/1.png", "/elsewhere/x.dcm"]}).write_parquet(listed)
    found, failures = films.find([store, str(tmp_path), str(listed), "/nowhere"], str(tmp_path / "out"))
    assert found == [
        "memory:///archive/a/1.png", "memory:///archive/b/2.png", str(tmp_path / "film.png"), "/elsewhere/x.dcm"
    ]  # fmt: skip
    assert [each["file"] for each in failures] == ["/nowhere"]


def test_a_store_without_films_is_refused(store: str):
    with pytest.raises(HilumError, match="no films here"):
        films.find(["memory://nothing"], "out")


def test_a_film_of_a_store_is_the_film(store: str, tmp_path: Path):
    with films.fetched("memory:///archive/a/1.png", 2**20) as path:
        assert path.name == "1.png"
        assert path.read_bytes() == png(0)
    assert not path.exists()
    with pytest.raises(ReadError, match="cannot be fetched"), films.fetched("memory:///archive/none.png", 9):
        raise AssertionError("there is no such film")


def test_shards_hold_every_film_once_under_names_that_follow_from_them():
    names = [f"{i}.dcm" for i in range(7)]
    parts = films.shards(names, 3)
    assert [film for part in parts for film in part.films] == names
    assert [len(part.films) for part in parts] == [3, 3, 1]
    assert parts == films.shards(names, 3)
    assert len({part.name for part in parts}) == 3


@pytest.mark.parametrize(("count", "size"), [(3, 16), (112_120, 57), (10**6, 500), (10**9, 4_096)])
def test_a_shard_is_small_enough_to_lose_and_large_enough_to_keep(count: int, size: int):
    assert size_of(count) == size


@pytest.mark.parametrize("place", ["folder", "store"])
def test_a_shard_is_whole_and_read_back(place: str, tmp_path: Path):
    bundle = save(classifier_bundle(), tmp_path / "toy")
    film = tmp_path / "film.png"
    film.write_bytes(png(2))
    report = Analyzer([bundle], samples=4, with_heatmaps=False).analyze(film)
    out = str(tmp_path / "out") if place == "folder" else f"memory://{tmp_path.name}"
    (shard,) = films.shards([str(film), "bad.dcm"], 8)
    for _ in range(2):  # a second writer changes nothing
        rows.write_shard(
            out, shard, [rows.row_of(str(film), report), rows.failed_row("bad.dcm", "torn", None)]
        )
    assert rows.done(out) == set(shard.films)
    table = rows.read(rows.written(out))
    assert table.schema == pl.Schema(rows.SCHEMA)
    assert table["fault"].to_list() == [None, "torn"]
    found = {f["name"]: f["probability"] for f in table["findings"][0]}
    assert found == {f.name: f.probability for f in report.findings}
    assert table["bundles"][0][0]["digest"] == report.bundles[0].digest
    if place == "folder":
        assert [path.name for path in Path(out).iterdir()] == [f"{shard.name}.parquet"]


def test_another_programs_table_is_no_shard(tmp_path: Path):
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(HilumError, match="no shard of results"):
        rows.done(str(tmp_path))


def test_to_go_on_otherwise_is_refused(tmp_path: Path):
    out = str(tmp_path)
    _hold_to(out, Wish(("findings",), samples=5))
    _hold_to(out, Wish(("findings",), samples=5, timeout=9, threads=2))
    with pytest.raises(HilumError, match="analysed otherwise"):
        _hold_to(out, Wish(("findings",), samples=6))
