"""Does torch.compile make a training step faster here? The same network, compiled and not, in turns.

    python -m benchmarks.compiled_step [--backbone mobilenetv2_100] [--size 96] [--batch 32] [--threads 1]

A step is forward, backward and AdamW of a timm backbone with 14 outputs, channels last, in float32 and in bfloat16. Figures
are the fastest of five steps in processor time, which other programs disturb little, and the first compiled step's seconds.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from hilum.models import build


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = torch.rand(given.batch, 3, given.size, given.size).to(memory_format=torch.channels_last)
    plain, compiled = learner(given.backbone), learner(given.backbone)
    compiled[0].compile()
    for name, half in (("float32", False), ("bfloat16", True)):
        began = time.perf_counter()
        step(*compiled, images, half)
        first = time.perf_counter() - began
        taken: list[list[float]] = [[], []]
        for _ in range(5):
            for each, times in zip((plain, compiled), taken, strict=True):
                before = time.process_time()
                step(*each, images, half)
                times.append(time.process_time() - before)
        eager, made = (min(times) for times in taken)
        print(
            f"{name:9} {eager:.3f} s a step, compiled {made:.3f} s ({made / eager:.2f}), the first {first:.0f} s"
        )


def learner(backbone: str) -> tuple[Any, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = build("timm", outputs=14, name=backbone).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, torch.optim.AdamW(model.parameters())


def step(model: Any, optimiser: torch.optim.Optimizer, images: torch.Tensor, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = model(images).float().square().mean()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


if __name__ == "__main__":
    main()
