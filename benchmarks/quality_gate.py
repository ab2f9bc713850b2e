"""The quality gate's learnt check: judge it, cross-validate it, or fit it again.

    python -m benchmarks.quality_gate fit              # writes src/hilum/images/frontal.safetensors
    python -m benchmarks.quality_gate cross-validate   # laterals, by patient
    python -m benchmarks.quality_gate table            # the shipped weights, on films kept out

Each adds what it did to src/hilum/images/frontal.json.
`--photos FOLDER` adds photographs of your own to what is judged (here: the sample images of scikit-image).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.quality_films import Picture, drawing, films, others, photographs
from numpy.typing import NDArray
from scipy.stats import beta
from tests.phantom import phantom
from torch import nn

from hilum.images import frontal
from hilum.images.frontal import KINDS, Pixels, thumbnail

HOME = Path(frontal.__file__).parent
MEMBERS, STEPS, BATCH = 3, 1600, 64
# A fold's network is fitted for less long than the shipped ones, so cross-validation errs to the low side.
FOLDS, FOLD_STEPS, FOLD_BATCH = 3, 600, 32
# Fixed before anything was judged: refused where another kind is likelier than frontal, warned of up to 0.8.
THRESHOLDS = {"refuse": 0.5, "warn": 0.8}
LICENCE = (
    "Code Apache-2.0. Fitted on NIH ChestX-ray14 (free use with attribution), Kermany (CC BY 4.0), Shenzhen "
    "(NLM), and films of the COVID-19 image data collection under CC BY, CC BY-SA and CC BY-NC-SA; films without "
    "a stated licence or with an ND licence took no part. Because NC films took part, treat the weights as for "
    "non-commercial use."
)
SHARES = {"frontal": 0.42, "lateral": 0.14, "turned": 0.11, "inverted": 0.11, "partial": 0.08, "other": 0.14}
CHANNELS = (12, 24, 40, 40)


def gather(photos: Path | None) -> list[Picture]:
    """Everything to fit and judge on; phantoms 0 to 20 are judged, 100 to 159 fitted on."""
    pictures = [*films(), *others(), *photographs(photos)]
    for seed in (*range(21), *range(100, 160)):
        made = phantom(seed, 160, 140, lesions=seed % 3).pixels
        pictures.append(Picture(f"phantom{seed}", "phantom", "frontal", f"phantom{seed}", seed >= 100, made))
    return pictures


# ---- what is done to a picture -------------------------------------------------------------------


def turned(pixels: Pixels, quarter: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels, quarter))


def part(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A piece that no reader would accept as a chest film: one half, or a small window."""
    height, width = pixels.shape
    if rng.random() < 0.6:
        cut = int((1 - rng.uniform(0.3, 0.42)) * height), int((1 - rng.uniform(0.38, 0.52)) * width)
        pieces = (
            pixels[: height - cut[0]],
            pixels[cut[0] :],
            pixels[:, : width - cut[1]],
            pixels[:, cut[1] :],
        )
        return pieces[rng.integers(4)]
    high, wide = int(height * rng.uniform(0.25, 0.45)), int(width * rng.uniform(0.25, 0.45))
    top, left = rng.integers(height - high + 1), rng.integers(width - wide + 1)
    return pixels[top : top + high, left : left + wide]


