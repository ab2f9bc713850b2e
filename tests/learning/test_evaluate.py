"""The one door to test data: whom it refuses, what it leaves out and says so, and that its numbers are right."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure
from polars.exceptions import ComputeError
from sklearn.metrics import roc_auc_score

from hilum.bundles import Bundle, load, save, verify
from hilum.bundles.bundle import patient_hash
from hilum.bundles.info import Cut, Label, Scaling
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError, ManifestError, ReadError, SplitError
from hilum.evaluation import reliability
from hilum.images.read import read
from hilum.learning.evaluate import evaluate
from hilum.learning.writing import WriteError
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle, unet_bundle


@pytest.fixture
def tested(manifest: Manifest) -> Manifest:
    return manifest.filter(split="test")


@pytest.fixture
def bundle() -> Bundle:
    """Random weights for Mass and Effusion; it knows the patients of the training part."""
    toy = classifier_bundle("toy")
    labels = tuple(
        Label(name=n, threshold=t.threshold)
        for n, t in zip(("Effusion", "Mass", "Nodule"), toy.info.labels, strict=True)
    )
    toy.info = toy.info.model_copy(update={"labels": labels})
    toy.patients = np.array([patient_hash(f"films:p{i}") for i in range(18)], np.uint32)
    return toy


def known_patients(manifest: Manifest, bundle: Bundle) -> None:
    """The bundle knows the training patients of this manifest by their names in it."""
    patients = set(manifest.filter(split="train").table["patient"])
    bundle.patients = np.array([patient_hash(p) for p in patients], np.uint32)


def test_patients_seen_in_training_are_refused(
    bundle: Bundle, manifest: Manifest, tested: Manifest, tmp_path: Path
):
    known_patients(manifest, bundle)
    with pytest.raises(SplitError, match=r"^36 of these 48 films"):
        evaluate(bundle, manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SplitError, match="2 of these 2 films"):
        evaluate(bundle, manifest, tmp_path / "out", where_sql="image_id IN ('train-00', 'train-01')")
    assert "12 films" in evaluate(bundle, manifest, tmp_path / "out", split="test")["note"]


def test_chance_matches_of_hashes_are_left_out_not_refused(
    bundle: Bundle,
    tested: Manifest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """Among very many patients a 32-bit hash is shared with a stranger now and then."""
    first = tested.table["patient"][0]
    bundle.patients = np.broadcast_to(
        np.uint32(0), 20_000_000
    )  # so many that a match in six patients is chance
    monkeypatch.setattr(Bundle, "trained_on", lambda self, patients: [p for p in patients if p == first])
    note = evaluate(bundle, tested, tmp_path / "out")["note"]
    assert "10 films of 5 patients" in note
    assert "left out" in caplog.text


def test_only_labels_that_are_known_are_measured(bundle: Bundle, tested: Manifest, tmp_path: Path):
    """The manifest says nothing of Nodule, and Effusion of two thirds of the films."""
    result = evaluate(bundle, tested, tmp_path / "out", name="phantoms")
    rows = {row["output"]: row for row in result["tables"]["per output"]}
    assert {name: row["n"] for name, row in rows.items()} == {"Effusion": 8, "Mass": 12, "Nodule": 0}
    assert rows["Nodule"]["AUC"]["value"] is None
    predictions = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    for name in ("Effusion", "Mass"):
        known = predictions.filter(pl.col(f"truth:{name}").is_not_nan())
        expected = roc_auc_score(known[f"truth:{name}"], known[f"probability:{name}"])
        assert rows[name]["AUC"]["value"] == pytest.approx(expected)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["manifest"] == tested.digest
    assert written["name"] == "phantoms"


def test_predictions_are_what_the_bundle_says(bundle: Bundle, tested: Manifest, tmp_path: Path):
    evaluate(bundle, tested, tmp_path / "out")
    predictions = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    with torch.inference_mode():
        for row in (0, 7):
            expected = bundle.probabilities(bundle(bundle.prepare(read(tested.paths()[row]))))[0].numpy()
            found = [predictions[f"probability:{name}"][row] for name in bundle.labels]
            np.testing.assert_allclose(found, expected, atol=1e-5)


def broken(films: Path, tested: Manifest, folder: Path) -> Manifest:
    """The test films, the third of them cut short and the fifth gone."""
    table = tested.table.with_columns(pl.Series("path", [str(p) for p in tested.paths()]))
    paths = table["path"].to_list()
    masks = [str(films / m) for m in table["mask"]]
    (folder / "cut.png").write_bytes(Path(paths[2]).read_bytes()[:200])
    paths[2], paths[4] = str(folder / "cut.png"), str(folder / "gone.png")
    return Manifest(table.with_columns(pl.Series("path", paths), pl.Series("mask", masks)))


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_films_that_cannot_be_read_are_named_and_the_others_measured(
    task: str, bundle: Bundle, films: Path, tested: Manifest, tmp_path: Path
):
    chosen = bundle if task == "classify" else dark_lungs_bundle()
    result = evaluate(chosen, broken(films, tested, tmp_path), tmp_path / "out")
    assert result["note"].startswith("10 films of 6 patients")
    assert "2 films could not be read" in result["note"]
    assert len(result["unreadable"]) == 2
    assert [fault.split(":")[0] for fault in result["unreadable"]] == ["test-38", "test-40"]


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_nothing_to_measure_is_an_error(task: str, bundle: Bundle, tested: Manifest, tmp_path: Path):
    chosen = bundle if task == "classify" else dark_lungs_bundle()
    gone = Manifest(tested.table.with_columns(path=pl.lit("none/") + pl.col("path")))
    with pytest.raises(ReadError, match="none of the 12 films"):
        evaluate(chosen, gone, tmp_path / "out")
    unlabelled = Manifest(tested.table.drop("mask", "label:Mass", "label:Effusion"), root=tested.root)
    with pytest.raises(ManifestError, match=r"label|mask"):
        evaluate(chosen, unlabelled, tmp_path / "out")
    with pytest.raises(ManifestError, match="no film is left"):
        evaluate(chosen, tested, tmp_path / "out", split="validation")


@pytest.mark.parametrize("fault", ["gone", "empty", "size"])
def test_a_mask_that_cannot_be_read_is_an_error(fault: str, tested: Manifest, films: Path, tmp_path: Path):
    mask = tmp_path / "mask.png"
    if fault == "empty":
        mask.touch()
    elif fault == "size":
        cv2.imwrite(str(mask), np.zeros((5, 5), np.uint8))
    table = tested.table.with_columns(mask=pl.lit(str(mask)))
    with pytest.raises(HilumError) as caught:
        evaluate(dark_lungs_bundle(), Manifest(table, root=tested.root), tmp_path / "out")
    assert caught.value.path == mask


def test_segmentation_is_measured_on_the_films_own_grid(films: Path, tested: Manifest, tmp_path: Path):
    chosen = dark_lungs_bundle()
    result = evaluate(chosen, tested, tmp_path / "out")
    by_patient: dict[str, list[float]] = {}
    for path, mask, patient in zip(
        tested.paths(), tested.table["mask"], tested.table["patient"], strict=True
    ):
        film = read(path)
        truth = cv2.imread(str(films / mask), cv2.IMREAD_GRAYSCALE) > 0
        with torch.inference_mode():
            small = chosen(chosen.prepare(film)).sigmoid()[0, 0].numpy()
        # Squashed: a bilinear resize back to the film's size, by OpenCV on its own.
        found = cv2.resize(small, (truth.shape[1], truth.shape[0]), interpolation=cv2.INTER_LINEAR) > 0.5
        overlap = sum(int(a and b) for a, b in zip(truth.ravel(), found.ravel(), strict=True))
        by_patient.setdefault(patient, []).append(2 * overlap / (truth.sum() + found.sum()))
    expected = np.mean([np.mean(values) for values in by_patient.values()])
    assert expected > 0.8
    assert result["facts"]["dice"]["value"] == pytest.approx(expected, abs=2e-3)
    assert pl.read_csv(tmp_path / "out" / "films.csv").height == 12


def test_ignored_pixels_take_no_part(films: Path, tested: Manifest, tmp_path: Path):
    """Masks that say nothing of the film's lower half: the same as scores of the upper half alone."""
    for name in tested.table["mask"]:
        mask = cv2.imread(str(films / name), cv2.IMREAD_GRAYSCALE)
        mask[80:] = 127
        (tmp_path / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), mask)
    table = tested.table.with_columns(
        path=pl.lit(f"{films}/") + pl.col("path"), mask=pl.lit(f"{tmp_path}/") + pl.col("mask"),
        mask_value=pl.lit(255), mask_ignore=pl.lit(127),
    )  # fmt: skip
    chosen = dark_lungs_bundle()
    evaluate(chosen, Manifest(table), tmp_path / "out")
    found = pl.read_csv(tmp_path / "out" / "films.csv")["dice"][0]
    film, name = read(tested.paths()[0]), tested.table["mask"][0]
    truth = cv2.imread(str(films / name), cv2.IMREAD_GRAYSCALE)[:80] > 0
    with torch.inference_mode():
        small = chosen(chosen.prepare(film)).sigmoid()[0, 0].numpy()
    inside = cv2.resize(small, (film.width, film.height), interpolation=cv2.INTER_LINEAR)[:80] > 0.5
    assert found == pytest.approx(2 * (truth & inside).sum() / (truth.sum() + inside.sum()), abs=3e-3)


