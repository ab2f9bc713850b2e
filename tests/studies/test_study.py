"""Studies as written: every arm is a valid recipe, and what the papers print agrees with itself and with the models."""

from __future__ import annotations

import numpy as np
import pytest

from hilum import studies
from hilum.errors import RecipeError
from hilum.evaluation.comparison import student_t
from hilum.evaluation.confusion import Counts
from hilum.learning.building import build_model
from hilum.models.contract import parameter_counts
from hilum.studies.comparisons import printed_comparison, printed_ratio
from hilum.studies.jobs import Request
from hilum.studies.study import Study

ARMS = [
    (name, variant, arm)
    for name in studies.names()
    for variant, v in studies.load(name).variants.items()
    for arm in v.arms
]


def test_the_studies_are_found():
    assert {"nandi-hybrid", "roy-fusion", "degerli-recovnet"} <= set(studies.names())


@pytest.mark.parametrize("arm", studies.load("degerli-recovnet").variant("published").arms)
def test_printed_rates_are_those_of_whole_films(arm: str):
    """Of 1,050 films with COVID-19 and 27,397 without; sensitivity and specificity give the others."""
    printed = studies.load("degerli-recovnet").variant("published").arms[arm].published
    tp = round(printed.rates["sensitivity"] / 100 * 1050)
    tn = round(printed.rates["specificity"] / 100 * 27_397)
    counts = Counts(*(np.array([float(n)]) for n in (tp, 27_397 - tn, 1050 - tp, tn)))
    for name, value in printed.rates.items():
        assert round(100 * float(getattr(counts, name)[0]), 3) == value
    if printed.counts is not None:
        assert printed.counts == (tn, 27_397 - tn, 1050 - tp, tp)


@pytest.mark.parametrize("name", studies.names())
def test_a_study_says_what_it_chose(name: str):
    study = studies.load(name)
    assert (study.folder / "README.md").read_text().startswith(f"# {name}")
    assert study.name == name


@pytest.mark.parametrize(("name", "variant", "arm"), ARMS)
def test_every_arm_is_a_recipe(name: str, variant: str, arm: str):
    study = studies.load(name)
    recipes = [study.arm_recipe(variant, arm, fold) for fold in study.variant(variant).folds]
    assert len({r.digest for r in recipes}) == len(recipes)  # a seed and a split of its own
    assert len({r.seed for r in recipes}) == len(recipes)
    first = recipes[0]
    if study.variant(variant).repeat == "seeds":
        assert {r.data.split for r in recipes} == {first.data.split}
    elif first.data.split.kind == "kfold":
        assert {r.data.split.seed for r in recipes} == {first.data.split.seed}
    else:
        assert len({r.data.split.seed for r in recipes}) == len(recipes)


PRINTED = [a for a in ARMS if studies.load(a[0]).variant(a[1]).arms[a[2]].published.parameters]


@pytest.mark.parametrize(("name", "variant", "arm"), PRINTED)
def test_sizes_are_the_printed_ones(name: str, variant: str, arm: str):
    """Less ResNet50's 26,560 convolution biases, which only the paper's framework keeps, and its normalisation layer's 7."""
    study = studies.load(name)
    printed = study.variant(variant).arms[arm].published.parameters
    recipe = study.arm_recipe(variant, arm, 0)
    model = build_model(
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"pretrained": None})})
    )
    counts = parameter_counts(model)
    head = sum(p.numel() for p in model.head.parameters())
    biases = 26_560 if name == "nandi-hybrid" and arm in ("resnet50", "hybrid") else 0
    seven = 7 if arm in ("efficientnet-b0", "fusion") and name == "roy-fusion" else 0
    here = {
        "trainable": counts["trainable"] + biases,
        "other": counts["buffers"] + seven,
        "total": counts["trainable"] + counts["buffers"] + biases,
        "head": head,
        "encoder": counts["trainable"] + counts["buffers"] - head + seven,
    }
    assert {key: here[key] for key in printed} == printed


@pytest.mark.parametrize(("variant", "digits"), [("published", 4), ("set2", 4)])
def test_printed_p_values_are_a_two_sample_t_test(variant: str, digits: int):
    arms = studies.load("nandi-hybrid").variant(variant).arms
    for name in ("resnet50", "mobilenet"):
        test = student_t(arms["hybrid"].published.fold_accuracy, arms[name].published.fold_accuracy)
        assert round(test.p_value, digits) == arms[name].published.p_value


@pytest.mark.parametrize("variant", ["published", "set2"])
def test_printed_means_are_those_of_the_printed_folds(variant: str):
    """To the paper's rounding, which is out by 0.014 for the hybrid on set 2."""
    for arm in studies.load("nandi-hybrid").variant(variant).arms.values():
        if arm.published.fold_accuracy:
            assert np.mean(arm.published.fold_accuracy) == pytest.approx(arm.published.accuracy, abs=0.015)


def test_the_paper_does_not_show_that_its_hybrid_beats_mobilenet():
    study = studies.load("nandi-hybrid")
    compared = printed_comparison(study, study.variant("published"))
    assert compared is not None
    found = {v.second: v for v in compared.verdicts}
    # A fifth is held out; of the rest a tenth is validation.
    assert printed_ratio(study, study.variant("published")) == pytest.approx(0.2 / 0.72)
    assert not found["MobileNet"].shown
    assert found["MobileNet"].difference.value == pytest.approx(84.352 - 83.26, abs=1e-6)


def test_what_is_not_there_is_named():
    study = studies.load("roy-fusion")
    with pytest.raises(RecipeError, match=r"no study 'roy'.*roy-fusion"):
        studies.load("roy")
    with pytest.raises(RecipeError, match=r"no variant 'heavy'.*light"):
        study.variant("heavy")
    with pytest.raises(RecipeError, match=r"no arm 'vit'.*fusion"):
        study.arm_recipe("light", "vit", 0)
    with pytest.raises(RecipeError, match="fold"):
        study.arm_recipe("light", "fusion", 7)
    with pytest.raises(RecipeError, match=r"phases\.0\.epochs"):
        study.arm_recipe("light", "fusion", 0, ("phases.0.epochs=none",))


def test_a_request_is_a_run_an_arm_and_a_fold(tmp_path):
    request = Request(
        studies.load("roy-fusion"), "light", tmp_path, tmp_path / "out", folds=(0, 2), fraction=0.5
    )
    jobs = request.jobs()
    assert [(j.arm, j.fold) for j in jobs] == [
        (arm, fold) for arm in ("mobilenetv2", "efficientnet-lite0", "fusion") for fold in (0, 2)
    ]
    assert len({j.folder for j in jobs}) == 6
    assert {j.recipe.data.fraction for j in jobs} == {0.5}
    assert {j.recipe.data.store for j in jobs} == {str(tmp_path / "out" / "stores")}
    with pytest.raises(RecipeError, match="fusion is asked for twice"):
        Request(studies.load("roy-fusion"), "light", tmp_path, tmp_path, arms=("fusion", "fusion")).jobs()


def test_a_variant_has_its_reference():
    study = studies.load("roy-fusion").model_dump()
    study["variants"]["light"]["reference"] = "other"
    with pytest.raises(ValueError, match="reference 'other'"):
        Study.model_validate(study)