def disturbed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Tilt, shift, zoom, flip, borders, marks, gamma, window, blur, noise and JPEG, each by chance."""
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    height, width = pixels.shape
    angle, zoom = rng.normal(0, 4), np.exp(rng.uniform(-0.12, 0.2))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, zoom)
    matrix[0] *= np.exp(rng.uniform(-0.12, 0.12))
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * (width, height)
    fill = float(rng.choice([0.0, 1.0, rng.random()], p=[0.7, 0.15, 0.15]))
    edge = cv2.BORDER_REPLICATE if rng.random() < 0.4 else cv2.BORDER_CONSTANT
    out = cv2.warpAffine(
        np.ascontiguousarray(pixels), matrix, (width, height), borderMode=edge, borderValue=fill
    )
    out = out ** np.exp(rng.normal(0, 0.35))
    if rng.random() < 0.4:
        low, high = rng.uniform(0, 0.2), rng.uniform(0.75, 1)
        out = np.clip((out - low) / (high - low), 0, 1)
    if rng.random() < 0.15:
        stored = np.rint(out * 255).astype(np.uint8)
        out = cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(stored).astype(np.float32) / 255
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(0.005, 0.06), out.shape)
    if rng.random() < 0.15:  # collimation, or a digitised film's edge
        frame = float(rng.choice([0.0, 1.0]))
        margins = [int(m) for m in rng.uniform(0, 0.08, 4) * (height, height, width, width)]
        out[: margins[0]], out[height - margins[1] :] = frame, frame
        out[:, : margins[2]], out[:, width - margins[3] :] = frame, frame
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
        top, left = (
            int(rng.uniform(0, 0.9) * height),
            int(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.8, 0.95)]) * width),
        )
        out[top : top + int(rng.integers(2, 12)), left : left + int(rng.integers(2, 16))] = rng.choice(
            [0.0, 1.0]
        )
    out = np.clip(out, 0, 1).astype(np.float32)
    if rng.random() < 0.25:
        out = framed(out, rng)
    if rng.random() < 0.3:
        stored, grade = np.rint(out * 255).astype(np.uint8), int(rng.integers(20, 90))
        coded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, grade])[1]
        out = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    return out


def framed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Letterboxed, or as a screenshot with text beside the film."""
    height, width = pixels.shape
    top, bottom, left, right = (int(m) for m in rng.uniform(0, 0.3, 4) * (height, height, width, width))
    if rng.random() < 0.5:  # bars on two sides only
        top, bottom = (0, 0) if rng.random() < 0.5 else (top, bottom)
        left, right = (left, right) if top == 0 else (0, 0)
    value = float(rng.choice([0.0, 0.0, 1.0, 0.5]))
    out = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)
    if rng.random() < 0.3:
        stored = np.rint(out * 255).astype(np.uint8)
        for _ in range(int(rng.integers(1, 5))):
            where = (
                int(rng.uniform(0, 0.8) * out.shape[1]),
                int(rng.choice([0.04, 0.08, 0.94, 0.98]) * out.shape[0]),
            )
            cv2.putText(
                stored, "Pat 123 CHEST", where, cv2.FONT_HERSHEY_PLAIN, 0.6, 255 if value < 0.5 else 0
            )
        out = stored.astype(np.float32) / 255
    return out


def example(
    kind: str, pool: dict[str, list[list[Picture]]], rng: np.random.Generator
) -> tuple[Pixels, str | None]:
    """A disturbed picture of a kind, and the patient (None: drawn); sources have even shares, phantoms few."""

    def film(of: str) -> Picture:
        sources = pool[of]
        share = np.array([0.05 if s[0].source == "phantom" else 1.0 for s in sources])
        source = sources[rng.choice(len(sources), p=share / share.sum())]
        return source[rng.integers(len(source))]

    mixed = "lateral" if rng.random() < 0.2 else "frontal"
    if kind == "other":
        if rng.random() >= 0.4:
            return disturbed(drawing(rng), rng), None
        chosen = film("other")
        pixels = chosen.pixels
        if rng.random() < 0.5 and min(pixels.shape) > 60:
            pixels = part(pixels, rng)
        pixels = disturbed(turned(pixels, int(rng.integers(4))), rng)
        return 1 - pixels if rng.random() < 0.2 else pixels, chosen.patient
    if kind in ("frontal", "lateral"):
        chosen = film(kind)
        return disturbed(chosen.pixels, rng), chosen.patient
    quarter = 0
    if kind == "inverted" and rng.random() < 0.2:
        quarter = int(rng.integers(4))
    chosen = film(mixed)
    match kind:
        case "turned":
            pixels = disturbed(turned(chosen.pixels, int(rng.integers(1, 4))), rng)
        case "inverted":
            pixels = 1 - disturbed(turned(chosen.pixels, quarter), rng)
        case _:
            pixels = disturbed(part(chosen.pixels, rng), rng)
    return pixels, chosen.patient


# ---- the fit -------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin, cout in zip((1, *CHANNELS), CHANNELS, strict=False):
        layers += [nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(CHANNELS[-1] * 16, len(KINDS)))


