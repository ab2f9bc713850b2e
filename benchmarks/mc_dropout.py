"""Monte Carlo dropout: one encoder pass and T rows through the head, beside T passes of the whole network.

    python -m benchmarks.mc_dropout [--model timm] [--name mobilenetv2_100] [--size 224] [--samples 50] [--rounds N]

`--samples`: T, the rows through the head. `--model`: timm (one linear layer), backbone_head (a hidden layer of 512) or
attention_fusion (the published one; no name).

Prints CPU milliseconds of one thread (median) and the cost of ours in passes of the network; the goal is at most 1.1.
Both draw from the same distribution, which is checked before they are timed.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from benchmarks.figures import Figure, tell
from torch import Tensor

from hilum.analysis.uncertainty import sample_head
from hilum.models import Classifier, build


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="timm", choices=("timm", "backbone_head", "attention_fusion"))
    parser.add_argument("--name", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--samples", type=int, default=50, help="T: rows through the head, and whole passes")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    named = {} if options.model == "attention_fusion" else {"name": options.name}
    model = build(options.model, outputs=14, **named).eval().to(memory_format=torch.channels_last)
    assert isinstance(model, Classifier)
    image = torch.randn(1, 3, options.size, options.size).to(memory_format=torch.channels_last)
    check(model, image)
    work = {
        "one pass": lambda: model(image),
        "ours": lambda: sample_head(model.head, model.encode(image), options.samples, 0),
        "whole passes": lambda: whole_passes(model, image, options.samples),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for round_number in range(options.rounds + 1):
        for name, run in work.items():
            if name == "whole passes" and round_number > 3:
                continue  # three are enough of what takes T times as long
            started = time.process_time()
            run()
            taken[name].append(1000 * (time.process_time() - started))
    one, ours, whole = (median(times[1:]) for times in taken.values())  # the first round warms
    print(
        f"{' '.join((options.model, *named.values()))} at {options.size} px, T = {options.samples}, one thread, CPU ms"
    )
    print(f"one deterministic pass     {one:9.1f}")
    print(f"T samples by the head      {ours:9.1f}   {ours / one:6.2f} passes")
    print(f"T passes of the network    {whole:9.1f}   {whole / one:6.2f} passes")
    what = f"Monte Carlo dropout, T = {options.samples}"
    tell(
        Figure(
            what,
            f"{options.samples} whole passes",
            ours / one,
            "passes",
            goal=1.1,
            at_most=True,
            limit="1 pass",
        )
    )


def whole_passes(model: Classifier, image: Tensor, samples: int) -> Tensor:
    """What is done without the contract: the network in full for each sample, dropout on."""
    dropout = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Dropout)]
    try:
        for layer in dropout:
            layer.train()
        return torch.cat([model(image) for _ in range(samples)])
    finally:
        for layer in dropout:
            layer.eval()


def check(model: Classifier, image: Tensor) -> None:
    """Both ways have the same mean and spread, within the error of their samples."""
    ours = sample_head(model.head, model.encode(image), 4000, 1)
    whole = whole_passes(model, image, 100)
    assert torch.all((ours.mean(0) - whole.mean(0)).abs() < 5 * whole.std(0) / 10)
    assert torch.allclose(ours.std(0), whole.std(0), rtol=0.4)


if __name__ == "__main__":
    main()
