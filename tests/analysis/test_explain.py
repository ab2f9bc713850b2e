"""One call for any method: each gives a map a label on the film's extent, or an error that says what would work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.explain import CLOSED_FORM, METHODS, evidence, explain
from hilum.analysis.heatmaps import class_activation, heatmaps
from hilum.analysis.render import report_schema, words
from hilum.bundles import Bundle
from hilum.bundles.info import Architecture
from hilum.cli.analyze import HEATMAPS
from hilum.errors import HilumError
from hilum.images.preparation import Preparation
from hilum.images.radiograph import Radiograph
from hilum.models import build
from tests.bundles_for_tests import bright_bundle, classifier_bundle, dark_lungs_bundle
from tests.phantom import phantom


@pytest.fixture
def film() -> Radiograph:
    return Radiograph(phantom(0, 256, 400).pixels, digest="f" * 64, age=50.0)


def transformer(aspect: str = "squash") -> Bundle:
    torch.manual_seed(0)
    options: dict[str, Any] = {"name": "vit_tiny_patch16_224", "channels": 1, "size": (64, 64)}
    model = build("timm", outputs=3, **options).eval()
    model.backbone.blocks = model.backbone.blocks[:2]
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.attn.qkv.weight.mul_(4)
    preparation = Preparation(size=(64, 64), channels=1, mean=(0.5,), std=(0.25,), aspect=aspect)
    info = classifier_bundle("transformer").info.model_copy(
        update={"model": Architecture(name="timm", options=options), "preparation": preparation}
    )
    return Bundle(info, model)


@pytest.mark.parametrize("aspect", ["squash", "pad", "crop"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_a_label_on_the_films_extent(film, method, aspect):
    bundle = transformer(aspect)
    maps = explain(bundle, film, method, channels=8)
    assert len(maps) == len(bundle.labels)
    assert {m.shape for m in maps} == {(246, 384)}
    for heat in maps:
        assert heat.dtype == np.float32
        assert heat.min() >= 0
        assert heat.max() <= 1
    assert max(m.max() for m in maps) > 0.8
    outside = np.abs(np.arange(384) + 0.5 - 192) > 124  # of a square cut from the middle
    assert all((m[:, outside] == 0).all() for m in maps) == (aspect == "crop")


def test_the_cheap_ways_are_those_of_the_analyzers_one_pass(film):
    bundle = classifier_bundle()
    with torch.no_grad():
        features, embedding = bundle.runtime.features(bundle.prepare(film))
        weights = bundle.model.class_weights(embedding)
        margins = bundle.margins(bundle.model.head(embedding))[0]
    place = bundle.info.preparation.place((film.height, film.width))
    for method in CLOSED_FORM:
        for found, wanted in zip(
            explain(bundle, film, method), heatmaps(features, weights, place, method, margins), strict=True
        ):
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_of_exclusive_classes_a_map_is_that_of_a_class_less_that_of_the_next_best(film):
    bundle = classifier_bundle(group="kind")
    with torch.no_grad():
        features, embedding = bundle.runtime.features(bundle.prepare(film))
        found = evidence(bundle, features, embedding, "cam_above_threshold")
        logits = bundle.model.head(embedding)
        weights = bundle.model.class_weights(embedding)
        plain = class_activation(features, weights)[0]
        lead = evidence(bundle, features, embedding, "cam")
    order = bundle.probabilities(logits)[0].argsort(descending=True).tolist()
    margins = bundle.margins(logits)[0]
    for label in range(3):
        rival = order[1] if label == order[0] else order[0]
        wanted = plain[label] - plain[rival]
        assert torch.allclose(lead[label], wanted, atol=1e-5)
        wanted = wanted - wanted.mean() + margins[label]
        assert torch.allclose(found[label], wanted, atol=1e-5)
    assert (found.amax((1, 2)) > 0)[order[0]]


@pytest.mark.parametrize("method", METHODS)
def test_a_report_has_the_maps_of_the_method_asked_for(film, method, monkeypatch):
    monkeypatch.setattr("hilum.analysis.analyzer.builtin_names", list)
    bundle = transformer()
    passing = Analyzer([bundle], samples=0, heatmap_method=method)
    report = passing.analyze(film)
    assert report.analysable
    assert report.heatmap_method == report.as_dict()["heatmap_method"] == method
    for finding, wanted in zip(report.findings, explain(bundle, film, method), strict=True):
        np.testing.assert_allclose(finding.heatmap, wanted, atol=1e-5)
    without = Analyzer([bundle], samples=0, with_heatmaps=False).analyze(film)
    assert without.heatmap_method is None


def test_the_command_the_schema_and_the_page_know_every_method():
    assert HEATMAPS == METHODS
    assert report_schema()["properties"]["heatmap_method"]["enum"] == [*METHODS, None]
    assert tuple(words.HEATMAPS) == METHODS


def test_a_method_is_refused_before_any_film_where_it_does_not_fit(film):
    plain = classifier_bundle()
    for method in ("attention", "attention_rollout"):
        with pytest.raises(HilumError, match=rf"toy: no heatmaps by '{method}'.*attention_fusion.*score_cam"):
            explain(plain, film, method)
        with pytest.raises(HilumError, match=f"no heatmaps by '{method}'"):
            Analyzer([plain, dark_lungs_bundle()], heatmap_method=method)
    Analyzer([plain, dark_lungs_bundle()], with_heatmaps=False, heatmap_method="attention")
    with pytest.raises(HilumError, match=r"no heatmaps by 'saliency'.*grad_cam_plus_plus"):
        explain(plain, film, "saliency")
    with pytest.raises(HilumError, match=r"does not classify.*give a classification bundle"):
        explain(dark_lungs_bundle(), film)


@pytest.mark.parametrize("method", METHODS)
def test_a_broken_model_is_named_and_gives_no_map(film, method):
    bundle = transformer()
    with torch.no_grad():
        bundle.model.backbone.blocks[0].attn.qkv.weight[0] = float("nan")
    with pytest.raises(HilumError, match=f"transformer: .*not finite .by {method}"):
        explain(bundle, film, method)


def test_a_film_that_gives_no_evidence_has_a_map_of_zeros(film):
    black = replace(film, pixels=np.zeros_like(film.pixels))
    assert not any(heat.any() for heat in explain(bright_bundle(), black))
