"""On a Ray cluster films get the probabilities that one machine gives them, and a bad film costs itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.analysis.folder import analyze_all
from hilum.bundles import save
from hilum.cluster import rows
from hilum.cluster.analysis import Wish, analyze_on_ray
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
