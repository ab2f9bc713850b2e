"""On a Ray cluster films get the probabilities that one machine gives them, and a bad film costs itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hilum.analysis.folder import analyze_all
from hilum.bundles import save
from hilum.cluster import rows
from hilum.cluster.analysis import ShardWorker, Wish, analyze_on_ray
from hilum.errors import ReadError
from tests.bundles_for_tests import classifier_bundle
from tests.cluster.test_shards import png

FILMS = 5


@pytest.mark.slow
def test_the_same_probabilities_as_on_one_machine(cluster: str, tmp_path: Path):
    bundle = save(classifier_bundle(), tmp_path / "toy")
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(FILMS):
        (films / f"{seed}.png").write_bytes(png(seed))
    (films / "torn.png").write_bytes(png(0)[:300])
    wish, out = Wish((str(bundle),), samples=4), tmp_path / "rows"

    summary = analyze_on_ray(cluster, [films], out, wish, actors=1, shard=4)
    assert (summary.films, summary.failed, summary.shards, summary.exit_code) == (FILMS + 1, 1, 2, 1)

    analyze_all([films], tmp_path / "reports", ("json",), [bundle], samples=4)
    table = rows.read(rows.written(str(out)))
    assert sorted(table["source"]) == sorted(map(str, films.iterdir()))
    for row in table.iter_rows(named=True):
        if row["fault"] is not None:
            assert Path(row["source"]).name == "torn.png"
            continue
        report = json.loads((tmp_path / "reports" / f"{Path(row['source']).stem}.json").read_text())
        assert [f["probability"] for f in row["findings"]] == [f["probability"] for f in report["findings"]]
        assert [f["std"] for f in row["findings"]] == [f["std"] for f in report["findings"]]

    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (films / "late.png").write_bytes(png(9))
    again = analyze_on_ray(cluster, [films], out, wish, actors=1, shard=4)  # goes on with what is new
    assert (again.films, again.before) == (FILMS + 2, FILMS + 1)
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())


class Mortal(ShardWorker):
    """An actor that dies of one film, and analyses none."""

    def __init__(self, out: str, wish: Wish) -> None:
        self.out, self.wish = out, wish

    def _row(self, film: str, path: Path | ReadError) -> dict[str, Any]:
        if "deadly" in film:
            os._exit(1)
        return rows.failed_row(film, None, None)  # type: ignore[arg-type]  # as if it had been analysed


@pytest.mark.slow
def test_a_film_that_kills_its_actor_costs_itself(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its shard is halved until it is alone."""
    import ray

    from hilum.cluster import analysis

    films = tmp_path / "films"
    films.mkdir()
    for name in ("0", "1", "deadly", "3"):
        (films / f"{name}.png").write_bytes(png(len(name)))
    monkeypatch.setattr(analysis, "ShardWorker", Mortal)
    out = tmp_path / "rows"
    summary = analyze_on_ray(cluster, [films], out, Wish(), actors=1, shard=4)
    assert ray.is_initialized()  # a connection that was there is left
    table = rows.read(rows.written(str(out)))
    faults = {Path(source).stem: fault for source, fault in table.select("source", "fault").rows()}
    assert faults == {"0": None, "1": None, "3": None, "deadly": "what analysed it died 2 times"}
    assert (summary.films, summary.failed) == (4, 1)
