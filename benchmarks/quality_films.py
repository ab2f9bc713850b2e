"""Pictures to fit and judge the quality gate on: real films by source, and things that are not chest films.

Every picture is float32 (h, w) in [0, 1]. Real films come from the data folder (HILUM_DATA), other
modalities from `pydicom` and `pydicom-data`, photographs from the sample images of scikit-learn and
matplotlib; the rest is drawn here.
"""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images.frontal import Pixels

ROOT = Path(os.environ.get("HILUM_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")
CACHE_SIDE = 128


@dataclass(frozen=True)
class Picture:
    """One picture: `kind` is `frontal`, `lateral` or `other`; `fit` says whether it may be fitted on."""

    name: str
    source: str
    kind: str
    patient: str
    fit: bool
    pixels: Pixels


def films(per_source: int = 1500) -> Iterator[Picture]:
    """Real chest films.

    Fitted on: NIH outside the official test set, Kermany's `train`, Shenzhen, and those Cohen films whose
    licence is known and allows derivatives. Only judged: NIH's official test set, Kermany's `test`,
    VinBigData, COVID-19 Radiography (a collection from many hospitals, part of it films of Cohen's), and
    Cohen's films with a blank or ND licence.
    """
    data = ROOT
    names = gzip.decompress((data / "nih14/train_val_list.txt.gz").read_bytes()).decode().split()
    listed = {Path(name).stem for name in names}
    yield from _folder(
        data / "nih14/images", "nih14", lambda p: p.stem in listed, lambda p: p.stem.split("_")[0], 9999
    )
    yield from _folder(data / "kermany/train", "kermany", lambda p: True, lambda p: p.stem, per_source)
    yield from _folder(data / "kermany/test", "kermany", lambda p: False, lambda p: p.stem, 9999)
    yield from _folder(data / "lungs_shenzhen/images", "shenzhen", lambda p: True, lambda p: p.stem, 9999)
    yield from _folder(data / "vinbig/images", "vinbig", lambda p: False, lambda p: p.stem, 9999)
    yield from _folder(
        data / "covid_radiography/images", "covid_radiography", lambda p: False, lambda p: p.stem, 9999
    )
    yield from _cohen(data / "cohen")


def _cohen(folder: Path) -> Iterator[Picture]:
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    closed = {row["patientid"] for row in rows if not _may_fit(row["license"])}
    for row in rows:
        path = folder / "images" / (row["shared_file"] or row["filename"])
        if row["view"] not in ("PA", "AP", "AP Supine", "L") or not path.is_file():
            continue
        kind = "lateral" if row["view"] == "L" else "frontal"
        # A patient with one film that may not be fitted on is kept out whole: what is judged is unseen.
        yield Picture(
            path.stem, "cohen", kind, f"cohen-{row['patientid']}", row["patientid"] not in closed, _read(path)
        )


def _may_fit(licence: str) -> bool:
    return licence.startswith("CC") and "ND" not in licence


def _folder(
    folder: Path, source: str, fit: Callable[[Path], bool], patient: Callable[[Path], str], most: int
) -> Iterator[Picture]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".jpeg", ".png"))
    random.Random(0).shuffle(paths)
    for path in paths[:most]:
        yield Picture(path.stem, source, "frontal", f"{source}-{patient(path)}", fit(path), _read(path))


def _read(path: Path) -> Pixels:
    return small(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255)


def small(pixels: Pixels) -> Pixels:
    """At most `CACHE_SIDE` pixels a side, shape kept."""
    scale = min(1.0, CACHE_SIDE / max(pixels.shape))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)


