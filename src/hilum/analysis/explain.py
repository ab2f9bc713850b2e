"""One call for the heatmaps of all findings of a film, by any method."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from hilum.analysis import heatmaps as closed_form
from hilum.analysis.attention_maps import check_attention, gradient_weighted, rollout
from hilum.analysis.heatmaps import Map, on_film
from hilum.analysis.score_cam import score_cam
from hilum.bundles import Bundle
from hilum.bundles.focus import window_of
from hilum.errors import HilumError
from hilum.images.placement import Placement
from hilum.images.radiograph import Radiograph
from hilum.models import Classifier

CLOSED_FORM: tuple[str, ...] = get_args(closed_form.Method)  # from the one pass that gives the probabilities
NEEDS_FEATURES = (*CLOSED_FORM, "score_cam")
METHODS = (*NEEDS_FEATURES, "attention", "attention_rollout")


def explain(
    bundle: Bundle, film: Radiograph, method: str = closed_form.DEFAULT, channels: int | None = None
) -> list[Map]:
    """A heatmap for each label of a classification bundle, in the labels' order.

    Each is float32, 0 to 1, on the film's extent at a few hundred pixels, whatever crop or resize the bundle's preparation
    makes; `heatmaps.heatmap_on_film` enlarges it. A map without evidence for its finding is 0 throughout.

    Parameters
    ----------
    method: one of `METHODS`.
        `cam`: what each place adds to the logit (Zhou 2016); Grad-CAM (Selvaraju 2017) where the head has hidden layers.
        `cam_above_threshold`: what each place adds to the logit's height above the point at which the finding is called.
        `grad_cam_plus_plus`: less for features that are seen all over (Chattopadhay 2018). All three take one pass.
        `score_cam`: how the model does on what each feature lights up (Wang 2020); a pass a feature.
        `attention`: gradient-weighted attention (Chefer 2021), for transformers; one pass, and one back a label.
        `attention_rollout`: attention alone (Abnar and Zuidema 2020), for transformers; the same map for every label.
    channels: at most so many features for `score_cam`, those that vary most over the map, which is quicker and another map;
        None takes all.

    Attention is that of the torch model, whatever runtime the bundle was loaded for. Raises HilumError for an unknown
    method, one that does not work for this model, or a map with values that are not finite.
    """
    check_method(bundle, method)
    window = window_of(bundle, film)
    images = bundle.prepare(film, window).to(memory_format=torch.channels_last)
    place = bundle.info.preparation.place((film.height, film.width), window)
    with torch.no_grad():
        seen = bundle.runtime.features(images) if method in NEEDS_FEATURES else None
        return explained(bundle, place, images, method, seen, channels)


def explained(
    bundle: Bundle,
    place: Placement,
    images: Tensor,
    method: str,
    seen: tuple[Tensor, Tensor] | None,
    channels: int | None = None,
) -> list[Map]:
    """`explain` of a film that is already prepared, (1, channels, h, w), by a method that was checked.

    `place`: where what was prepared lies on the film.
    `seen`: the features and the embedding that the runtime gave of it; only attention does without.
    """
    model = bundle.model
    assert isinstance(model, Classifier)
    if method == "attention":
        found = gradient_weighted(model, images)
    elif method == "attention_rollout":
        found = rollout(model, images).expand(len(bundle.labels), -1, -1)
    else:
        assert seen is not None
        features, embedding = seen
        if method == "score_cam":
            found = score_cam(images, features, bundle.runtime.logits, channels)
        else:
            found = evidence(bundle, features, embedding, method)
    try:
        return on_film(found, place)
    except HilumError as error:
        raise HilumError(f"{error.fault} (by {method})", path=bundle.info.name, mend=error.mend) from None


def evidence(bundle: Bundle, features: Tensor, embedding: Tensor, method: str) -> Tensor:
    """The map of each label (labels, h, w) of one film's features and embedding, by a method in closed form.

    Of exclusive classes what counts is one logit's lead over the others, for a softmax knows no more: by either kind of CAM
    the map is that of a class less that of the next best, which for two classes is Grad-CAM of the probability.
    """
    model = bundle.model
    assert isinstance(model, Classifier)
    weights, logits = model.class_weights(embedding), model.head(embedding)
    if method != "grad_cam_plus_plus" and bundle.info.group is not None:
        chances = bundle.probabilities(logits)[0]
        others = chances - torch.diag(torch.ones_like(chances))  # each class without itself
        weights = weights - weights[others.argmax(1)]
    return closed_form.evidence(features, weights, method, bundle.margins(logits)[0])


def check_method(bundle: Bundle, method: str) -> None:
    """Raises HilumError, which names what would work, where `method` does not give heatmaps of this bundle."""
    name = bundle.info.name
    if method not in METHODS:
        raise HilumError(f"no heatmaps by {method!r}", mend=f"Choose of {', '.join(METHODS)}.")
    if not isinstance(bundle.model, Classifier):
        raise HilumError(
            f"no heatmaps by {method!r}: it does not classify",
            path=name,
            mend="Heatmaps are of findings; give a classification bundle.",
        )
    if method.startswith("attention"):
        try:
            check_attention(bundle.model)
        except HilumError as error:
            raise HilumError(
                f"no heatmaps by {method!r}: {error.fault}", path=name, mend=error.mend
            ) from None
