"""Uncertainty of ensemble bundles, held to their members one by one, and the report that comes of one."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import torch

from hilum.analysis import analyzer as analyzer_module
from hilum.analysis.analyzer import Analyzer
from hilum.analysis.heatmaps import class_activation, heatmaps
from hilum.analysis.render.schema import report_schema
from hilum.analysis.uncertainty import sample_head, uncertainty
from hilum.bundles import Bundle, load, save
from hilum.bundles.ensembling import ensemble
from hilum.bundles.info import Architecture, Scaling
from hilum.images.quality import Quality
from hilum.images.radiograph import Radiograph
from hilum.models import build
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom


def member(seed: int, dropout: float, group: str | None = None) -> Bundle:
    bundle = classifier_bundle(f"m{seed}", group=group, seed=seed)
    options = {**bundle.info.model.options, "dropout": dropout}
    scaling = Scaling(kind="t", slope=(1.0 + seed,), intercept=(0.1 * seed,))
    info = bundle.info.model_copy(
        update={"model": Architecture(name="timm", options=options), "calibration": scaling}
    )
    torch.manual_seed(seed)
    return Bundle(info, build("timm", outputs=3, **options))


def joined(dropout: float, group: str | None = None, count: int = 4) -> tuple[Bundle, list[Bundle]]:
    members = [member(seed, dropout, group) for seed in range(count)]
    return ensemble(members, "four"), members


def images() -> torch.Tensor:
    return torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("group", [None, "pneumonia"])
def test_without_dropout_the_spread_is_over_members(group):
    bundle, members = joined(0.0, group)
    spread = uncertainty(bundle, bundle.model.encode(images()), samples=30, seed=0)
    each = np.stack([m.probabilities(m(images()))[0].double().numpy() for m in members])
    assert spread.method == "ensemble"
    np.testing.assert_allclose(spread.mean, each.mean(0), atol=1e-6)
    np.testing.assert_allclose(spread.std, each.std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(spread.interval, np.percentile(each, (2.5, 97.5), axis=0).T, atol=1e-6)
    stated = bundle.probabilities(bundle(images()))[0].numpy()
    np.testing.assert_allclose(spread.mean, stated, atol=1e-6)


@torch.no_grad()
def test_with_dropout_it_is_over_all_masks_of_all_members():
    bundle, members = joined(0.5)
    embedding = bundle.model.encode(images())
    spread = uncertainty(bundle, embedding, samples=2000, seed=0)
    alone = []
    for seed, one in enumerate(members):
        logits = sample_head(one.model.head, one.model.encode(images()), 2000, 10 + seed)
        alone.append(one.probabilities(logits).double().numpy())
    drawn = np.concatenate(alone)
    assert spread.method == "mc_dropout+ensemble"
    np.testing.assert_allclose(spread.mean, drawn.mean(0), atol=0.01)
    np.testing.assert_allclose(spread.std, drawn.std(0), rtol=0.05)
    np.testing.assert_allclose(spread.interval, np.percentile(drawn, (2.5, 97.5), axis=0).T, atol=0.03)


@torch.no_grad()
def test_the_same_seed_gives_the_same_numbers_and_too_few_samples_leave_the_members():
    bundle, _ = joined(0.5, count=2)
    embedding = bundle.model.encode(images())
    first, again, other = (uncertainty(bundle, embedding, 20, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.std, again.std)
    assert not np.array_equal(first.std, other.std)
    assert uncertainty(bundle, embedding, 1, 5).method == "ensemble"
    assert not bundle.model.training


@torch.no_grad()
def test_a_calibration_of_the_whole_ensemble_reaches_every_member():
    bundle, members = joined(0.0)
    scaling = Scaling(kind="t", slope=(0.5,), intercept=(1.0,))
    bundle.info = bundle.info.model_copy(update={"calibration": scaling})
    spread = uncertainty(bundle, bundle.model.encode(images()), samples=0, seed=0)
    each = torch.stack([torch.logit(m.probabilities(m(images()))[0].double()) for m in members])
    expected = torch.sigmoid(0.5 * each + 1.0).numpy()
    np.testing.assert_allclose(spread.std, expected.std(0, ddof=1), atol=1e-5)


@pytest.fixture
def film(monkeypatch) -> Radiograph:
    monkeypatch.setattr(analyzer_module, "assess", lambda *_: Quality(True, None, (), {}))
    monkeypatch.setattr(analyzer_module, "builtin_names", list)
    return Radiograph(phantom(0, 512, 448).pixels, digest="f" * 64, age=50.0)


@pytest.mark.parametrize("group", [None, "pneumonia"])
def test_a_report_of_an_ensemble_is_whole(film, tmp_path, group):
    bundle, members = joined(0.3, group, count=2)
    read = load(save(bundle, tmp_path / "two.hilum"))
    passes = []
    for one in read.model.members:
        one.backbone.conv_stem.register_forward_hook(lambda *_: passes.append(1))
    report = Analyzer([read], samples=10).analyze(film)
    assert len(passes) == 2, "one encoder pass a member"
    jsonschema.Draft202012Validator(report_schema()).validate(json.loads(json.dumps(report.as_dict())))
    with torch.no_grad():
        each = [m.probabilities(m(m.prepare(film)))[0] for m in members]
    expected = torch.stack(each).mean(0).numpy()
    np.testing.assert_allclose(
        [f.probability for f in report.findings], expected, atol=2e-3
    )  # 16-bit weights
    assert {f.method for f in report.findings} == {"mc_dropout+ensemble"}
    with torch.no_grad():
        seen = [m.model.feature_map(m.prepare(film)) for m in members]
        evidence = sum(
            class_activation(f, m.info.calibration.slope[0] * m.model.head[1].weight)
            for f, m in zip(seen, members, strict=True)
        )
        if group:  # of exclusive classes a class's lead over the next best
            order = np.argsort(-expected)
            rival = [order[1] if label == order[0] else order[0] for label in range(3)]
            evidence = evidence - evidence[:, rival]
        place = bundle.info.preparation.place((film.height, film.width))
        maps = heatmaps(evidence / 2, torch.eye(3), place)
    for finding, mean in zip(report.findings, maps, strict=True):
        np.testing.assert_allclose(finding.heatmap, mean, atol=0.02)
    assert all(f.std > 0 for f in report.findings)
