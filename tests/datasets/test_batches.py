from __future__ import annotations

import numpy as np
import pytest
import torch

from hilum.datasets.batches import Batches
from hilum.datasets.pixel_store import PixelStore, build
from hilum.images.preparation import Preparation
from tests.datasets.test_pixel_store import films


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    folder = tmp_path_factory.mktemp("batches")
    return build(films(folder, 11), Preparation(size=(16, 16)), folder / "s", workers=0, progress=False)


def batches(store: PixelStore, **changes: object) -> Batches:
    rows = store.rows(store.image_ids)
    targets = np.arange(11, dtype=np.float32)[:, None]
    return Batches(store, rows, targets, **({"size": 4, "seed": 5} | changes))  # type: ignore[arg-type]


def test_every_film_comes_once_an_epoch_with_its_own_pixels_and_target(store: PixelStore) -> None:
    seen = []
    for batch in batches(store).epoch(0):
        for image, target, index in zip(batch.images, batch.targets, batch.index.tolist(), strict=True):
            assert target.item() == index
            np.testing.assert_array_equal(image.numpy(), store.images[index])
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(11))


def test_the_order_is_of_seed_and_epoch(store: PixelStore) -> None:
    def order(**changes: int) -> list[int]:
        epoch = changes.pop("epoch", 0)
        return [i for b in batches(store, **changes).epoch(epoch) for i in b.index.tolist()]

    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=6)
    assert order(shuffle=False) == list(range(11))


def test_an_epoch_can_be_taken_up_in_the_middle(store: PixelStore) -> None:
    whole = [b.index for b in batches(store).epoch(3)]
    rest = [b.index for b in batches(store).epoch(3, start=1)]
    assert len(whole) == len(batches(store)) == 3
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], rest, strict=True))


def test_drop_last_leaves_out_the_unfilled(store: PixelStore) -> None:
    fixed = batches(store, drop_last=True)
    assert [len(b.index) for b in fixed.epoch(0)] == [4, 4]
    assert len(fixed) == 2


def test_what_does_not_fit_is_refused(store: PixelStore) -> None:
    with pytest.raises(ValueError, match="no masks"):
        batches(store, masks=True)
    with pytest.raises(ValueError, match="3 targets for 11 films"):
        Batches(store, store.rows(store.image_ids), np.zeros(3))
    with pytest.raises(ValueError, match="at least one"):
        batches(store, size=0)


def test_weights_decide_how_often_a_film_is_drawn_and_the_order_is_still_of_seed_and_epoch(
    store: PixelStore,
) -> None:
    chances = np.array([0.5] + [0.05] * 10)
    drawn = batches(store, weights=chances)
    orders = [drawn.order(epoch) for epoch in range(200)]
    assert all(len(order) == 11 for order in orders)
    counts = np.bincount(np.concatenate(orders), minlength=11) / 2200
    np.testing.assert_allclose(counts, chances, atol=0.03)
    np.testing.assert_array_equal(orders[7], batches(store, weights=chances).order(7))
    rest = [b.index for b in drawn.epoch(3, start=1)]
    assert all(torch.equal(a, b) for a, b in zip([b.index for b in drawn.epoch(3)][1:], rest, strict=True))
    with pytest.raises(ValueError, match="3 weights for 11 films"):
        batches(store, weights=np.full(3, 1 / 3))
