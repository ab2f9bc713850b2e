"""From a recipe to the model that it trains, with its first weights."""

from __future__ import annotations

import logging

import numpy as np

from hilum.errors import RecipeError
from hilum.learning import material
from hilum.learning.anchors import fit_anchors
from hilum.learning.recipe import Recipe
from hilum.models import Classifier, Encoder, Model, Segmenter, build
from hilum.models.contract import Detector, Generative
from hilum.models.describe import options
from hilum.models.registry import builder
from hilum.models.ssgan_vit import BLOCKS

logger = logging.getLogger(__name__)


def fitted(recipe: Recipe, stuff: material.Material) -> Recipe:
    """The recipe with what a model takes from training films: a detector's anchors, where it has such and none are given."""
    given = recipe.model.options
    if recipe.task != "detect" or "anchors" in given or "anchors" not in options(recipe.model.name):
        return recipe
    boxes = np.asarray(stuff.train.targets)
    held = boxes[~np.isnan(boxes[..., 0])]
    anchors = fit_anchors(
        held[:, 3:] - held[:, 1:3], reach=getattr(recipe.loss, "reach", 4.0), seed=recipe.seed
    )
    choice = recipe.model.model_copy(update={"options": {**given, "anchors": anchors}})
    return recipe.model_copy(update={"model": choice})


def refuse_misfit(recipe: Recipe) -> None:
    """A detector beside a loss that it does not learn by, before any film is read."""
    name, kind = recipe.model.name, recipe.loss.kind
    learns_by = getattr(builder(name), "loss", None)
    if recipe.task == "detect" and learns_by not in (None, kind):
        raise RecipeError(
            f"loss.kind: model '{name}' does not learn by loss '{kind}'",
            mend=f"Set loss.kind to '{learns_by}', or choose another model",
        )


def build_model(recipe: Recipe) -> Model:
    """The recipe's model with its first weights, held to the preparation."""
    choice, steps = recipe.model, recipe.preparation
    outputs = len(recipe.data.labels) + len(recipe.data.auxiliary) or 1
    pretrained: str | tuple[str | None, ...] | None
    if isinstance(choice.pretrained, tuple):  # one a backbone
        pretrained = tuple(_start(recipe, each) for each in choice.pretrained)
    else:
        pretrained = _start(recipe, choice.pretrained)
    model = build(
        choice.name, outputs=outputs, pretrained=pretrained, channels=steps.channels, **choice.options
    )
    if isinstance(model, Generative):
        _refuse_other_range(recipe, model)
    if model.mean != steps.mean or model.std != steps.std:
        logger.info(
            "the preparation's mean and std are not those that the backbone was made for: %s, %s",
            model.mean,
            model.std,
        )
    kinds = {"segment": Segmenter, "detect": Detector, "generate": Generative, "pretrain": Encoder}
    if not isinstance(model, kinds.get(recipe.task, Classifier)):
        mend = "Name the model 'encoder', and the backbone in model.options.name"
        raise RecipeError(
            f"model.name: '{choice.name}' is not made for task '{recipe.task}'",
            mend=mend if recipe.task == "pretrain" else None,
        )
    if recipe.data.auxiliary and not (isinstance(model, Classifier) and model.linear_head()):
        raise RecipeError("data.auxiliary: the model's head is not one linear layer, which alone can be cut")
    return model


def discriminator_start(recipe: Recipe) -> str | None:
    """Where the weights of the GAN lie that a model of several blocks takes its discriminator from; None without."""
    given = recipe.model.pretrained
    place = BLOCKS.index("discriminator")
    return _start(recipe, given[place]) if isinstance(given, tuple) and len(given) > place else None


def _refuse_other_range(recipe: Recipe, model: Generative) -> None:
    """A generator makes films of one size and of [-1, 1], and real films must come to its discriminator so."""
    steps = recipe.preparation
    if steps.size != model.input_size:
        raise RecipeError(
            f"preparation.size: {steps.size}, and model '{recipe.model.name}' makes films of {model.input_size} pixels",
            mend="Set model.options.size and preparation.size alike",
        )
    if (steps.channels, steps.mean, steps.std) != (1, (0.5,), (0.5,)):
        raise RecipeError(
            "preparation: a generator makes films of one channel in [-1, 1]",
            mend="Set preparation.channels to 1, and mean and std to [0.5]",
        )


def _start(recipe: Recipe, given: str | None) -> str | None:
    """Where weights to start from lie; a path is taken under the data root."""
    if given is None or given == "imagenet":
        return given
    return str(material.expand_under(recipe.data.root, given))
