"""Four films in one, with their boxes (YOLOv4's mosaic, Bochkovskiy 2020): small things, in new company, on any side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NEAREST_EDGE = 0.25  # of a side: how near the corner that the four films share comes to an edge
VISIBLE = 0.1  # of a box's area: less than this left of it, and it is dropped


def mosaic(
    images: torch.Tensor, targets: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a batch each film with probability `share` becomes a mosaic of itself and three others.

    Parameters
    ----------
    images: (n, h, w) float. targets: (n, k, 5) class, then x1, y1, x2, y2 in pixels; rows of NaN where there is no box.

    Returns images (n, h, w) and targets (n, 4 k, 5). The four meet in a point drawn from the middle half of the film; each
    is shrunk until it fills its quarter and shows there the part of it that lies nearest to that point.
    """
    import torch

    count, height, width = images.shape
    out, boxes = (
        images.clone(),
        torch.full((count, 4 * targets.shape[1], 5), torch.nan, device=targets.device),
    )
    boxes[:, : targets.shape[1]] = targets
    chosen = torch.rand(count, generator=generator) < share
    centre = NEAREST_EDGE + (1 - 2 * NEAREST_EDGE) * torch.rand(count, 2, generator=generator)
    others = torch.randint(count, (count, 3), generator=generator)
    for number in torch.nonzero(chosen).flatten().tolist():
        x, y = round(float(centre[number, 0]) * width), round(float(centre[number, 1]) * height)
        parts = []
        for quarter, film in enumerate((number, *others[number].tolist())):
            right, lower = quarter % 2, quarter // 2
            left, top = (x, y) if right and lower else (x if right else 0, y if lower else 0)
            wide, high = (width - x if right else x), (height - y if lower else y)
            parts.append(
                _quarter(images[film], targets[film], (left, top, wide, high), (right, lower), out[number])
            )
        boxes[number] = torch.cat(parts)
    return out, boxes


def _quarter(
    image: torch.Tensor,
    target: torch.Tensor,
    place: tuple[int, int, int, int],
    side: tuple[int, int],
    onto: torch.Tensor,
) -> torch.Tensor:
    """Draw one film's part onto `onto`; its boxes there (k, 5), NaN where none is left."""
    import torch
    from torch.nn import functional

    (height, width), (left, top, wide, high) = image.shape, place
    scale = max(wide / width, high / height)
    size = max(high, round(height * scale)), max(wide, round(width * scale))
    small = functional.interpolate(image[None, None], size, mode="area")[0, 0]
    # The part nearest to the shared corner: the right end of a film on the left, the left end of one on the right.
    cut_x, cut_y = (0 if side[0] else size[1] - wide), (0 if side[1] else size[0] - high)
    onto[top : top + high, left : left + wide] = small[cut_y : cut_y + high, cut_x : cut_x + wide]
    moved = target.clone()
    factor = target.new_tensor((size[1] / width, size[0] / height) * 2)
    shift = target.new_tensor((left - cut_x, top - cut_y) * 2)
    whole = target[:, 1:] * factor + shift
    low, high_end = target.new_tensor((left, top)), target.new_tensor((left + wide, top + high))
    moved[:, 1:3] = torch.maximum(whole[:, :2], low)
    moved[:, 3:] = torch.minimum(whole[:, 2:], high_end)
    left_over = (moved[:, 3:] - moved[:, 1:3]).clamp(min=0).prod(1)
    gone = ~(left_over > VISIBLE * (whole[:, 2:] - whole[:, :2]).prod(1))
    moved[gone] = torch.nan
    return moved
