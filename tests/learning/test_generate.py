"""A generator's run: it ends in a bundle, resumes to the same end, says when it has collapsed, is measured, makes films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.detect_films import detect_films
from hilum.analysis.detection import Detection
from hilum.analysis.examine import check
from hilum.bundles import Bundle, load
from hilum.bundles.bundle import as_written
from hilum.bundles.ensembling import ensemble
from hilum.bundles.export import export
from hilum.bundles.generating import asked, drawn, films_for
from hilum.datasets import registry, split
from hilum.datasets.manifest import Manifest, concat
from hilum.errors import BundleError, ManifestError, RecipeError
from hilum.images.read import read
from hilum.learning import checkpoints, generation
from hilum.learning.evaluate import evaluate
from hilum.learning.material import parted
from hilum.learning.recipe import Phase, Recipe
from hilum.learning.recipe_data import Data
from hilum.learning.run import train
from hilum.learning.synthesise import synthesise
from hilum.learning.tasks import generate
from hilum.learning.tasks.generate import CollapseError, Generate
from hilum.models import build
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle
from tests.learning.conftest import content, same, trained_weights

OPTIONS = {"size": 16, "width": 8, "latent": 16}
PHASE = {
    "name": "only",
    "epochs": 3,
    "batch": 8,
    "rate": 2e-3,
    "encoder_rate": 1e-3,
    "betas": [0.5, 0.999],
    "schedule": "constant",
    "optimiser": "adam",
    "weight_decay": 0.0,
    "average": 0.5,
}


def wish(films: Path, phase: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    own = {
        "name": "toy-gan",
        "task": "generate",
        "preparation": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]},
        "model": {"name": "gan", "options": OPTIONS},
        "loss": {"kind": "gan", "critic_steps": 2},
        "augmentation": {},
        "phases": [PHASE | (phase or {})],
    }
    return Recipe.model_validate(content(films, "multilabel") | own | changes)


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hilum.datasets import pixel_store

    place = tmp_path_factory.mktemp("gan") / "run"
    build_store = pixel_store.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pixel_store, "build", lambda *a, **k: build_store(*a, **{**k, "workers": 0, "progress": False})
        )
        torch.set_num_threads(1)
        train(wish(films), place)
    return place


@pytest.fixture
def bundle(run: Path) -> Bundle:
    return load(run / "bundle")


def test_a_run_ends_in_a_bundle_that_says_what_it_makes_and_warns(run: Path, bundle: Bundle):
    info = bundle.info
    assert info.task == "generate"
    assert bundle.labels == ["Mass", "Effusion"]
    assert info.calibration is None
    assert all(label.threshold is None for label in info.labels)
    manifest = Manifest.load(run / "manifest.parquet").filter(split="train")
    assert sum(each.films for each in info.conditions) <= len(manifest)
    _, labels = manifest.labels()
    both = int((labels > 0.5).all(1).sum())
    kept = {each.findings: each.films for each in info.conditions}
    assert kept.get(("Mass", "Effusion"), both) == both
    card = (run / "bundle" / "card.md").read_text()
    assert "may resemble films of the patients" in card
    assert "was not measured yet" in card
    assert "never for validation or test" in card
    grids = sorted(path.name for path in (run / "phases" / "0-only" / "samples").iterdir())
    assert grids == ["epoch-0001.png", "epoch-0002.png", "epoch-0003.png"]
    grid = read(run / "phases" / "0-only" / "samples" / grids[0])
    assert (grid.height, grid.width) == (2 + 4 * 18, 2 + 8 * 18)


def test_what_is_kept_is_what_is_loaded(run: Path, bundle: Bundle):
    """At 16 bit in the file; the discriminator's spectral norms too."""
    x = torch.randn(3, 1, 16, 16)
    again = as_written(bundle)
    found, wanted = again.discriminator(x), bundle.model.discriminator(x)  # type: ignore[union-attr]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))
    best = json.loads((run / "phases" / "0-only" / "finished.json").read_text())["best"]
    state = checkpoints.read(run / "phases" / "0-only" / best)["state_dict"]
    whole = build("gan", outputs=2, **OPTIONS).eval()
    prefix = "average.module."
    whole.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    noise, labels = torch.randn(4, 16), torch.eye(2).repeat(2, 1)
    assert torch.allclose(whole.generator(noise, labels), bundle.model.generator(noise, labels), atol=5e-3)  # type: ignore[operator]
    assert torch.allclose(whole.discriminator(x)[0], bundle.model.discriminator(x)[0], atol=5e-3)  # type: ignore[operator]
    # The generator is averaged; the discriminator is as it was trained.
    state = checkpoints.read(run / "phases" / "0-only" / "last.safetensors")["state_dict"]
    assert not torch.equal(
        state["average.module.generator.layers.0.weight"], state["model.generator.layers.0.weight"]
    )
    name = "discriminator.layers.0.parametrizations.weight.original"
    assert torch.equal(state[f"average.module.{name}"], state[f"model.{name}"])