def test_masks_without_an_outline_are_said(films: Path, tested: Manifest, tmp_path: Path):
    """An empty mask makes a Dice of 0 that no model could mend: it must not pass for the model's."""
    masks = [str(films / m) for m in tested.table["mask"]]
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros_like(cv2.imread(masks[1], cv2.IMREAD_GRAYSCALE)))
    masks[1] = str(tmp_path / "empty.png")
    table = tested.table.with_columns(pl.Series("mask", masks))
    result = evaluate(dark_lungs_bundle(), Manifest(table, root=tested.root), tmp_path / "out")
    assert (
        f"the mask is empty (Dice is 0 where anything was found): 1 films, the first is {tested.image_ids[1]}"
        in result["note"]
    )
    assert "the mask is empty" in (tmp_path / "out" / "evaluation.md").read_text()
    assert "No distance" not in evaluate(dark_lungs_bundle(), tested, tmp_path / "out")["note"]


def test_classes_that_exclude_each_other(tested: Manifest, tmp_path: Path):
    chosen = classifier_bundle("toy", group="toy")
    labels = tuple(Label(name=n) for n in ("well", "ill", "other"))
    scaling = Scaling(kind="temperature", slope=(0.7,), intercept=(0.0,))
    chosen.info = chosen.info.model_copy(update={"labels": labels, "calibration": scaling})
    result = evaluate(chosen, tested, tmp_path / "out")
    predictions = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    shares = predictions.select(f"probability:{n}" for n in ("well", "ill", "other")).to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    truth = tested.table["class"].to_numpy() == "ill"
    rows = {row["output"]: row for row in result["tables"]["per output"]}
    assert rows["ill"]["AUC"]["value"] == pytest.approx(roc_auc_score(truth, shares[:, 1]))
    assert (tmp_path / "out" / "confusion.png").is_file()


