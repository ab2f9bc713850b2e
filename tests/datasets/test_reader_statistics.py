"""What readers did, on readings whose numbers are counted by hand; and the page that tells it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from hilum.boxes import iou
from hilum.cli import app
from hilum.datasets import reader_pages
from hilum.datasets.manifest import Manifest
from hilum.datasets.reader_ceiling import leave_one_out
from hilum.datasets.reader_statistics import EVERY, statistics
from hilum.datasets.readers import RULES, Readings, truth
from hilum.errors import EvaluationError

FINDINGS = ("Cardiomegaly", "Effusion")


def readings(films: int = 60, seed: int = 3) -> Manifest:
    """Three of four readers a film, who see two things by their own rates at about one place; a third are normal."""
    random = np.random.default_rng(seed)
    rows, boxes = [], []
    for film in range(films):
        who = sorted(random.choice(["R1", "R2", "R3", "R4"], 3, replace=False))
        rows.append((f"f{film}", f"f{film}.png", 100, 100, " ".join(who), 1, 0))
        for finding in FINDINGS if film % 3 else ():
            place = random.uniform(10, 40, 2)
            for reader in who:
                if random.random() < 0.7:
                    corner = place + random.normal(0, 3, 2)
                    size = random.uniform(15, 30, 2)
                    boxes.append((f"f{film}", finding, *corner, *(corner + size), reader))
    names = ("image_id", "path", "width", "height", "readers", *(f"label:{f}" for f in FINDINGS))
    columns = ("image_id", "finding", "x1", "y1", "x2", "y2", "reader")
    return Manifest(
        pl.DataFrame(rows, schema=list(names), orient="row"),
        pl.DataFrame(boxes, schema=list(columns), orient="row"),
    )


def by_hand(manifest: Manifest, rule: str) -> dict[str, tuple[int, int, int]]:
    """Finding to boxes of all readers, boxes of the others' truth, and hits, film by film and reader by reader."""
    counts = dict.fromkeys(FINDINGS, (0, 0, 0))
    for image_id, readers in manifest.table.select("image_id", "readers").iter_rows():
        for reader in readers.split():
            for finding in FINDINGS:
                own = manifest.boxes.filter(image_id=image_id, finding=finding)
                mine = own.filter(reader=reader).select("x1", "y1", "x2", "y2").to_numpy()
                theirs = own.filter(pl.col("reader") != reader).select("x1", "y1", "x2", "y2").to_numpy()
                if rule == "wbf" and len(theirs) == 2:
                    theirs = theirs.mean(0, keepdims=True) if iou(*theirs[:, None]) > 0.4 else theirs
                hit = int(len(mine) > 0 and len(theirs) > 0 and iou(mine, theirs).max() > 0.4)
                old = counts[finding]
                counts[finding] = (old[0] + len(mine), old[1] + len(theirs), old[2] + hit)
    return counts


@pytest.mark.parametrize("rule", ["all", "wbf"])
def test_one_reader_against_the_others_is_what_counting_gives(rule: str) -> None:
    manifest = readings()
    found = leave_one_out(Readings.of(manifest), rule, replicates=20)
    products = []
    for i, (drawn, true, hits) in enumerate(by_hand(manifest, rule).values()):
        assert found.precision[i] == pytest.approx(hits / drawn)
        assert found.recall[i] == pytest.approx(hits / true)
        products.append(hits**2 / drawn / true)
        assert found.findings[i].value == pytest.approx(products[-1], abs=0.12)
        assert found.findings[i].value >= products[-1]  # an order of equal scores only adds
    assert found.unordered.value == pytest.approx(np.mean(products))
    assert found.mean.value == pytest.approx(np.mean([e.value for e in found.findings]))
    assert found.unordered.low < found.unordered.value < found.unordered.high
    assert found.mean.method == "bootstrap by film"
    assert found.mean.n == 180


def test_readers_of_one_mind_reach_one_and_strangers_none() -> None:
    manifest = readings(12)
    one = manifest.boxes.filter(reader="R1").unique(["image_id", "finding"], maintain_order=True)
    who = manifest.table.select("image_id", reader=pl.col("readers").str.split(" ")).explode("reader")
    same = one.drop("reader").join(who, on="image_id")
    found = leave_one_out(Readings.of(Manifest(manifest.table, same)), "majority", replicates=10)
    assert (found.mean.value, found.with_nothing.value, found.unordered.value) == (1, 1, 1)
    found = leave_one_out(Readings.of(Manifest(manifest.table, one)), "all", replicates=10)
    assert found.mean.value == 0


