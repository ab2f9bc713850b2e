"""Findings by a model with a discriminator, which goes on learning real films from synthetic ones beside (loss `joint`).

The generator is frozen. It comes out of the GAN's own training, where it learnt against this discriminator; here it only
goes on making synthetic films, so that the discriminator does not forget what tells them from real ones while the findings
change its features. Against a frozen generator a Wasserstein critic has a fixed aim, held in bounds by its penalty; one
optimiser takes one step of one loss; and a run that is resumed needs no state of a second network. A gradient reversal
would train both by one loss too, but with one rate and one pair of decays, where a GAN is known to want its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_losses import Joint
from hilum.learning.tasks.classify import MultiLabel
from hilum.models.gan import Generator
from hilum.models.pretrained import load_pretrained
from hilum.models.ssgan_vit import BLOCKS, SsganVit


class Joined(MultiLabel):
    """Score and validation loss are those of the findings; `generator` is no part of the task's state."""

    generator: Generator | None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        object.__setattr__(self, "generator", None)  # not registered, so no checkpoint holds it

    def show(self, generator: Generator | None) -> None:
        """The frozen network that makes synthetic films; None where the loss asks for none."""
        object.__setattr__(self, "generator", generator)

    def taught(self, images: Tensor, targets: Tensor) -> Any:
        return super().taught(images, targets), self._beside(images, targets)

    def held(self, outputs: Any, targets: Tensor) -> Tensor:
        if not isinstance(outputs, tuple):
            return super().held(outputs, targets)
        logits, beside = outputs
        return super().held(logits, targets) + beside

    def logits_of(self, outputs: Any) -> Tensor:
        logits: Tensor = outputs[0]
        return logits

    def _beside(self, images: Tensor, targets: Tensor) -> Tensor:
        model, loss = self.model, self.loss
        assert isinstance(model, SsganVit)
        assert isinstance(loss, Joint)
        assert model.discriminator is not None
        asked = loss.adversarial > 0 or loss.discriminator_labels > 0
        if not asked or self.phase.train == "head":  # a frozen discriminator has nothing to learn
            return images.new_zeros(())
        with torch.autocast(images.device.type, enabled=False):  # a gradient of gradients is lost at 16 bit
            real, share = model.films(images.float()), torch.rand(len(images), device=images.device)
            synthetic = None if self.generator is None else drawn(self.generator, targets)
            return loss.of_discriminator(model.discriminator, real, targets, synthetic, share)


@torch.no_grad()
def drawn(generator: Generator, targets: Tensor) -> Tensor:
    """A synthetic film for each row of targets (n, labels), unknown labels taken as absent; noise by torch's own chance."""
    noise = torch.randn(len(targets), generator.latent, device=targets.device)
    films: Tensor = generator.to(targets.device)(noise, targets.nan_to_num())
    return films


def generator_of(recipe: Recipe, model: nn.Module, start: str | Path | None) -> Generator | None:
    """The generator whose weights lie beside the discriminator's in `start`, frozen; None where the loss asks for none.

    RecipeError where the model has no discriminator, where its finding outputs are not the recipe's labels, or where there
    are no weights of a generator to take.
    """
    loss = recipe.loss
    if not isinstance(loss, Joint) or not (loss.adversarial or loss.discriminator_labels):
        return None
    discriminator = model.discriminator if isinstance(model, SsganVit) else None
    if discriminator is None:
        raise RecipeError(
            f"loss.kind: model '{recipe.model.name}' has no discriminator for loss 'joint'",
            mend="Choose model ssgan_vit with its discriminator, or the loss bce",
        )
    assert isinstance(model, SsganVit)
    if loss.discriminator_labels and model.findings != len(recipe.data.labels):
        raise RecipeError(
            f"model.options.findings: the discriminator names {model.findings} findings, the recipe"
            f" {len(recipe.data.labels)}",
            mend="Train the GAN on the same labels, or set loss.discriminator_labels and loss.adversarial to 0",
        )
    if not loss.adversarial:
        return None
    if start is None:
        raise RecipeError(
            "loss.adversarial: there is no generator to make synthetic films",
            mend=f"Give a GAN's weights as model.pretrained.{BLOCKS.index('discriminator')}, or set loss.adversarial to 0",
        )
    made = Generator(model.findings, 1, model.film, loss.latent, model.film_width)
    load_pretrained(made, start)
    return made.eval().requires_grad_(False)