def fitted(
    pictures: Sequence[Picture], kept_from: Sequence[frozenset[str]], seed: int, steps: int, batch_size: int
) -> list[nn.Sequential]:
    """Networks from different starts on one stream of freshly disturbed pictures.

    `kept_from`: for each network the patients of whom it sees nothing.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    grouped: dict[str, dict[str, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for p in pictures:
        grouped[p.kind][p.source].append(p)
    pool = {kind: list(sources.values()) for kind, sources in grouped.items()}
    nets = [network().train() for _ in kept_from]
    optimiser = torch.optim.AdamW([w for net in nets for w in net.parameters()], 4e-3, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.02)
    shares = np.array([SHARES[kind] for kind in KINDS])
    running = 0.0
    for step in range(steps):
        kinds = rng.choice(len(KINDS), batch_size, p=shares)
        examples = [example(KINDS[k], pool, rng) for k in kinds]
        batch = torch.from_numpy(np.stack([thumbnail(pixels) for pixels, _ in examples]))[:, None]
        truth = torch.from_numpy(kinds)
        loss = torch.zeros(())
        for net, patients in zip(nets, kept_from, strict=True):
            seen = torch.tensor([patient not in patients for _, patient in examples])
            loss = loss + loss_of(net(batch[seen]), truth[seen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        running = 0.98 * running + 0.02 * float(loss.detach()) / len(nets)
        if step % 200 == 199:
            print(f"  step {step + 1}/{steps} loss {running:.3f}", flush=True)
    return [net.eval() for net in nets]


def folded(nets: Sequence[nn.Sequential]) -> dict[str, NDArray[np.float32]]:
    """Weights with batch normalisation folded into the convolutions, by the names `frontal.forward` reads."""
    tensors: dict[str, torch.Tensor] = {}
    for member, net in enumerate(nets):
        for layer in range(len(CHANNELS)):
            conv, norm = net[3 * layer], net[3 * layer + 1]
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            tensors[f"{member}.conv{layer}.weight"] = conv.weight * scale[:, None, None, None]
            tensors[f"{member}.conv{layer}.bias"] = norm.bias - norm.running_mean * scale
        tensors[f"{member}.head.weight"], tensors[f"{member}.head.bias"] = net[-1].weight, net[-1].bias
    return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}


# ---- judging -------------------------------------------------------------------------------------


def trials(pictures: Sequence[Picture]) -> list[tuple[str, Pixels]]:
    """(group, picture) for everything that is judged: films as they are, turned, inverted, cut; drawings."""
    rng = np.random.default_rng(99)
    out: list[tuple[str, Pixels]] = [(f"{p.kind}: {p.source}", p.pixels) for p in pictures]
    frontals = [p for p in pictures if p.kind == "frontal" and p.source not in ("phantom", "rg1")]
    for p in [frontals[i] for i in rng.permutation(len(frontals))[:600]]:
        for quarter, name in ((1, "90"), (2, "180"), (3, "270")):
            out.append((f"frontal turned by {name}", turned(p.pixels, quarter)))
        out.append(("frontal inverted", 1 - p.pixels))
        out.append(("frontal, half or less", part(p.pixels, rng)))
        out.append(("frontal, disturbed", disturbed(p.pixels, rng)))
        out.append(("frontal, framed", framed(p.pixels, rng)))
        out.append(("frontal, gamma 0.5 or 2", p.pixels ** float(rng.choice([0.5, 2.0]))))
        out.append(("frontal inverted, framed", framed(1 - p.pixels, rng)))
        out.append(("frontal mirrored", np.ascontiguousarray(p.pixels[:, ::-1])))
    for p in [p for p in pictures if p.kind == "lateral"]:
        out.append(("lateral inverted", 1 - p.pixels))
        out.append(("lateral turned", turned(p.pixels, int(rng.integers(1, 4)))))
    out += [("drawings", drawing(rng)) for _ in range(300)]
    return out


def interval(k: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval of k out of n."""
    return (
        float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0,
        float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0,
    )


