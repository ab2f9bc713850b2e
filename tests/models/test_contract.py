"""Every registered model keeps the contract of `hilum.models.contract`; a new one is tested the moment it registers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from hilum.errors import RecipeError
from hilum.models import Classifier, Encoder, Model, Segmenter, build, names, register
from hilum.models.contract import Detector, Generative, parameter_counts

# Small options for each model; more than one where a model has several kinds of inside.
SMALL: dict[str, list[dict]] = {
    "timm": [
        {"name": "mobilenetv3_small_050", "size": (64, 64)},
        {"name": "resnet18", "size": (64, 64)},
        {"name": "vit_tiny_patch16_224", "size": (64, 64)},
        {"name": "vit_wee_patch16_reg1_gap_256", "size": (64, 96)},  # normalised after its average
        {"name": "swin_tiny_patch4_window7_224", "size": (64, 64)},
    ],
    "encoder": [
        {"name": "resnet10t", "size": (64, 64)},
        {"name": "vit_tiny_patch16_224", "size": (64, 96)},
    ],
    "backbone_head": [{"name": "resnet10t", "hidden": 16, "size": (64, 64)}],
    "simple_cnn": [{"dropout": 0.5, "size": (64, 64)}],
    "attention_fusion": [
        {
            "first": "resnet10t",
            "second": "mobilenetv2_050",
            "first_tap": "layer3",
            "second_tap": "blocks.5.0.bn1",
            "width": 16,
            "size": (64, 64),
        },
        {
            "first": "mobilenetv2_050",
            "second": "tf_efficientnet_lite0",
            "first_tap": None,
            "second_tap": None,
            "width": 16,
            "size": (96, 96),
        },
    ],
    "concat_hybrid": [
        {
            "first": "resnet10t",
            "second": "mobilenetv1_100",
            "hidden": 16,
            "dropout": 0.5,
            "size": (64, 64),
        }
    ],
    "ensemble": [
        {"members": ({}, {}), "options": {"name": "resnet10t", "size": (64, 64)}},
        {
            "members": ({}, {"slope": (0.5,)}),
            "exclusive": True,
            "architecture": "simple_cnn",
            "options": {"dropout": 0.5, "size": (64, 64)},
        },
    ],
    "unet": [
        {"encoder": "mobilenetv3_small_050", "widths": (16, 16, 8, 8, 8), "size": (64, 64)},
        {"encoder": "resnet10t", "widths": (16, 16, 8, 8, 8), "size": (64, 64)},
    ],
    "yolov5": [{"scale": "n", "size": (64, 96)}, {"scale": "n", "size": (64, 64), "channels": 3}],
    "rt_detr": [
        {"backbone": "resnet10t", "hidden": 32, "layers": 2, "queries": 20, "size": (64, 96)},
        {"hidden": 32, "layers": 1, "queries": 10, "denoising": 0, "channels": 3, "size": (64, 64)},
    ],
    "ssgan_vit": [
        {
            "backbone": "resnet10t",
            "main": "vit_tiny_patch16_224",
            "film": 16,
            "film_width": 4,
            "size": (64, 64),
        },
        {"backbone": None, "main": "resnet10t", "film": 16, "film_width": 4, "size": (64, 96)},
        {"backbone": None, "main": None, "film": 32, "film_width": 4},
    ],
    "gan": [
        {"size": 16, "width": 8, "latent": 8},
        {"size": 32, "width": 4, "channels": 3, "classes": "softmax"},
    ],
    "lung_autoencoder": [
        {"encoder": "mobilenetv2_050", "filters": (16, 16, 8, 8, 8), "size": (64, 64)},
        {"encoder": "resnet10t", "filters": (16, 16, 8, 8, 8), "size": (64, 96)},
    ],
}
CASES = [(name, options) for name in names() for options in SMALL.get(name, [{}])]


def label(case: tuple[str, dict]) -> str:
    return "-".join(
        [case[0], *(str(case[1][k]) for k in ("name", "encoder", "first", "architecture") if k in case[1])]
    )


@pytest.fixture(scope="module", params=CASES, ids=label)
def model(request) -> Model:
    name, options = request.param
    torch.manual_seed(0)
    return build(name, outputs=3, **options).eval()


@pytest.fixture
def classifier(model) -> Classifier:
    if not isinstance(model, Classifier):
        pytest.skip("a segmenter, detector or encoder has no head to ask")
    return model


def images(model: Model, count: int = 2) -> torch.Tensor:
    return torch.randn(count, model.channels, *model.input_size, generator=torch.Generator().manual_seed(1))


def logits(model: Model, x: torch.Tensor) -> torch.Tensor:
    """What the model gives, of a detector all maps side by side."""
    found = model(x)
    return torch.cat([each.flatten(1) for each in found], 1) if isinstance(found, list) else found


@torch.no_grad()
def test_a_detector_gives_boxes_and_a_score_a_class(model):
    if not isinstance(model, Detector):
        pytest.skip("it gives no boxes")
    x = images(model)
    boxes, scores = model.detect(x)
    assert boxes.shape == (*scores.shape[:2], 4)
    assert scores.shape[0] == 2
    assert scores.shape[2] == 3
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert all(side % max(model.strides) == 0 for side in model.input_size)


@torch.no_grad()
def test_it_says_what_it_takes_and_gives_a_logit_an_output(model):
    assert len(model.mean) == len(model.std) == model.channels
    assert all(s > 0 for s in model.std)
    x = images(model)
    if isinstance(model, Detector):
        assert torch.isfinite(logits(model, x)).all()
        return
    expected = (2, 3, *x.shape[-2:]) if isinstance(model, Segmenter) else (2, 3)
    if isinstance(model, Encoder):
        expected = (2, model.features)
    assert model(x).shape == expected
    assert torch.isfinite(model(x)).all()


@torch.no_grad()
def test_forward_is_deterministic_in_eval_mode_and_films_do_not_mix(model):
    x = images(model)
    assert torch.equal(logits(model, x), logits(model, x))
    assert torch.allclose(logits(model, x)[:1], logits(model, x[:1]), atol=1e-4)


@torch.no_grad()
def test_forward_is_head_of_encode_and_encode_is_pool_of_the_map(classifier):
    x = images(classifier)
    features = classifier.feature_map(x)
    embedding = classifier.encode(x)
    assert features.ndim == 4
    assert features.shape[:2] == embedding.shape
    assert torch.allclose(classifier.pool(features), embedding)
    assert torch.allclose(classifier.head(embedding), classifier(x))


@torch.no_grad()
def test_the_map_keeps_its_place(classifier):
    """A change in the lower right quarter of the image changes the lower right of the map most."""
    x = images(classifier, 1)
    changed = x.clone()
    changed[..., x.shape[-2] // 2 :, x.shape[-1] // 2 :] += 2.0
    change = (classifier.feature_map(changed) - classifier.feature_map(x)).abs().sum(1)[0]
    y, z = divmod(int(change.argmax()), change.shape[1])
    assert y >= change.shape[0] // 2
    assert z >= change.shape[1] // 2


def test_the_head_holds_all_dropout_that_works(classifier):
    head = {id(m) for m in classifier.head.modules()}
    outside = [m for m in classifier.modules() if isinstance(m, _DropoutNd) and m.p > 0 and id(m) not in head]
    assert not outside
    assert any(isinstance(m, _DropoutNd) for m in classifier.head.modules())


@torch.no_grad()
def test_encode_stays_deterministic_while_the_head_drops(classifier):
    x = images(classifier)
    before = classifier.encode(x)
    classifier.head.train()
    try:
        assert torch.equal(classifier.encode(x), before)
        assert not torch.equal(classifier(x), classifier(x))
    finally:
        classifier.head.eval()


@torch.no_grad()
def test_a_linear_head_is_the_whole_head(classifier):
    linear = classifier.linear_head()
    if linear is None:
        assert len([m for m in classifier.head.modules() if isinstance(m, nn.Linear)]) > 1
        return
    assert isinstance(linear, nn.Linear)
    embedding = classifier.encode(images(classifier))
    assert torch.allclose(linear(embedding), classifier.head(embedding))


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_wee_patch16_reg1_gap_256"])
def test_a_transformers_embedding_is_the_average_of_its_normalised_patches(name):
    model = build("timm", outputs=2, name=name, size=(64, 96)).eval()
    x = images(model)
    tokens = model.backbone.forward_features(x)[:, model.backbone.num_prefix_tokens :]
    features = model.feature_map(x)
    assert tokens.shape[1:] == (4 * 6, model.features)
    # Laid on the grid row by row; at the start both norms are layer norms without weights.
    for patch in (0, 7, 23):
        row, column = divmod(patch, 6)
        wanted = torch.nn.functional.layer_norm(tokens[:, patch], [model.features], eps=1e-6)
        assert torch.allclose(features[:, :, row, column], wanted, atol=1e-4)
    assert torch.allclose(model.encode(x), features.mean((2, 3)), atol=1e-6)


def test_a_model_whose_tokens_lie_on_no_grid_is_refused():
    model = build("timm", outputs=2, name="levit_128s").eval()
    with pytest.raises(RecipeError, match=r"Levit.*no grid"):
        model(images(model, 1))


def test_a_head_of_two_layers_is_not_called_linear():
    model = build("timm", outputs=3, **SMALL["timm"][0])
    model.head = nn.Sequential(nn.Linear(model.features, 8), nn.ReLU(), nn.Linear(8, 3))
    assert model.linear_head() is None


@torch.no_grad()
def test_a_model_alone_is_one_member(classifier):
    embedding = classifier.encode(images(classifier))
    members = classifier.member_logits(embedding)
    assert members.shape[1:] == (2, 3)
    assert len(members) == 1 or hasattr(classifier, "members")


def test_class_weights_are_the_gradient_of_each_logit_by_the_embedding(classifier):
    """Held to torch's own Jacobian (of the members' mean logit); asked for as analysis does, in inference mode."""
    with torch.inference_mode():
        embedding = classifier.encode(images(classifier, 1))
        ours = classifier.class_weights(embedding)
    mean = torch.autograd.functional.jacobian(
        lambda e: classifier.member_logits(e).mean(0), embedding.clone()
    )
    whole = mean[0, :, 0]
    assert ours.shape == (3, embedding.shape[1])
    assert torch.allclose(ours, whole, atol=1e-5)


def test_the_encoder_is_all_but_head_or_decoder(model):
    if isinstance(model, Generative):
        pytest.skip("a generator and its discriminator learn in turns: tests/learning/test_gan_loss.py")
    encoder = {id(p) for p in model.encoder_parameters()}
    everything = {id(p) for p in model.parameters()}
    if isinstance(model, Encoder):
        assert encoder == everything
        return
    assert encoder < everything
    kinds = {Classifier: "head", Segmenter: "decoder", Detector: "detect_layer"}
    own = getattr(model, next(part for kind, part in kinds.items() if isinstance(model, kind)))
    assert not encoder & {id(p) for p in own.parameters()}


def test_a_training_step_reaches_every_parameter(model):
    if isinstance(model, Generative):
        pytest.skip("a generator and its discriminator learn in turns: tests/learning/test_gan_loss.py")
    model = copy.deepcopy(model).train()
    logits(model, images(model)).square().mean().backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    # timm's MobileNetV3 keeps a layer that comes after its pooling, which a feature map does not pass through.
    # RT-DETR's classes of true boxes with noise are learnt beside true boxes alone.
    apart = {f"backbone.conv_head.{kind}" for kind in ("weight", "bias")}
    # A discriminator's own outputs are held by its loss, not by the logits.
    apart |= {
        name for name in without if name.startswith(("discriminator.realness", "discriminator.findings"))
    }
    assert not without - apart - {"network.model.denoising_class_embed.weight"}


@torch.no_grad()
def test_eval_leaves_batch_norm_alone_and_state_travels(model):
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    expected = logits(model, images(model))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.zero_()
    for m in other.modules():
        if isinstance(m, _BatchNorm):
            m.reset_running_stats()
    other.load_state_dict(before)
    assert torch.equal(logits(other, images(model)), expected)
    counts = parameter_counts(model)
    assert counts["trainable"] + counts["frozen"] == sum(p.numel() for p in model.parameters())
    assert counts["buffers"] >= sum(2 * m.num_features for m in norms)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=label)
def test_grey_films_of_one_channel_are_taken(case):
    name, options = case
    model = build(name, **{"outputs": 2, **options, "channels": 1}).eval()
    assert model.channels == len(model.mean) == len(model.std) == 1
    if isinstance(model, Detector):
        assert model.detect(images(model, 1))[1].shape[::2] == (1, 2)
    else:
        width = model.features if isinstance(model, Encoder) else 2
        assert model(images(model, 1)).shape[:2] == (1, width)


@torch.no_grad()
@pytest.mark.parametrize("size", [(65, 97), (96, 33), (50, 50)])
def test_a_unet_gives_logits_on_the_inputs_own_grid(size):
    model = build("unet", outputs=2, **SMALL["unet"][0]).eval()
    assert model(torch.randn(1, 3, *size)).shape == (1, 2, *size)


def test_unknown_names_and_options_are_refused_with_what_there_is():
    with pytest.raises(RecipeError, match="timm"):
        build("alexnet2000", outputs=1)
    with pytest.raises(RecipeError, match="does not take"):
        build("timm", outputs=1, colour="blue")
    with pytest.raises(RecipeError, match="dropout probability"):
        build("timm", outputs=1, dropout=2)
    with pytest.raises(RecipeError, match="mobilenetv3"):
        build("timm", outputs=1, name="mobilenetv3_tiny")


def test_a_name_registers_once():
    with pytest.raises(ValueError, match="two models"):
        register("timm")(object)  # type: ignore[arg-type]
