"""The `loss` of a recipe: which one, and with which options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hilum.learning.gan_loss import Adversarial, gradient_penalty, named, taken_for_real, told_apart
from hilum.learning.losses import binary_cross_entropy, binary_focal, cross_entropy, soft_dice
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.set_loss import SetGains, set_loss
from hilum.learning.yolo_loss import Gains, yolo_loss
from hilum.models.contract import Detector, Generative, Taught
from hilum.models.gan import Discriminator

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weights = Literal["none", "balanced"] | tuple[Weight, ...]
"""Given one by one in the order of the outputs, or to be computed from the training films (`learning.weights`)."""

WEIGHTS = {"bce": "positive_weight", "focal": "positive_weight", "cross_entropy": "class_weights"}
"""The option of each kind of loss that holds weights."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BinaryCrossEntropy(_Options):
    """For findings that may stand together."""

    kind: Literal["bce"] = "bce"
    positive_weight: Weights = "none"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy(logits, targets, _tensor(self.positive_weight, logits))


class Focal(_Options):
    """For rare findings."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)
    negatives: Literal["complement", "same"] = "complement"
    positive_weight: Weights = "none"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = _tensor(self.positive_weight, logits)
        return binary_focal(logits, targets, self.alpha, self.gamma, self.negatives, weight)


class Joint(_Options):
    """For findings by a model with a discriminator (`ssgan_vit`): `labels` + `adversarial` x what tells real films from
    synthetic ones (`form` and `penalty` as `learning.gan_loss` has them) + `discriminator_labels` x the cross-entropy of the
    discriminator's own finding logits on real films.

    With both weights 0 it is `labels` alone. Of validation films it is `labels` alone too. `latent`: numbers of noise that
    the generator was made for.
    """

    kind: Literal["joint"] = "joint"
    labels: Annotated[BinaryCrossEntropy | Focal, Field(discriminator="kind")] = BinaryCrossEntropy()
    adversarial: float = Field(0.1, ge=0, allow_inf_nan=False)
    discriminator_labels: float = Field(0.1, ge=0, allow_inf_nan=False)
    form: Adversarial = "wgan_gp"
    penalty: float = Field(10.0, ge=0, allow_inf_nan=False)
    latent: int = Field(100, ge=1)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.labels(logits, targets)

    def of_discriminator(
        self,
        discriminator: Discriminator,
        real: Tensor,
        targets: Tensor,
        synthetic: Tensor | None,
        share: Tensor,
    ) -> Tensor:
        """The other two parts, float32, of films (n, 1, s, s) in [-1, 1] and targets (n, labels), NaN unknown; `synthetic`
        films are None where `adversarial` is 0; `share` (n,) as in `gan_loss.gradient_penalty`.
        """
        realness, logits = discriminator(real)
        loss = self.discriminator_labels * named(logits, targets, discriminator.classes)
        if synthetic is None:
            return loss
        apart = told_apart(realness, discriminator(synthetic)[0], self.form)
        if self.form == "wgan_gp" and self.penalty:
            steep = gradient_penalty(lambda films: discriminator(films)[0], real, synthetic, share)
            apart = apart + self.penalty * steep
        return loss + self.adversarial * apart


class CrossEntropy(_Options):
    """For classes of which exactly one holds."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Weights = "none"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets, self.smoothing, _tensor(self.class_weights, logits))


class Dice(_Options):
    """For masks."""

    kind: Literal["dice"] = "dice"
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return soft_dice(logits, targets, self.smooth)


class BCEDice(_Options):
    """BCE + Dice, for masks."""

    kind: Literal["bce_dice"] = "bce_dice"
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy(logits, targets) + soft_dice(logits, targets, self.smooth)


class FocalDice(_Options):
    """Focal + Dice, for masks (Degerli 2021)."""

    kind: Literal["focal_dice"] = "focal_dice"
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_focal(logits, targets, self.alpha, self.gamma) + soft_dice(logits, targets, self.smooth)