def test_a_run_that_was_stopped_ends_where_it_would_have(
    run: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save, left = checkpoints.SafetensorsIO.save_checkpoint, [3]

    class Stopped(Exception):
        pass

    def stopping(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        save(self, checkpoint, path, storage_options)
        left[0] -= 1
        if not left[0]:
            raise Stopped

    monkeypatch.setattr(checkpoints.SafetensorsIO, "save_checkpoint", stopping)
    with pytest.raises(Stopped):
        train(wish(films), tmp_path / "run")
    monkeypatch.setattr(checkpoints.SafetensorsIO, "save_checkpoint", save)
    train(wish(films), tmp_path / "run")
    assert same(trained_weights(tmp_path / "run"), trained_weights(run))
    for name in ("epoch-0002.png", "epoch-0003.png"):
        place = Path("phases/0-only/samples") / name
        assert (tmp_path / "run" / place).read_bytes() == (run / place).read_bytes()


def test_the_generator_steps_at_every_nth_batch_across_epochs(films: Path, tmp_path: Path, monkeypatch):
    steps: list[str] = []
    step = Generate._step

    def noted(self: Any, optimiser: Any, schedule: Any, loss: Any, network: str) -> None:
        steps.append(network[0])
        step(self, optimiser, schedule, loss, network)

    monkeypatch.setattr(Generate, "_step", noted)
    train(wish(films, {"epochs": 2}, loss={"kind": "gan", "critic_steps": 4}), tmp_path / "run")
    batches = steps.count("d")
    assert batches == 6  # three an epoch
    assert "".join(steps) == "ddddgdd"


@pytest.mark.parametrize("how", ["sigmoid", "wgan_gp"])
def test_a_loss_that_is_no_number_stops_the_run_and_is_named(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
):
    monkeypatch.setattr("hilum.learning.recipe_losses.told_apart", lambda real, *_: real.sum() * float("nan"))
    with pytest.raises(
        CollapseError, match=r"discriminator's loss, penalty and all, is nan in epoch 1.*rate"
    ):
        train(wish(films, loss={"kind": "gan", "adversarial": how}), tmp_path / "run")
    assert not (tmp_path / "run" / "bundle").exists()


def test_an_infinite_penalty_stops_the_run(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "hilum.learning.recipe_losses.gradient_penalty", lambda _, real, *rest: real.sum() * 0 + float("inf")
    )
    with pytest.raises(CollapseError, match="is inf"):
        train(wish(films), tmp_path / "run")


def test_a_collapsed_generator_is_told_each_epoch_and_stops_the_run(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from hilum.models.gan import Generator

    def constant(self: Any, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.zeros(len(noise), self.latent + self.outputs, 1, 1))

    monkeypatch.setattr(Generator, "forward", constant)
    with pytest.raises(CollapseError, match="collapsed: for 5 epochs"):
        train(wish(films, {"epochs": 9}), tmp_path / "run")
    assert sum("whatever the noise" in record.message for record in caplog.records) == 5
    # Called again it goes on from its last whole epoch, and finds the same.
    with pytest.raises(CollapseError, match="collapsed"):
        train(wish(films, {"epochs": 9}), tmp_path / "run")


def test_a_generator_that_ends_collapsed_says_so_on_its_card(films: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("hilum.learning.concluding_generator.noise_changes", lambda *_: 0.0)
    place = train(wish(films, {"epochs": 1}), tmp_path / "run")
    assert load(place).info.limits[0].startswith("COLLAPSED")


@pytest.mark.parametrize(
    ("phase", "changes", "fault"),
    [
        ({"batch": 1}, {}, "batch norm over one film"),
        ({"train": "head"}, {}, "no head"),
        (
            {"size": 32},
            {"preparation": {"size": [64, 64], "channels": 1, "mean": [0.5], "std": [0.5]}},
            "size",
        ),
        ({}, {"loss": {"kind": "bce"}}, "does not go with loss 'bce'"),
        ({}, {"task": "multilabel"}, "does not go with loss 'gan'"),
    ],
)
def test_a_recipe_that_cannot_generate_is_refused(films: Path, phase: Any, changes: Any, fault: str):
    with pytest.raises(ValidationError, match=fault):
        wish(films, phase, **changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model": {"name": "gan", "options": OPTIONS | {"size": 32}}}, "makes films of"),
        ({"preparation": {"size": [16, 16], "channels": 1, "mean": [0.4], "std": [0.5]}}, r"in \[-1, 1\]"),
        ({"model": {"name": "timm", "options": {}}}, "not made for task 'generate'"),
        ({"model": {"name": "gan", "options": {"size": 20}}}, "no size of a GAN's films"),
        ({"model": {"name": "gan", "options": OPTIONS | {"classes": "other"}}}, "sigmoid or softmax"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(films: Path, tmp_path: Path, changes: Any, fault: str):
    with pytest.raises(RecipeError, match=fault):
        train(wish(films, **changes), tmp_path / "run")


def test_one_film_is_no_batch(run: Path, films: Path, tmp_path: Path):
    film = Manifest.load(run / "manifest.parquet").filter(split="train").image_ids[0]
    with pytest.raises(CollapseError, match="batch of one film"):
        train(wish(films, {"where": f"image_id = '{film}'"}), tmp_path / "run")


def test_softmax_findings_are_learnt_too(films: Path, tmp_path: Path):
    model = {"name": "gan", "options": OPTIONS | {"classes": "softmax"}}
    place = train(wish(films, {"epochs": 1}, model=model), tmp_path / "run")
    assert load(place).info.model.options["classes"] == "softmax"


def test_other_recipes_keep_their_digest_and_betas_are_part_of_one(films: Path):
    plain = Recipe.model_validate(content(films, "multilabel"))
    assert "betas" not in plain.model_dump_json(exclude={"phases": {"__all__": {"betas"}}})
    changed = plain.model_copy(
        update={"phases": (plain.phases[0].model_copy(update={"betas": (0.5, 0.999)}),)}
    )
    assert changed.digest != plain.digest
    assert Phase(name="p", epochs=1).betas == (0.9, 0.999)


# --- films ---


def test_films_are_those_of_bundle_findings_and_seed(bundle: Bundle):
    asked_for = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    films = films_for(bundle, asked_for, seed=1)
    assert films.shape == (3, 16, 16)
    assert films.min() >= 0
    assert films.max() <= 1
    assert np.array_equal(films, films_for(bundle, asked_for, seed=1))
    more = films_for(bundle, np.concatenate([asked_for, asked_for]), seed=1)
    assert np.allclose(more[:3], films, atol=1e-5)
    assert not np.array_equal(films, films_for(bundle, asked_for, seed=2))
    assert not np.array_equal(films, films_for(bundle, 1 - asked_for, seed=1))
    with pytest.raises(BundleError, match="0 or 1 for each of 2 labels"):
        films_for(bundle, np.ones((2, 3)))
    with pytest.raises(BundleError, match="does not make films"):
        films_for(classifier_bundle(), np.ones((2, 3)))


def test_findings_are_drawn_as_training_films_had_them(bundle: Bundle):
    found = drawn(bundle.info, 4_000, seed=3)
    total = sum(each.films for each in bundle.info.conditions)
    for condition in bundle.info.conditions:
        share = (found == asked(bundle.info, condition.findings)).all(1).mean()
        assert share == pytest.approx(condition.films / total, abs=0.03)
    with pytest.raises(BundleError, match=r"not learnt Nodule.*Mass, Effusion"):
        asked(bundle.info, ["Nodule"])


@pytest.mark.parametrize("bits", [8, 16])
def test_films_are_written_for_training_alone(run: Path, films: Path, tmp_path: Path, bits: Any):
    path = synthesise(run / "bundle", 12, tmp_path / "made", seed=5, bits=bits)
    made = registry.load("synthetic", tmp_path / "made")
    assert path == tmp_path / "made" / "manifest.parquet"
    assert made.digest == Manifest.load(path).digest
    assert set(made.table["source"]) == {"synthetic"}
    assert set(made.table["split"]) == {"train"}
    assert made.table["patient"].n_unique() == 12
    names, labels = made.labels()
    assert names == ("Mass", "Effusion")
    assert not np.isnan(labels).any()
    pictures = films_for(load(run / "bundle"), labels, seed=5)
    first = read(made.paths()[0]).pixels
    assert np.abs(first - pictures[0]).max() <= 0.51 / (255 if bits == 8 else 65535) + 1e-6
    assert "learnt from" in made.notes[0]


def test_a_finding_asked_for_is_every_films(run: Path, tmp_path: Path):
    made = Manifest.load(synthesise(run / "bundle", 3, tmp_path / "made", labels=["Mass"]))
    assert made.labels()[1].tolist() == [[1, 0]] * 3
    with pytest.raises(BundleError, match="not learnt Hernia"):
        synthesise(run / "bundle", 3, tmp_path / "made", labels=["Hernia"])
    with pytest.raises(BundleError, match="none"):
        synthesise(run / "bundle", 0, tmp_path / "made")


def test_synthetic_films_join_training_and_no_other_part(
    run: Path, films: Path, manifest: Manifest, tmp_path: Path
):
    synthesise(run / "bundle", 12, tmp_path / "made")
    made = registry.load("synthetic", tmp_path / "made")
    both = concat([manifest, made])
    for kind in ("official", "holdout", "kfold"):
        data = Data.model_validate(
            {"manifest": "m", "labels": ["Mass"], "split": {"kind": kind, "validation": 0.3, "folds": 3}}
        )
        parts = parted(data, both)
        assert {parts[image_id] for image_id in made.image_ids} == {"train"}
        assert {"train", "validation"} <= set(parts.values())
    with pytest.raises(ManifestError, match="puts a synthetic film where real ones are measured"):
        both.with_split(split.Split(dict.fromkeys(both.image_ids, "test")))
    with pytest.raises(ManifestError, match=r"12 of these \d+ films are synthetic"):
        evaluate(classifier_bundle(), concat([manifest.filter(split="test"), made]), tmp_path / "out")


def test_a_recipe_takes_them_beside_real_films(run: Path, films: Path, tmp_path: Path):
    synthesise(run / "bundle", 12, tmp_path / "made")
    base = content(films, "multilabel")
    sources = [*base["data"]["sources"], {"source": "synthetic", "root": str(tmp_path / "made")}]
    phases = [{"name": "only", "epochs": 1, "batch": 8}]
    more = base | {"data": base["data"] | {"sources": sources}, "phases": phases}
    place = train(Recipe.model_validate(more), tmp_path / "run")
    made = load(place).info.provenance
    assert "synthetic" in made.data
    assert made.films["training"] == load(run / "bundle").info.provenance.films["training"] + 12


# --- what does not read films is not asked to ---


def test_what_reads_films_refuses_it_and_says_what_it_is_for(bundle: Bundle, run: Path, tmp_path: Path):
    mend = "reads none.*hilum synthesise, hilum evaluate"
    with pytest.raises(BundleError, match=mend):
        Analyzer([bundle])
    with pytest.raises(BundleError, match=mend):
        check([bundle], dark_lungs_bundle())
    with pytest.raises(BundleError, match=mend):
        export(bundle, "onnx", tmp_path / "out")
    with pytest.raises(BundleError, match=mend):
        ensemble([bundle, classifier_bundle()], "two")
    with pytest.raises(BundleError, match=mend):
        detect_films([tmp_path], tmp_path / "out", [run / "bundle"], Detection())


# --- measured ---


def test_it_is_measured_beside_held_out_and_training_films(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import shutil

    shutil.copytree(run / "bundle", tmp_path / "bundle")
    monkeypatch.setattr(generation, "FEWEST", 8)
    given = tmp_path / "bundle", run / "manifest.parquet", tmp_path / "out"
    result = evaluate(*given, split="test", record=True, features=classifier_bundle())
    rows = result["tables"]["beside held-out films"]
    assert [row["films"] for row in rows if row["by"] == "features of toy"] == [
        "synthetic",
        "real, of training",
    ]
    made, real = rows[:2]
    assert real["FID"]["value"] < made["FID"]["value"]
    assert real["coverage"]["value"] > made["coverage"]["value"]
    assert made["n"] == 12
    nearer = [fact for fact in result["facts"] if fact.startswith("nearer to a training film")]
    assert len(nearer) == 4
    for name in ("evaluation.json", "evaluation.md", "metrics.json", "samples.png", "neighbours.png"):
        assert (tmp_path / "out" / name).is_file()
    assert "part: test" in result["note"]
    card = (tmp_path / "bundle" / "card.md").read_text()
    privacy = card.split("## Privacy")[1].split("##")[0]
    assert "nearer to a training film than 1 % of held-out films are" in privacy
    assert "not measured yet" not in privacy


def test_copies_of_training_films_are_found(run: Path, bundle: Bundle, tmp_path: Path, monkeypatch):
    manifest = Manifest.load(run / "manifest.parquet")
    held_out, real, _ = generation.read_prepared(bundle, manifest.filter(split="test"))
    _, learnt, _ = generation.read_prepared(bundle, generation.learnt_from(bundle, manifest))
    monkeypatch.setattr(generation, "FEWEST", 8)
    monkeypatch.setattr(generation, "films_for", lambda bundle, wanted, seed: learnt[: len(wanted)])
    truth = np.zeros((len(real), 2))
    (tmp_path / "out").mkdir()
    result = generation.measure_generator(
        bundle, held_out, real, truth, manifest, tmp_path / "out", classifier_bundle()
    )
    facts = result["facts"]
    assert facts["nearer to a training film than 1 % of held-out films are, by pixels"]["value"] == 1
    assert facts["nearer to a training film than 1 % of held-out films are, by features of toy"]["value"] == 1


def test_without_its_training_films_nearness_is_said_not_to_be_measured(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Manifest
):
    monkeypatch.setattr(generation, "FEWEST", 8)
    test = manifest.filter(split="test")
    result = evaluate(run / "bundle", test, tmp_path / "out", features=classifier_bundle())
    assert "was not measured" in result["note"]
    assert not [fact for fact in result["facts"] if fact.startswith("nearer")]
    assert not (tmp_path / "out" / "neighbours.png").exists()


def test_it_is_not_measured_on_its_own_patients_nor_on_too_few(run: Path, tmp_path: Path):
    from hilum.errors import SplitError

    with pytest.raises(SplitError, match="trained or chosen on"):
        evaluate(run / "bundle", run / "manifest.parquet", tmp_path / "out", split="train")
    with pytest.raises(ManifestError, match="too few to measure by"):
        evaluate(
            run / "bundle",
            run / "manifest.parquet",
            tmp_path / "out",
            split="test",
            features=classifier_bundle(),
        )


def test_features_of_what_gives_none_are_refused():
    from hilum.learning.film_features import of_bundle

    with pytest.raises(BundleError, match="gives no features"):
        of_bundle(dark_lungs_bundle())


def test_diversity_is_the_deviation_over_noise():
    torch.manual_seed(0)
    model = build("gan", outputs=2, **OPTIONS).eval()
    found = generate.diversity(model, torch.tensor([[1.0, 0.0]]), seed=4)  # type: ignore[arg-type]
    noise = torch.randn(16, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        films = model.generator(noise, torch.tensor([[1.0, 0.0]]).repeat(16, 1))  # type: ignore[operator]
    assert found == pytest.approx(float(films.std(0).mean()), rel=1e-4)
