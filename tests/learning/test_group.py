"""What processes that train together share: batch norm, losses over what is known, films, and their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, distributed, nn

from hilum.errors import HilumError
from hilum.learning import batch_norm, group
from hilum.learning.children import in_processes
from hilum.learning.losses import binary_cross_entropy
from tests.learning.faulty_children import faulty

FILMS = 6


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), BatchNormAct2d(4), nn.Flatten(), nn.Linear(4 * 36, 3), nn.BatchNorm1d(3)
    return nn.Sequential(*layers)


def films() -> tuple[Tensor, Tensor]:
    """Images, and labels of which the second half of films knows one alone."""
    chance = torch.Generator().manual_seed(1)
    truth = (torch.rand(FILMS, 3, generator=chance) > 0.5).float()
    truth[FILMS // 2 :, 1:] = torch.nan
    return torch.randn(FILMS, 1, 8, 8, generator=chance) + 3, truth


def learn(part: slice) -> dict[str, Tensor]:
    """One step's loss, gradients and running statistics on these films."""
    model = network()
    batch_norm.share(model)
    images, truth = (each[part] for each in films())
    loss = binary_cross_entropy(model(images), truth)
    if group.size() > 1:
        loss = loss * group.balance((~truth.isnan()).sum().float())
    loss.backward()
    found = {name: each.grad for name, each in model.named_parameters()}
    return {"loss": loss.detach(), **found, **dict(model.named_buffers())}  # type: ignore[dict-item]


def one_of_two(rank: int, count: int, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    found = learn(group.part(FILMS // count))
    for name, value in found.items():
        if "running" not in name and "tracked" not in name:
            distributed.all_reduce(value)  # as DistributedDataParallel averages
            found[name] = value / count
    with group.apart():
        alone = group.size(), group.interleaved(["own"])
    with group.first_before_others():
        (folder / "order").open("a").write(str(rank))
    dealt = group.interleaved([n for n in range(5) if n % count == rank])
    distributed.barrier()
    distributed.destroy_process_group()
    return {"learnt": {n: v.numpy() for n, v in found.items()}, "alone": alone, "dealt": dealt}


def test_two_processes_are_one_batch(tmp_path: Path):
    """Timm's batch norm keeps its activation; unknown labels weigh nothing, wherever they lie."""
    found = in_processes(2, one_of_two, tmp_path)
    whole = learn(slice(None))
    for name, value in whole.items():
        assert torch.allclose(torch.from_numpy(found["learnt"][name]), value, atol=1e-5), name
    assert found["alone"] == (1, ["own"])
    assert found["dealt"] == [0, 1, 2, 3, 4]
    assert (tmp_path / "order").read_text() == "01"


def test_shared_batch_norm_alone_is_the_layer_itself():
    model, plain = network(), network()
    batch_norm.share(model)
    images, _ = films()
    assert torch.equal(model(images), plain(images))
    assert torch.equal(model.eval()(images), plain.eval()(images))
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("how", "said"),
    [("dies", "process 1 .* ended with 9"), ("refuses", "no such thing"), ("fails", "ValueError: a fault")],
)
def test_where_one_ends_all_end(how: str, said: str):
    with pytest.raises(HilumError, match=said):
        in_processes(2, faulty, how)