class Yolo(_Options):
    """For boxes by YOLOv5 (`learning.yolo_loss`): how much each part counts, as published.

    Detectors' losses take the model, what it gave, and the truth (m, 6): image, class, then centre and size in pixels.
    """

    kind: Literal["yolo"] = "yolo"
    box: float = Field(0.05, ge=0)
    objectness: float = Field(1.0, ge=0)
    classes: float = Field(0.5, ge=0)
    reach: float = Field(4.0, gt=1)
    smoothing: float = Field(0.0, ge=0, lt=1)

    @property
    def gains(self) -> Gains:
        return Gains(self.box, self.objectness, self.classes, self.reach, self.smoothing)

    def __call__(self, model: Detector, found: Taught, truth: Tensor) -> Tensor:
        layer: Any = model.detect_layer
        gains = self.gains.scaled(found.maps[0].shape[-1] - 5, found.size[0])
        loss, _ = yolo_loss(found.maps, truth, layer.anchors, model.strides, gains)
        return loss / len(found.maps[0])


class SetPrediction(_Options):
    """For boxes by queries, as RT-DETR's (`learning.set_loss`): how much each part counts, as published."""

    kind: Literal["set"] = "set"
    classes: float = Field(1.0, ge=0)
    box: float = Field(5.0, ge=0)
    giou: float = Field(2.0, ge=0)
    alpha: float = Field(0.75, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)

    @property
    def gains(self) -> SetGains:
        return SetGains(self.classes, self.box, self.giou, self.alpha, self.gamma)

    def __call__(self, model: Detector, found: Taught, truth: Tensor) -> Tensor:
        loss, _ = set_loss(found.maps, truth, found.size, self.gains, found.denoised)
        return loss


class Gan(_Options):
    """For films from noise (`learning.gan_loss`): a generator against a discriminator that names findings too.

    `penalty`: weight of the gradient penalty, which goes with `wgan_gp` alone. `classes`: weight of the finding output, in
    both networks' losses. `critic_steps`: steps of the discriminator, a batch each, to one of the generator.
    """

    kind: Literal["gan"] = "gan"
    adversarial: Adversarial = "wgan_gp"
    penalty: float = Field(10.0, ge=0)
    classes: float = Field(1.0, ge=0)
    critic_steps: int = Field(1, ge=1)

    def of_discriminator(
        self, model: Generative, real: Tensor, synthetic: Tensor, targets: Tensor, share: Tensor | None
    ) -> Tensor:
        """Of films (n, c, h, w) in [-1, 1] and labels (n, outputs); `share` (n,): see `gradient_penalty`; None: without."""
        (realness, logits), (fakeness, _) = model.discriminator(real), model.discriminator(synthetic)
        loss = told_apart(realness.float(), fakeness.float(), self.adversarial)
        loss = loss + self.classes * self.of_findings(model, logits.float(), targets)
        if share is None or self.adversarial != "wgan_gp" or not self.penalty:
            return loss
        with torch.autocast(real.device.type, enabled=False):  # a gradient of gradients is lost at 16 bit
            films = real.float(), synthetic.float()
            return loss + self.penalty * gradient_penalty(lambda x: model.discriminator(x)[0], *films, share)

    def of_generator(self, model: Generative, synthetic: Tensor, targets: Tensor) -> Tensor:
        """Of synthetic films (n, c, h, w) and the labels (n, outputs) that they were made for."""
        realness, logits = model.discriminator(synthetic)
        wanted = self.of_findings(model, logits.float(), targets)
        return taken_for_real(realness.float(), self.adversarial) + self.classes * wanted

    def of_findings(self, model: Generative, logits: Tensor, targets: Tensor) -> Tensor:
        """Labels that are unknown (NaN) take no part."""
        return named(logits, targets, getattr(model.discriminator, "classes", "sigmoid"))


DETECTION = ("yolo", "set")
"""Kinds of loss that learn boxes."""


AnyLoss = Annotated[
    BinaryCrossEntropy
    | Focal
    | Joint
    | CrossEntropy
    | Dice
    | BCEDice
    | FocalDice
    | Yolo
    | SetPrediction
    | Gan
    | PretextLoss,
    Field(discriminator="kind"),
]


def _tensor(weights: Weights, like: Tensor) -> Tensor | None:
    """Weights beside `like`. ValueError for `balanced`, which films alone can say."""
    if weights == "none":
        return None
    if isinstance(weights, str):
        raise ValueError(
            "`balanced` weights are computed from training films first: learning.weights.resolved"
        )
    return like.new_tensor(weights)