def table(judged: Sequence[tuple[str, NDArray[np.float64]]]) -> list[dict[str, object]]:
    """A row a group: how many, how many refused (with a 95 % interval) and warned of, and taken for what."""
    groups: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for group, probabilities in judged:
        groups[group].append(probabilities)
    rows: list[dict[str, object]] = []
    for group, values in sorted(groups.items()):
        p = np.stack(values)
        refused = int((p[:, 0] < THRESHOLDS["refuse"]).sum())
        low, high = interval(refused, len(p))
        rows.append(
            {
                "group": group,
                "n": len(p),
                "refused": refused,
                "refused_share": round(refused / len(p), 4),
                "interval": [round(low, 4), round(high, 4)],
                "warned": int((p[:, 0] < THRESHOLDS["warn"]).sum()) - refused,
                "taken_for": dict(Counter(KINDS[int(i)] for i in p.argmax(1)).most_common()),
            }
        )
    return rows


def show(rows: Sequence[dict[str, object]]) -> None:
    print("| group | n | refused | 95 % interval | warned | taken for |\n|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]  # type: ignore[misc]
        taken = ", ".join(f"{kind} {n}" for kind, n in row["taken_for"].items())  # type: ignore[attr-defined]
        share = f"{row['refused']} ({100 * float(str(row['refused_share'])):.1f} %)"
        span = f"{100 * low:.1f} to {100 * high:.1f} %"
        print(f"| {row['group']} | {row['n']} | {share} | {span} | {row['warned']} | {taken} |")


def judge(
    pairs: Sequence[tuple[str, Pixels]], tensors: dict[str, NDArray[np.float32]]
) -> list[tuple[str, NDArray[np.float64]]]:
    return [(group, frontal.forward(thumbnail(pixels), tensors)) for group, pixels in pairs]


def cross_validated(pictures: Sequence[Picture]) -> list[dict[str, object]]:
    """Every Cohen film that may be fitted on, judged by one network that saw no film of its patient."""
    mine = [p for p in pictures if p.fit]
    patients = sorted({p.patient for p in mine if p.source == "cohen"})
    # Patients with laterals are dealt first, so that each fold gets its share of them.
    lateral = {p.patient for p in mine if p.kind == "lateral"}
    order = np.random.default_rng(5).permutation(patients).tolist()
    order.sort(key=lambda patient: patient not in lateral)
    folds = [frozenset(order[fold::FOLDS]) for fold in range(FOLDS)]
    judged: list[tuple[str, NDArray]] = []
    nets = fitted(mine, folds, 100, FOLD_STEPS, FOLD_BATCH)
    for net, patients_out in zip(nets, folds, strict=True):
        tensors = folded([net])
        pairs = [(f"{p.kind}: cohen, cross-validated", p.pixels) for p in mine if p.patient in patients_out]
        judged += judge(pairs, tensors)
    return table(judged)


def write(pictures: Sequence[Picture]) -> None:
    """Fit, and write the weights and how they came about."""
    from safetensors.numpy import save_file

    mine = [p for p in pictures if p.fit]
    nets = fitted(mine, [frozenset()] * MEMBERS, 0, STEPS, BATCH)
    save_file({k: v.astype(np.float16) for k, v in folded(nets).items()}, HOME / "frontal.safetensors")
    counts = Counter(f"{p.kind}: {p.source}" for p in mine)
    note(
        what="Weights of hilum.images.frontal: does a picture look like an upright frontal chest film?",
        fit="python -m benchmarks.quality_gate fit",
        kinds=list(KINDS),
        weights_sha256=hashlib.sha256((HOME / "frontal.safetensors").read_bytes()).hexdigest(),
        fitted_on=dict(sorted(counts.items())),
        fitted_on_films_sha256=hashlib.sha256("\n".join(sorted(p.name for p in mine)).encode()).hexdigest(),
        licence=LICENCE,
        thresholds=THRESHOLDS,
    )


def note(**facts: object) -> None:
    """Add to, or replace in, the record beside the weights."""
    path = HOME / "frontal.json"
    record = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(record | facts, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fit", "cross-validate", "table"])
    parser.add_argument("--photos", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pictures = gather(arguments.photos)
    match arguments.what:
        case "fit":
            write(pictures)
        case "cross-validate":
            rows = cross_validated(pictures)
            note(cross_validated=rows)
            show(rows)
        case "table":
            rows = table(judge(trials([p for p in pictures if not p.fit]), frontal.weights()))
            note(kept_out=rows)
            show(rows)


if __name__ == "__main__":
    main()
