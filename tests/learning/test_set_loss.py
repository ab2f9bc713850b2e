"""The set loss is that of `transformers`' RT-DETR on equal inputs; the assignment is the best there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hilum.boxes import iou
from hilum.learning.recipe_losses import SetPrediction
from hilum.learning.set_loss import SetGains, matched, overlaps, set_loss
from hilum.models import build
from hilum.models.contract import Taught

SIZE = (96, 128)  # height, width


def some(seed: int, films: int = 3, queries: int = 12, classes: int = 3, boxes: int = 5) -> tuple:
    """Maps of three stages, and true boxes on all films but the second; in pixels."""
    chance = torch.Generator().manual_seed(seed)
    scale = torch.tensor([SIZE[1], SIZE[0]] * 2, dtype=torch.float32)
    maps = [
        torch.cat(
            (
                torch.rand(films, queries, 4, generator=chance) * 0.5 * scale + 1,
                torch.randn(films, queries, classes, generator=chance),
            ),
            -1,
        ).requires_grad_()
        for _ in range(3)
    ]
    film = torch.tensor([0, 2, 0, 2, 2])[:boxes]
    kind = torch.randint(0, classes, (len(film),), generator=chance)
    box = (torch.rand(len(film), 4, generator=chance) * 0.4 + 0.2) * scale
    return maps, torch.cat((film[:, None], kind[:, None], box), 1), scale


def reference(maps, truth, scale, denoised=None) -> torch.Tensor:
    """`transformers`' own loss. Its last stage stands apart, the others and the encoder's are auxiliary."""
    pytest.importorskip("transformers")
    from transformers import RTDetrConfig
    from transformers.loss.loss_rt_detr import RTDetrLoss

    def out(values):
        return {"logits": values[..., 4:], "pred_boxes": values[..., :4] / scale}

    rows = [torch.nonzero(truth[:, 0] == film)[:, 0] for film in range(len(maps[0]))]
    labels = [{"class_labels": truth[r, 1].long(), "boxes": truth[r, 2:] / scale} for r in rows]
    given = {**out(maps[-1]), "auxiliary_outputs": [out(each) for each in maps[:-1]]}
    if denoised is not None:
        positive = tuple(denoised.query[denoised.film == film] for film in range(len(rows)))
        given["dn_auxiliary_outputs"] = [out(each) for each in denoised.maps]
        given["denoising_meta_values"] = {"dn_positive_idx": positive, "dn_num_group": denoised.groups}
    criterion = RTDetrLoss(RTDetrConfig(num_labels=maps[0].shape[-1] - 4))
    return sum(criterion(given, labels).values())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("boxes", [5, 1, 0])
def test_loss_and_gradients_are_those_of_transformers(seed: int, boxes: int):
    maps, truth, scale = some(seed, boxes=boxes)
    loss, parts = set_loss(maps, truth, SIZE, SetGains())
    ours = torch.autograd.grad(loss, maps)
    wanted = reference(maps, truth, scale)
    theirs = torch.autograd.grad(wanted, maps)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert sum(part.item() for part in parts.values()) == pytest.approx(loss.item(), rel=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_boxes_with_noise_are_learnt_as_in_transformers():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = build("rt_detr", outputs=3, hidden=32, layers=2, queries=10, denoising=12, size=SIZE).train()
    _, truth, scale = some(0)
    found = model.taught(torch.randn(3, 1, *SIZE), truth)
    assert found.denoised.groups == 12 // 3
    loss, _ = set_loss(found.maps, truth, found.size, SetGains(), found.denoised)
    assert loss.item() == pytest.approx(reference(found.maps, truth, scale, found.denoised).item(), rel=1e-5)
    without, _ = set_loss(found.maps, truth, found.size, SetGains())
    assert loss > without


def test_the_assignment_costs_least_of_all():
    maps, truth, scale = some(1, queries=5)
    values = torch.cat((maps[0][..., :4] / scale, maps[0][..., 4:]), -1).detach()
    true = torch.cat((truth[:, :2], truth[:, 2:] / scale), 1)
    found = matched(values, true)
    assert sorted(found.row.tolist()) == list(range(len(truth)))
    assert torch.equal(found.film, truth[found.row, 0].long())

    def cost(film: int, query: int, row: int) -> float:
        p = float(values[film, query, 4 + int(true[row, 1])].sigmoid())
        focal = 0.25 * (1 - p) ** 2 * -np.log(p) - 0.75 * p**2 * -np.log(1 - p)
        box, wanted = values[film, query, :4], true[row, 2:]
        return 2 * focal + 5 * float((box - wanted).abs().sum()) - 2 * float(overlaps(box, wanted)[1])

    for film in (0, 2):
        rows = torch.nonzero(truth[:, 0] == film)[:, 0].tolist()
        best = min(
            sum(cost(film, q, r) for q, r in zip(chosen, rows, strict=True))
            for chosen in itertools.permutations(range(5), len(rows))
        )
        own = found.film == film
        reached = sum(map(cost, found.film[own].tolist(), found.query[own].tolist(), found.row[own].tolist()))
        assert reached == pytest.approx(best, abs=1e-4)


def test_more_boxes_than_queries_and_boxes_that_are_no_number_are_matched_all_the_same():
    maps, truth, scale = some(0, queries=2)
    values = torch.cat((maps[0][..., :4] / scale, maps[0][..., 4:]), -1).detach()
    values[0, 0] = torch.nan
    found = matched(values, torch.cat((truth[:, :2], truth[:, 2:] / scale), 1))
    assert torch.bincount(found.film, minlength=3).tolist() == [2, 0, 2]


def test_overlaps_are_those_of_boxes_and_generalised_iou_tells_distance():
    chance = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 6, 4, generator=chance) + 0.1

    def corners(boxes):
        return torch.cat((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1).numpy()

    share, general = overlaps(one[:, None], other)
    np.testing.assert_allclose(share.numpy(), iou(corners(one), corners(other)), atol=1e-6)
    assert (general <= share + 1e-6).all()
    boxes = torch.tensor([[0.0, 0, 2, 2], [3, 0, 2, 2], [9, 0, 2, 2]])
    # Boxes of 2 x 2, one and seven apart: the hull of 5 x 2 holds 8 of 10, that of 11 x 2 holds 8 of 22.
    assert overlaps(boxes[:1], boxes)[1].tolist() == pytest.approx([1, -2 / 10, -14 / 22])


def test_films_without_boxes_learn_that_there_is_nothing():
    maps, truth, _ = some(0)
    loss = SetPrediction()(None, Taught(maps, SIZE), truth[:0])  # type: ignore[arg-type]
    loss.backward()
    for values in maps:
        assert (values.grad[..., 4:] > 0).all()
        assert not values.grad[..., :4].any()
