"""Films found, parted into shards and fetched by address; results as whole files; what is done is not done again."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import cv2
import fsspec
import numpy as np
import polars as pl
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from hilum.analysis.analyzer import Analyzer
from hilum.bundles import save
from hilum.cluster import films, rows
from hilum.cluster.analysis import Wish, _hold_to, gpu_share, size_of
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


class Watched(MemoryFileSystem):
    """A store that says what it is asked for, and does not answer for some films until it is allowed to."""

    protocol = "watched"
    asked: ClassVar = Counter[str]()
    slow: ClassVar[dict[str, threading.Event]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("watched://")))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:  # type: ignore[override]
        name = PurePosixPath(path).name
        Watched.asked[name] += 1
        if name in Watched.slow:
            Watched.slow[name].wait()
        return super()._open(path, mode, **options)


@pytest.fixture
def watched(store: str) -> list[str]:
    """Addresses of five films in such a store."""
    fsspec.register_implementation("watched", Watched, clobber=True)
    Watched.asked.clear()
    Watched.slow.clear()
    for number in range(5):
        fsspec.filesystem("memory").pipe(f"/archive/film-{number}.png", bytes([number]))
    return [f"watched:///archive/film-{number}.png" for number in range(5)]


def test_films_are_fetched_ahead_and_no_further(watched: list[str]):
    held: list[Path] = []
    with closing(films.fetched_ahead(watched, 2**20, 60, ahead=2)) as fetched:
        for number, (film, path) in enumerate(fetched):
            assert isinstance(path, Path)
            assert (film, path.read_bytes()) == (watched[number], bytes([number]))
            assert not any(before.exists() for before in held)
            held.append(path)
            asked_for = min(number + 3, 5)
            assert until(lambda: len(Watched.asked) == asked_for)  # noqa: B023  # called at once
    assert not held[-1].exists()
    assert set(Watched.asked.values()) == {1}


def test_a_caller_that_stops_leaves_no_copy(
    watched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(films.fetched_ahead(watched, 2**20, 60)) as fetched:
        next(fetched)
        assert until(lambda: len(Watched.asked) == 3)
    assert until(lambda: not list(tmp_path.iterdir()))


def test_a_film_that_a_store_does_not_give_costs_itself(watched: list[str]):
    Watched.slow["film-1.png"] = threading.Event()
    watched[3] = "watched:///archive/none.png"
    found = [str(path) for _, path in films.fetched_ahead(watched, 2**20, 3)]
    Watched.slow["film-1.png"].set()
    assert [Path(path).name for path in found if "fetched" not in path] == [
        "film-0.png", "film-2.png", "film-4.png"
    ]  # fmt: skip
    assert "it was not fetched within 3 seconds" in found[1]
    assert "it cannot be fetched (FileNotFoundError" in found[3]


def until(so: Callable[[], bool]) -> bool:
    """Whether it becomes so within a minute."""
    latest = time.monotonic() + 60
    while not so() and time.monotonic() < latest:
        time.sleep(0.01)
    return so()


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


@given(st.integers(1, 64), st.integers(1, 500))
def test_all_actors_find_room_on_the_gpus(gpus: int, actors: int):
    share = gpu_share(gpus, actors)
    assert 0 < share <= 1
    assert gpus * int(1 / share) >= actors


def test_a_cluster_without_a_gpu_is_refused():
    with pytest.raises(HilumError, match="no GPU"):
        gpu_share(0, 4)


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