def test_recording_writes_the_result_into_the_bundle(bundle: Bundle, tested: Manifest, tmp_path: Path):
    place = save(bundle, tmp_path / "toy.hilum")
    before = load(place).state_dict()
    evaluate(place, tested, tmp_path / "out", name="phantoms", record=True)
    info = verify(place)
    assert "phantoms" in info.metrics
    assert "12 films of 6 patients" in info.metrics["phantoms"]["note"]
    after = load(place)
    assert all(torch.equal(before[k], v) for k, v in after.state_dict().items())
    assert "phantoms" in (tmp_path / "out" / "evaluation.md").read_text()
    assert set(after.patients.tolist()) == set(bundle.patients.tolist())


def test_a_bundle_in_memory_cannot_be_recorded_in(bundle: Bundle, tested: Manifest, tmp_path: Path):
    with pytest.raises(ManifestError, match="in memory"):
        evaluate(bundle, tested, tmp_path / "out", record=True)


def test_a_unet_runs_through_the_door(tested: Manifest, tmp_path: Path):
    assert "12 films" in evaluate(unet_bundle(), tested, tmp_path / "out")["note"]


def test_a_bundle_that_records_faults_tells_no_path_of_this_machine(
    bundle: Bundle, films: Path, tested: Manifest, tmp_path: Path
):
    place = save(bundle, tmp_path / "toy")
    evaluate(place, broken(films, tested, tmp_path), tmp_path / "out", name="phantoms", record=True)
    assert len(verify(place).metrics["phantoms"]["unreadable"]) == 2
    for written in (place / "bundle.json", place / "card.md", tmp_path / "out" / "evaluation.json"):
        assert "test-40" in written.read_text()
        assert str(tmp_path) not in written.read_text()