# Other modalities and body parts, one file a picture: the third column says whether it is fitted on.
_OTHER = (
    ("eCT_Supplemental.dcm", "ct", True),
    ("explicit_VR-UN.dcm", "ct", True),
    ("J2K_pixelrep_mismatch.dcm", "ct", True),
    ("693_UNCR.dcm", "ct", False),
    ("CT_small.dcm", "ct", False),
    ("MR-SIEMENS-DICOM-WithOverlays.dcm", "mr", True),
    ("MR_small.dcm", "mr", True),
    ("MR2_UNCR.dcm", "mr", False),
    ("JPEG2000.dcm", "nm", True),
    ("examples_palette.dcm", "us", True),
    ("US1_UNCR.dcm", "us", True),
    ("JPGLosslessP14SV1_1s_1f_8b.dcm", "us", False),
    ("OBXXXX1A.dcm", "us", False),
    ("RG3_UNCR.dcm", "extremity", False),
    ("RG1_UNCR.dcm", "rg1", False),
)


def others() -> Iterator[Picture]:
    """Slices and films of other modalities and body parts, and RG1, a real chest film in DICOM."""
    import pydicom
    from pydicom.data import get_testdata_file

    for name, source, fit in _OTHER:
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        dataset = pydicom.dcmread(path)
        array = np.asarray(dataset.pixel_array, np.float32)
        if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
            array = array[len(array) // 2]
        if array.ndim == 3:
            array = array.mean(-1)
        low, high = np.percentile(array, [0.5, 99.5])
        pixels = np.clip((array - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            pixels = 1 - pixels
        kind = "frontal" if source == "rg1" else "other"
        yield Picture(name, source, kind, name, fit, small(pixels))


def photographs(folder: Path | None = None) -> Iterator[Picture]:
    """Sample images of scikit-learn and matplotlib (fitted on), and those of `folder` (judged), in grey."""
    import matplotlib
    import sklearn

    fitted = [*Path(sklearn.__file__).parent.glob("datasets/images/*.jpg")]
    fitted += [*Path(matplotlib.get_data_path()).glob("sample_data/*.jpg")]
    judged = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg")) if folder else []
    for path in [*sorted(fitted), *judged]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if grey is not None and min(grey.shape) >= 100:
            pixels = (
                cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                if path in fitted
                else grey
            )
            pixels = pixels.astype(np.float32) / 255
            yield Picture(
                path.stem,
                "photo",
                "other",
                path.stem,
                path in fitted,
                pixels if path in fitted else small(pixels),
            )


def drawing(rng: np.random.Generator) -> Pixels:
    """Something drawn that is no chest film: a texture, a page of text, a limb, a skull, a CT slice, ..."""
    choose = (_noise, _gradient, _stripes, _page, _shapes, _limb, _limb, _hand, _skull, _belly, _slice)
    side = CACHE_SIDE
    pixels = choose[rng.integers(len(choose))](rng, side)
    if rng.random() < 0.6:
        pixels = pixels + rng.uniform(0.02, 0.25) * (_noise(rng, side) - 0.5)
    return np.clip(pixels, 0, 1).astype(np.float32)


def _noise(rng: np.random.Generator, side: int) -> Pixels:
    """Noise with a power spectrum between white and 1 / f^3 in amplitude."""
    spectrum = np.fft.rfft2(rng.normal(size=(side, side)))
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    out = np.fft.irfft2(spectrum / (np.hypot(fy, fx) + 1 / side) ** rng.uniform(0, 3), (side, side))
    return ((out - out.min()) / (np.ptp(out) + 1e-9)).astype(np.float32)


def _grid(rng: np.random.Generator, side: int) -> tuple[NDArray, NDArray]:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def _gradient(rng: np.random.Generator, side: int) -> Pixels:
    u, v = _grid(rng, side)
    value = u if rng.random() < 0.5 else np.hypot(u - rng.uniform(-0.3, 0.3), v - rng.uniform(-0.3, 0.3))
    return ((value - value.min()) / np.ptp(value)).astype(np.float32)


def _stripes(rng: np.random.Generator, side: int) -> Pixels:
    u, v = _grid(rng, side)
    wave = np.sin(u * rng.uniform(6, 120)) * (1 if rng.random() < 0.5 else np.sin(v * rng.uniform(6, 120)))
    return (0.5 + 0.5 * (np.sign(wave) if rng.random() < 0.5 else wave)).astype(np.float32)


def _page(rng: np.random.Generator, side: int) -> Pixels:
    page = np.full((4 * side, 4 * side), 255, np.uint8)
    size, letters = rng.uniform(0.4, 2.0), "abcdefghij klmnop qrstu vwxyz 0123456789"
    for line in range(int(rng.integers(1, 4)) * 15, 4 * side, int(22 * size) + 6):
        if rng.random() < 0.85:
            text = "".join(letters[i] for i in rng.integers(len(letters), size=int(rng.integers(5, 70))))
            cv2.putText(
                page, text, (20, line), cv2.FONT_HERSHEY_SIMPLEX, size, 20, max(1, int(size * 2)), cv2.LINE_AA
            )
    page = cv2.resize(page, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return page if rng.random() < 0.7 else 1 - page


def _shapes(rng: np.random.Generator, side: int) -> Pixels:
    out = np.full((side, side), rng.random(), np.float32)
    for _ in range(int(rng.integers(1, 12))):
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(4, side // 2, 2).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.random()), -1)
        else:
            cv2.rectangle(out, centre, (centre[0] + axes[0], centre[1] + axes[1]), float(rng.random()), -1)
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 4))


def _limb(rng: np.random.Generator, side: int) -> Pixels:
    """One or two bright shafts in soft tissue, with or without a joint between them."""
    u, v = _grid(rng, side)
    u = u + rng.uniform(-0.3, 0.3) * v**2
    half = rng.uniform(0.12, 0.35)
    out = np.full((side, side), rng.uniform(0, 0.15))
    out = np.where(np.abs(u) < half * (1 + 0.3 * v), rng.uniform(0.25, 0.5), out)
    joint, count = rng.uniform(-0.6, 0.6), int(rng.integers(1, 3))
    for shift in np.linspace(-0.5, 0.5, count) * half * (count > 1):
        flare = 1 + rng.uniform(0.5, 1.5) * np.exp(-(((v - joint) / 0.12) ** 2))
        bone = np.abs(u - shift) < half * rng.uniform(0.2, 0.5) / count * flare
        core = np.abs(u - shift) < half * rng.uniform(0.05, 0.15) / count
        gap = np.abs(v - joint) < rng.uniform(0, 0.02)
        out = np.where(bone & ~gap, rng.uniform(0.6, 0.9), out)
        out = np.where(core & bone & ~gap, rng.uniform(0.45, 0.65), out)
    return cv2.GaussianBlur(out.astype(np.float32), (0, 0), rng.uniform(0.8, 2.5))


def _hand(rng: np.random.Generator, side: int) -> Pixels:
    out = np.full((side, side), rng.uniform(0, 0.12), np.float32)
    palm = np.array([side / 2 + rng.uniform(-10, 10), side * rng.uniform(0.55, 0.75)])
    tissue, bone = float(rng.uniform(0.25, 0.4)), float(rng.uniform(0.6, 0.95))
    cv2.ellipse(out, palm.astype(int).tolist(), (int(side * 0.2), int(side * 0.22)), 0, 0, 360, tissue, -1)
    cv2.line(out, palm.astype(int).tolist(), (int(palm[0]), side), tissue, int(side * 0.22))
    spread = rng.uniform(0.2, 0.45)
    fingers = [
        (palm, i * spread + rng.normal(0, 0.04), side * rng.uniform(0.35, 0.5)) for i in (-2, -1, 0, 1, 2)
    ]
    for width, value in ((int(side * 0.09), tissue), (int(side * 0.04), bone)):
        for start, angle, length in fingers:
            tip = start + length * np.array([np.sin(angle), -np.cos(angle)])
            for a, b in ((0.15, 0.5), (0.54, 0.75), (0.79, 1.0)) if value == bone else ((0.0, 1.0),):
                p, q = start + a * (tip - start), start + b * (tip - start)
                cv2.line(out, p.astype(int).tolist(), q.astype(int).tolist(), value, width)
    cv2.line(
        out,
        (int(palm[0] - side * 0.05), int(palm[1] + side * 0.2)),
        (int(palm[0] - side * 0.06), side),
        bone,
        9,
    )
    cv2.line(
        out,
        (int(palm[0] + side * 0.05), int(palm[1] + side * 0.2)),
        (int(palm[0] + side * 0.06), side),
        bone,
        7,
    )
    return cv2.GaussianBlur(np.rot90(out, rng.integers(4)).copy(), (0, 0), rng.uniform(0.8, 2))


def _skull(rng: np.random.Generator, side: int) -> Pixels:
    out = np.full((side, side), rng.uniform(0, 0.12), np.float32)
    centre = (side // 2 + int(rng.integers(-12, 12)), int(side * rng.uniform(0.4, 0.5)))
    axes = (int(side * rng.uniform(0.26, 0.38)), int(side * rng.uniform(0.3, 0.4)))
    cv2.ellipse(out, (centre[0], int(side * 0.8)), (int(side * 0.2), int(side * 0.3)), 0, 0, 360, 0.5, -1)
    cv2.ellipse(out, centre, axes, 0, 0, 360, float(rng.uniform(0.45, 0.6)), -1)
    cv2.ellipse(out, centre, axes, 0, 0, 360, float(rng.uniform(0.75, 0.95)), int(rng.integers(4, 10)))
    for sign in (-1, 1):
        eye = (int(centre[0] + sign * axes[0] * 0.4), int(centre[1] + axes[1] * 0.4))
        cv2.circle(out, eye, int(side * rng.uniform(0.05, 0.09)), float(rng.uniform(0.2, 0.4)), -1)
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(1, 3))


def _belly(rng: np.random.Generator, side: int) -> Pixels:
    """Abdomen and pelvis: a spine and iliac wings in an even body with patches of gas."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    out = np.where((x / 0.46) ** 2 + (y / 0.8) ** 2 < 1, rng.uniform(0.4, 0.6), 0.04)
    out += 0.2 * (np.abs(x) < 0.05) * (0.7 + 0.3 * np.sign(np.sin(y * 2 * np.pi * 9)))
    for sign in (-1, 1):
        wing = ((x - sign * 0.22) / 0.17) ** 2 + ((y - rng.uniform(0.25, 0.35)) / 0.15) ** 2
        out += 0.2 * (wing < 1) - 0.12 * (wing < 0.5)
    for _ in range(int(rng.integers(2, 9))):
        spot = np.hypot(
            (x - rng.uniform(-0.35, 0.35)) / rng.uniform(0.03, 0.1), (y - rng.uniform(-0.4, 0.3)) / 0.05
        )
        out -= 0.2 * (spot < 1)
    return cv2.GaussianBlur(out.astype(np.float32), (0, 0), rng.uniform(1, 3))


def _slice(rng: np.random.Generator, side: int) -> Pixels:
    """An axial slice: an ellipse of tissue on black, a ring of bone, a vertebra, with or without lungs."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    wide, high = rng.uniform(0.36, 0.47), rng.uniform(0.26, 0.4)
    radius = np.hypot(x / wide, y / high)
    out = np.where(radius < 1, rng.uniform(0.4, 0.6), 0.0)
    if rng.random() < 0.6:
        for sign in (-1, 1):
            lung = ((x - sign * wide * 0.48) / (wide * 0.35)) ** 2 + ((y + 0.02) / (high * 0.68)) ** 2
            out = np.where(lung < 1, rng.uniform(0.0, 0.15), out)
    ring = (np.abs(radius - 0.85) < 0.035) & (np.sin(np.arctan2(y, x) * rng.integers(8, 14)) > 0)
    out = np.where(ring, 0.95, out)
    out = np.where(np.hypot(x / 0.06, (y - high * 0.55) / 0.06) < 1, 0.95, out)
    for _ in range(int(rng.integers(0, 8))):
        spot = np.hypot(x - rng.uniform(-wide, wide) * 0.7, y - rng.uniform(-high, high) * 0.6) < rng.uniform(
            0.01, 0.08
        )
        out = np.where(spot & (radius < 0.8), rng.uniform(0.3, 0.8), out)
    return cv2.GaussianBlur(out.astype(np.float32), (0, 0), rng.uniform(0.5, 1.5))
