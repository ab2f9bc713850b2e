"""The generator and the discriminator of `suh-ssganvit`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from hilum.errors import RecipeError
from hilum.models import build
from hilum.models.describe import describe
from hilum.models.gan import SIZES, Discriminator, Generator


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_eight_convolutions_make_a_film_of_every_size(size: int):
    generator = Generator(3, size=size, latent=10, width=4).eval()
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (8, 7)
    films = generator(torch.randn(2, 10), torch.tensor([[0, 1, 0], [1, 0, 1]]))
    assert films.shape == (2, 1, size, size)
    assert films.abs().max() <= 1


@torch.no_grad()
def test_noise_and_findings_both_count():
    generator = Generator(3, size=16, latent=10, width=4).eval()
    noise, labels = torch.randn(2, 10), torch.eye(3)[:2]
    films = generator(noise, labels)
    assert not torch.allclose(films, generator(noise, labels.flip(0)))
    assert not torch.allclose(films, generator(noise.flip(0), labels))


@torch.no_grad()
def test_a_discriminator_gives_realness_findings_and_its_last_map():
    discriminator = Discriminator(14, size=64, width=8).eval()
    realness, findings = discriminator(torch.rand(2, 1, 64, 64) * 2 - 1)
    assert realness.shape == (2,)
    assert findings.shape == (2, 14)
    features = discriminator.features(torch.zeros(2, 1, 64, 64))
    assert features.shape == (2, discriminator.width, 4, 4)
    # A larger film gives a larger map, as a feature block of another model may want it.
    assert discriminator.features(torch.zeros(1, 1, 96, 128)).shape == (1, discriminator.width, 6, 8)
    assert discriminator(torch.zeros(1, 1, 96, 128))[1].shape == (1, 14)


def test_every_convolution_before_the_outputs_has_a_spectral_norm_of_one():
    torch.manual_seed(0)
    discriminator = Discriminator(2, size=16, width=4)
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [is_parametrized(m, "weight") for m in layers] == [True, True, False, False]
    for _ in range(50):  # a step of the power iteration each
        discriminator(torch.zeros(1, 1, 16, 16))
    discriminator.eval()
    for layer in layers[:2]:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(
            1, rel=1e-3
        )


def test_both_networks_are_shown_and_its_weights_start_another(tmp_path):
    from safetensors.torch import save_file

    found = describe("gan", outputs=2, size=16, width=4)
    assert found.kind == "generator"
    assert list(found.parts) == ["generator", "discriminator"]
    assert sum(found.parts.values()) == found.parameters
    first = build("gan", outputs=2, size=16, width=4)
    save_file(first.state_dict(), tmp_path / "w.safetensors")
    second = build("gan", outputs=2, size=16, width=4, pretrained=str(tmp_path / "w.safetensors"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    with pytest.raises(RecipeError, match="no ImageNet"):
        build("gan", outputs=2, pretrained="imagenet")


@pytest.mark.parametrize("options", [{"size": 48}, {"size": 256}, {"classes": "tanh"}])
def test_what_cannot_be_built_is_refused(options):
    with pytest.raises(RecipeError, match="Choose"):
        build("gan", outputs=2, **options)
