"""`hilum models` as a user meets it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hilum import cli
from hilum.errors import RecipeError
from hilum.models import names


def run(*words: str) -> str:
    result = CliRunner().invoke(cli.app, ["models", *words], env={"COLUMNS": "200"})
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_list_has_every_architecture():
    assert list(json.loads(run("list", "--json"))) == names()
    assert all(name in run("list") for name in names())


def test_show_prints_the_published_size_of_the_simple_cnn():
    text = run("show", "simple_cnn")
    assert "129,870" in text
    assert "224 x 224 pixels, 3 channels" in text
    assert "Apache-2.0 (Hilum)" in text


def test_options_are_those_of_a_recipe():
    words = ("show", "backbone_head", "name=mobilenetv1_100", "hidden=100", "dropout=0", "outputs=4")
    found = json.loads(run(*words, "size=[96, 96]", "--json"))
    assert found["parameters"] == 3_309_880
    assert found["statistics"] == 21_888
    assert found["input_size"] == [96, 96]
    assert found["head"] == "hidden layer, dropout 0"


def test_a_segmenter_shows_its_decoder():
    found = json.loads(run("show", "lung_autoencoder", "encoder=resnet10t", "outputs=1", "--json"))
    assert found["kind"] == "segmenter"
    below, kept = 512, 3_538_769 - 9 * 1024 * 256  # of densenet121's decoder, all but what reads its map
    assert found["parts"]["decoder"] == kept + 9 * below * 256
    assert [b["name"] for b in found["backbones"]] == ["resnet10t"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("resnet",), "no model 'resnet'"),
        (("timm", "name=resnet1000"), "no model 'resnet1000'"),
        (("timm", "dropout"), "not key=value"),
        (("timm", "dropout=[1"), "cannot be read"),
        (("timm", "colour=blue"), "does not take"),
        (("timm", "dropout=much"), "does not take"),
        (("timm", "pretrained=imagenet"), "without weights"),
    ],
)
def test_what_cannot_be_shown_says_why(words, fault):
    with pytest.raises(RecipeError, match=fault):
        run("show", *words)