def test_a_film_without_boxes_is_no_finding() -> None:
    manifest = readings(9).filter(pl.col("image_id").is_in(["f0", "f3", "f6"]))
    found = leave_one_out(Readings.of(manifest), "wbf", replicates=10)
    assert found.with_nothing.value == 1
    assert not found.mean.defined
    assert found.recall == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_one_reader_alone_is_scored_on_the_films_that_this_one_read() -> None:
    manifest = readings()
    films = int(manifest.table["readers"].str.contains("R2").sum())
    found = leave_one_out(Readings.of(manifest), "wbf", reader="R2", replicates=10)
    assert found.mean.n == films
    with pytest.raises(EvaluationError, match="no reader 'R9'"):
        leave_one_out(Readings.of(manifest), "wbf", reader="R9")
    lonely = Readings.of(manifest).only(np.array([True, False, False, False]))
    with pytest.raises(EvaluationError, match="no film has a second reader"):
        leave_one_out(lonely, "wbf")


def test_a_reader_is_not_held_to_this_readers_own_boxes() -> None:
    """The truth of the others must not contain what is scored."""
    whole = Readings.of(readings())
    for turn in whole.slots():
        others = truth(whole.only(~turn), "all")
        own = whole.only(turn)
        assert len(others.film) + len(own.film) == len(whole.film)


def test_counts_and_kappa_are_those_of_the_tables() -> None:
    manifest = readings(90)
    found = statistics(manifest, replicates=20)
    boxes = manifest.boxes
    read = boxes.select("image_id", "reader").unique().height
    assert found["counts"] == {
        "films": 90,
        "readers": 4,
        "readings": 270,
        "films_by_readers": {"3": 90},
        "boxes": boxes.height,
        "readings_without_a_box": 270 - read,
        "rows": boxes.height + 270 - read,
        "films_marked": boxes["image_id"].n_unique(),
        "films_disputed": int(
            (boxes.group_by("image_id").agg(pl.col("reader").n_unique())["reader"] < 3).sum()
        ),
    }
    heart = found["findings"]["Cardiomegaly"]
    assert heart["boxes"] == boxes.filter(finding="Cardiomegaly").height
    assert sum(heart["films_by_readers"]) == heart["films"]
    assert 0.02 < heart["area_share"]["0.5"] < 0.09
    pair = next(p for p in found["pairs"] if p["readers"] == ["R1", "R2"])
    shared = manifest.table.filter(pl.col("readers").str.contains("R1 R2"))["image_id"].to_list()
    assert pair["kappa"]["n"] == len(shared)
    marks = [
        [[boxes.filter(image_id=i, reader=r, finding=f).height > 0 for i in shared] for f in FINDINGS]
        for r in ("R1", "R2")
    ]
    single = [cohen_kappa_score(a, b) for a, b in zip(*marks, strict=True)]
    assert min(single) - 1e-9 <= pair["kappa"]["value"] <= max(single) + 1e-9
    agreement = found["agreement"]
    assert set(agreement) == {*FINDINGS, EVERY}
    assert agreement["Effusion"]["fleiss"]["value"] > agreement["Effusion"]["fleiss_marked"]["value"]
    assert [c["rule"] for c in found["ceiling"]] == list(RULES)
    json.dumps(found, allow_nan=False)


def test_the_command_writes_the_page_and_every_figure(tmp_path: Path) -> None:
    readings().save(tmp_path / "m.parquet")
    out = tmp_path / "out"
    given = ["data", "readers", str(tmp_path / "m.parquet"), "--out", str(out), "--replicates", "20"]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0, said.output
    assert "180 readings of 60 films" in said.output
    page = (out / "readers.md").read_text()
    for picture in reader_pages.PICTURES:
        assert f"]({picture})" in page
        assert (out / picture).stat().st_size > 4000
    found = json.loads((out / "readers.json").read_text())
    value = found["ceiling"][2]["mean"]["value"]
    assert f"| wbf | {value:.3f} (" in page
    for heading in ("Findings", "Agreement", "One reader against the others", "Who reads like whom"):
        assert f"## {heading}\n" in page