@pytest.mark.parametrize(
    "name", ["predictions.parquet", "metrics.json", "reliability.png", "evaluation.md", "evaluation.json"]
)
def test_a_disk_that_fills_names_the_file_and_leaves_nothing_that_is_taken_for_whole(
    name: str, bundle: Bundle, tested: Manifest, tmp_path: Path
):
    """`evaluation.json` says that all is there: the one of an earlier evaluation is gone before the first is written."""
    out = tmp_path / "out"
    evaluate(bundle, tested, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    write, parquet, savefig = Path.write_text, pl.DataFrame.write_parquet, Figure.savefig

    def full(path: Any, fault: Exception) -> None:
        if name in str(path):
            Path(path).write_bytes(b"half")
            raise fault

    def text(path: Path, content: str, *given: Any, **options: Any) -> int:
        full(path, OSError(errno.ENOSPC, "No space left on device"))
        return write(path, content, *given, **options)

    def table(frame: pl.DataFrame, path: Path, **options: Any) -> None:
        full(path, ComputeError("parquet: underlying IO error: No space left on device (os error 28)"))
        parquet(frame, path, **options)

    def figure(drawn: Figure, path: Path, *given: Any, **options: Any) -> None:
        full(path, OSError(errno.ENOSPC, "No space left on device"))
        savefig(drawn, path, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", text)
        patch.setattr(pl.DataFrame, "write_parquet", table)
        patch.setattr(Figure, "savefig", figure)
        with pytest.raises(WriteError, match="No space left") as caught:
            evaluate(bundle, tested, out)
    assert caught.value.path == out / name
    left = {p.name: p.read_bytes() for p in out.iterdir()}
    assert set(left) == set(before) - {"evaluation.json"}
    if not name.endswith(".png"):
        assert left.get(name) == (None if name == "evaluation.json" else before[name])
    evaluate(bundle, tested, out)
    assert set(before) == {p.name for p in out.iterdir()}


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_each_film_of_unknown_patient_counts_as_one_patient(
    task: str, bundle: Bundle, tested: Manifest, tmp_path: Path
):
    chosen = bundle if task == "classify" else dark_lungs_bundle()
    first = pl.int_range(pl.len()) < 4  # two patients, two films each
    table = tested.table.with_columns(patient=pl.when(~first).then("patient"))
    unnamed = Manifest(table, root=tested.root)
    assert "12 films of 8 patients" in evaluate(chosen, unnamed, tmp_path / "out")["note"]
    chosen.patients = np.array([patient_hash(f"film:{tested.image_ids[1]}")], np.uint32)
    with pytest.raises(SplitError, match=f"1 of these 12 films .* film:{tested.image_ids[1]}"):
        evaluate(chosen, unnamed, tmp_path / "out")


def test_calibration_errors_before_and_after(bundle: Bundle, tested: Manifest, tmp_path: Path):
    result = evaluate(bundle, tested, tmp_path / "out")
    predictions = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    raw = 1 / (1 + np.exp(-predictions["logit:Mass"].to_numpy().astype(np.float64)))
    expected = reliability.expected_calibration_error(predictions["truth:Mass"].to_numpy(), raw)
    row = next(r for r in result["tables"]["per output"] if r["output"] == "Mass")
    assert row["ECE uncalibrated"]["value"] == pytest.approx(float(expected[0]), abs=1e-6)
    assert row["ECE uncalibrated"]["value"] != row["ECE"]["value"]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["labels"][1]["ece_uncalibrated"]["value"] == row["ECE uncalibrated"]["value"]
    assert "ECE uncalibrated" in (tmp_path / "out" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    "scaling", [None, Scaling(kind="none", slope=(1.0, 1.0, 1.0), intercept=(0.0, 0.0, 0.0))], ids=str
)
def test_no_calibration_no_error_before_it(
    scaling: Scaling | None, bundle: Bundle, tested: Manifest, tmp_path: Path
):
    bundle.info = bundle.info.model_copy(update={"calibration": scaling})
    result = evaluate(bundle, tested, tmp_path / "out")
    assert "ECE" in result["tables"]["per output"][0]
    assert "uncalibrated" not in (tmp_path / "out" / "metrics.json").read_text() + json.dumps(result)


def test_a_segmenters_subgroups(tested: Manifest, tmp_path: Path):
    """Means over the patients of each subgroup, as for all of them; a pair only where it has patients enough."""
    table = tested.table.with_columns(
        age=pl.when(pl.col("sex") == "F").then(pl.col("age")),
        collection=pl.Series(["north"] * 10 + ["south"] * 2),
    )
    result = evaluate(dark_lungs_bundle(), Manifest(table, root=tested.root), tmp_path / "out")
    rows = {(r["attribute"], r["value"]): r for r in result["tables"]["subgroups"]}
    singles = {key for key in rows if "&" not in key[0]}
    assert {attribute for attribute, _ in singles} == {"sex", "view", "age", "collection"}
    films = pl.read_csv(tmp_path / "out" / "films.csv").join(
        table.select("image_id", "sex", "view"), on="image_id"
    )
    for sex in ("F", "M"):
        mean = films.filter(sex=sex).group_by("patient").agg(pl.col("dice").mean())["dice"].mean()
        assert rows["sex", sex]["dice"]["value"] == pytest.approx(mean)
        assert rows["sex", sex]["films"] == films.filter(sex=sex).height
    assert rows["collection", "south"]["patients"] == 1
    assert rows["collection", "south"]["dice"]["low"] is None  # one patient says nothing of others
    assert all(r["patients"] >= 5 for key, r in rows.items() if "&" in key[0])
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())["subgroups"]
    assert len(kept) > len(rows)
    assert "distances in pixels of the film." in result["note"]


def test_a_segmenters_own_threshold_is_honoured(tested: Manifest, tmp_path: Path):
    """A greater threshold finds less; a label without one is cut at one half."""
    found = {}
    for cut in (None, 0.5, 0.97):
        chosen = dark_lungs_bundle()
        label = Label(name="Lung", threshold=None if cut is None else Cut(value=cut, rule="fixed"))
        chosen.info = chosen.info.model_copy(update={"labels": (label,)})
        facts = evaluate(chosen, tested, tmp_path / "out")["facts"]
        found[cut] = facts["sensitivity"]["value"], facts["specificity"]["value"]
    assert found[None] == found[0.5]
    assert found[0.97][0] < found[0.5][0]
    assert found[0.97][1] > found[0.5][1]
