"""The audit finds the shortcut that was planted, and none where there is none."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hilum.audit import audit
from hilum.audit.films import attributes, chosen, drawn
from hilum.audit.twins import twins
from hilum.bundles import save
from hilum.bundles.bundle import patient_hash
from hilum.cli import app
from hilum.datasets.manifest import Manifest
from hilum.errors import BundleError, ManifestError, SplitError
from tests.audit.shortcuts import Corner, Lungs, films, reader
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle, unet_bundle


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return films(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    return films(tmp_path_factory.mktemp("marked"), marked=True)


def run(bundle, manifest, out, **options):
    options = {"human_masks": True, "duplicates": False, **options}
    return audit(bundle, manifest, out, lungs=dark_lungs_bundle(), **options)


def levels(content):
    return {s["code"]: s["level"] for s in content["verdict"]}


@pytest.fixture(scope="module")
def planted(marked, tmp_path_factory):
    out = tmp_path_factory.mktemp("planted")
    return run(reader(Corner), marked, out), out


def test_a_planted_marker_is_a_trap(planted):
    content, _ = planted
    found = levels(content)
    assert found["lungs_covered"] == found["border_covered"] == found["letters"] == "trap"
    assert found["heat"] == "watch"
    assert content["letters"]["labels"]["Mass"]["positives"]["value"] == 1
    assert content["letters"]["labels"]["Mass"]["negatives"]["value"] == 0
    assert "Letters on the film betray the label" in content["headline"]


def test_a_model_that_reads_lungs_passes(clean, tmp_path):
    content = run(reader(Lungs), clean, tmp_path)
    assert set(levels(content).values()) == {"ok", "not measurable"}
    at = {(c["cover"], c["quantity"]): c["value"]["value"] for c in content["covers"]}
    assert at["none", "macro AUC"] > 0.95
    assert at["outside_lungs", "macro AUC"] > 0.9
    assert at["lung_box", "macro AUC"] < 0.65
    assert content["not_measurable"] == {"source": "all films that say are 'phantoms': nothing to compare"}
    assert content["heat"]["Mass"]["inside"]["value"] > content["heat"]["Mass"]["even"]


def test_exclusive_classes_have_an_accuracy(marked, tmp_path):
    content = run(reader(Corner, group="kind"), marked, tmp_path)
    quantities = {c["quantity"] for c in content["covers"]}
    assert quantities == {"accuracy", "macro AUC", "Well", "Ill"}
    assert levels(content)["lungs_covered"] == "trap"


def test_a_source_that_is_the_label_is_a_trap(tmp_path):
    """COVID from one hospital, controls from another: the source shows in every pixel, and tells all."""
    ill = [seed % 2 for seed in range(48)]
    two = films(tmp_path / "two", marked=True, source=["A" if i else "B" for i in ill])
    content = run(reader(Corner), two, tmp_path / "out")
    (source,) = (s for s in content["verdict"] if s["code"] == "source")
    assert source["level"] == "trap"
    assert source["figures"]["probe"]["value"] > 0.9
    assert source["figures"]["told"]["value"] == 1
    assert content["attributes"]["source"]["positives"]["A"]["Mass"] == (24, 24)


def test_the_report_is_whole_says_what_it_is_and_where_nothing_lies(planted, tmp_path_factory):
    content, out = planted
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "audit.json",
        "audit.md",
        "audit.html",
        "covers.png",
        "subgroups.png",
        "heat.png",
        "letters.png",
    }
    assert json.loads((out / "audit.json").read_text()) == json.loads(json.dumps(content))
    for name in ("audit.json", "audit.md", "audit.html"):
        text = (out / name).read_text()
        assert str(tmp_path_factory.getbasetemp()) not in text
        assert "Research use only. Not a medical device." in text
        assert content["bundle"]["digest"][:16] in text
        assert content["manifest"][:16] in text
        assert ">nan" not in text
        assert " nan" not in text
    page = (out / "audit.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "http://" not in page
    assert "https://" not in page


def test_one_patient_or_nothing_known_is_said(clean, tmp_path):
    one = Manifest(clean.table.head(12).with_columns(pl.lit("only").alias("patient")), root=clean.root)
    content = run(reader(Lungs), one, tmp_path / "one")
    assert content["patients"] == 1
    assert levels(content)["lungs_covered"] == "not measurable"
    assert {levels(content)[code] for code in ("view", "age", "letters", "heat")} == {"not measurable"}
    bare = clean.table.with_columns(pl.lit(None, pl.String).alias(c) for c in ("view", "sex", "source"))
    bare = Manifest(bare.with_columns(pl.lit(None, pl.Float64).alias("age")), root=clean.root)
    content = run(reader(Lungs), bare, tmp_path / "bare")
    found = levels(content)
    assert {found[code] for code in ("view", "sex", "source", "age", "subgroups")} == {"not measurable"}
    assert content["not_measurable"]["view"] == "no film says"
    assert found["lungs_covered"] == "ok"


def test_a_handful_of_patients_has_no_verdict(clean, tmp_path):
    """Nine patients: an interval over so few holds nearly everything, and 'ok' would say that something was looked at."""
    few = clean.filter(
        pl.col("patient").is_in(clean.table["patient"].unique(maintain_order=True)[:9].to_list())
    )
    content = run(reader(Lungs), few, tmp_path)
    said = {s["code"]: s for s in content["verdict"]}
    for code in ("lungs_covered", "lungs_alone", "border_covered", "letters"):
        assert said[code]["level"] == "not measurable"
        assert "9 patients, 10 are needed" in said[code]["words"]


def test_no_positive_film_is_said(clean, tmp_path):
    healthy = clean.filter(pl.col("label:Mass") == 0)
    content = run(reader(Lungs), healthy, tmp_path)
    found = levels(content)
    assert found["lungs_covered"] == found["heat"] == found["letters"] == "not measurable"
    assert content["heat"]["Mass"]["inside"]["note"] == "no film is positive"


def test_what_cannot_be_audited_is_refused(clean, tmp_path):
    with pytest.raises(BundleError, match="no findings to ask"):
        audit(dark_lungs_bundle("other"), clean, tmp_path, lungs=dark_lungs_bundle())
    with pytest.raises(BundleError, match="does not outline"):
        audit(reader(Lungs), clean, tmp_path, lungs=reader(Corner))
    unlabelled = Manifest(clean.table.drop("label:Mass"), root=clean.root)
    with pytest.raises(ManifestError, match="none of these films has a label"):
        run(reader(Lungs), unlabelled, tmp_path)
    with pytest.raises(ManifestError, match="no film is left"):
        run(reader(Lungs), clean, tmp_path, split="train")
    known = reader(Lungs)
    known.patients = np.array([patient_hash("p3")])
    with pytest.raises(SplitError, match="trained or"):
        run(known, clean, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_draw_is_of_patients_and_keeps_them_when_more_films_come(clean):
    first = drawn(clean, 20, 0)
    assert len(first) == 20
    assert len(set(first.table["patient"])) == 10
    fewer = clean.filter(pl.col("patient") != "p4")
    assert set(drawn(fewer, 20, 0).table["patient"]) >= set(first.table["patient"]) - {"p4"}
    assert set(drawn(clean, 20, 1).table["patient"]) != set(first.table["patient"])
    assert drawn(clean, 100, 0) is clean
    assert chosen(reader(Lungs), clean, "test", "sex = 'F'", 6).choice.startswith(
        "part: test; where: sex = 'F'; at most 6"
    )


def test_attributes_that_say_nothing_say_why(clean):
    usable, why = attributes(clean)
    assert set(usable) == {"view", "sex", "age"}
    assert set(why) == {"source"}
    assert usable["age"][0] == "18-39"


def test_twins_across_parts_and_beside_training_are_found(tmp_path):
    """One film stands again as another patient's in training. Textures: phantoms are too much alike to be told apart."""
    import cv2

    rng = np.random.default_rng(0)
    mine = films(tmp_path, patients=6)
    for path in mine.paths():
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (40, 35), np.uint8), (140, 160)))
    picture = cv2.imread(str(mine.paths()[0]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(mine.paths()[4]), picture)
    parts = {i: "train" if n >= 4 else "test" for n, i in enumerate(mine.image_ids)}
    mine = mine.with_split(parts)
    bundle = reader(Corner)
    bundle.patients = np.array([patient_hash("p2")])
    test = mine.filter(split="test")
    found = twins(bundle, mine, test, rng.normal(size=(4, 2)).astype(np.float32))
    assert (found.films, found.examined) == (12, 1)
    assert (found.across_split, found.across_patients, found.with_training) == (1, 1, 1)
    assert found.named[0]["crosses"] == ["patient", "split", "training"]


def test_the_embedding_finds_a_mirrored_film(tmp_path):
    import cv2

    rng = np.random.default_rng(1)
    mine = films(tmp_path, patients=4)
    for path in mine.paths():
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (40, 35), np.uint8), (140, 160)))
    picture = cv2.imread(str(mine.paths()[0]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(mine.paths()[5]), picture[:, ::-1])
    embedding = rng.normal(size=(8, 50)).astype(np.float32)
    embedding[5] = embedding[0] * 1.01
    found = twins(reader(Corner), mine, mine, embedding)
    assert found.groups == 0
    assert (found.alike, found.confirmed) == (1, 1)
    assert found.new[0] == {"films": ["f000", "f005"], "crosses": ["labels", "patient"]}


def test_the_command(clean, tmp_path):
    save(classifier_bundle("toy"), tmp_path / "toy")
    save(unet_bundle("outlines"), tmp_path / "outlines")
    labels = clean.table.rename({"label:Mass": "label:Effusion"})
    Manifest(labels, root=clean.root).save(tmp_path / "films.parquet")
    given = [str(tmp_path / "toy"), str(tmp_path / "films.parquet"), "--out", str(tmp_path / "out")]
    given += ["--lungs", str(tmp_path / "outlines"), "--human-masks", "--limit", "12", "--no-duplicates"]
    said = CliRunner().invoke(app, ["audit", *given])
    assert said.exit_code == 0, said.output
    assert "Not measurable" in " ".join(said.output.split())
    told = json.loads(CliRunner().invoke(app, ["audit", *given, "--json"]).output)
    assert told == json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (told["films"], told["bundle"]["name"]) == (12, "toy")
    missing = CliRunner().invoke(app, ["audit", str(tmp_path / "none"), *given[1:]])
    assert isinstance(missing.exception, BundleError)
    (tmp_path / "torn.png").write_bytes(clean.paths()[0].read_bytes()[:300])
    torn = labels.with_columns(
        path=pl.when(pl.col("image_id") == "f000").then(pl.lit(str(tmp_path / "torn.png"))).otherwise("path")
    )
    Manifest(torn, root=clean.root).save(tmp_path / "films.parquet")
    said = CliRunner().invoke(
        app, ["audit", *given[:6], "--human-masks", "--no-duplicates", "--where", "image_id < 'f006'"]
    )
    assert said.exit_code == 1
    assert "left out: f000: " in said.output
    assert "films left out: 1" in said.output
