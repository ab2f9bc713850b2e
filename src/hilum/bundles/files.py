"""A bundle's files on disk: a folder or one `.hilum` zip, read within bounds and without leaving its own names."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from hilum.errors import BundleError

logger = logging.getLogger(__name__)

EXPORTED = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "int8": ("model.int8.xml", "model.int8.bin"),
}
"""The files of each exported form of a model."""

MEMBERS = (
    "bundle.json",
    "weights.safetensors",
    "card.md",
    "patients.bin",
    "recipe.yaml",
    *(name for names in EXPORTED.values() for name in names),
)
LARGEST = 4 << 30  # bytes a member; a ViT-L is 1.2 GB
ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # so that the same bundle gives the same file


def builtin_folder() -> Path:
    """Where the bundles that Hilum ships lie: in the wheel, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "builtin"
    return shipped if shipped.is_dir() else package.parents[1] / "bundles"


def builtin_names() -> list[str]:
    """Names of the built-in bundles, sorted."""
    return sorted(p.parent.name for p in builtin_folder().glob("*/bundle.json"))


def locate(path: str | Path) -> Path:
    """The folder or file of a bundle given by path or by a built-in's name. Raises BundleError.

    A folder of a built-in's name that holds no bundle, such as one of its results, does not stand in for it.
    """
    given = Path(path)
    named = str(path) in builtin_names()
    if given.exists() and not (named and given.is_dir() and not (given / "bundle.json").is_file()):
        return given
    if (aside(given) / "bundle.json").is_file():
        logger.warning("%s: a save was stopped half-way; the bundle from before it is read", given)
        return aside(given)
    if named:
        return builtin_folder() / str(path)
    raise BundleError(
        "there is no such bundle",
        path=path,
        mend=f"Give a path, or a built-in: {', '.join(builtin_names()) or 'none'}",
    )


def read(place: Path) -> dict[str, bytes]:
    """The bundle's members by name. Other files beside them are not opened. Raises BundleError."""
    if place.is_dir():
        return {name: _bounded(place / name) for name in MEMBERS if (place / name).is_file()}
    if not zipfile.is_zipfile(place):
        raise BundleError(
            "this is not a bundle (neither a folder nor a .hilum file)",
            path=place,
            mend="A checkpoint of another program cannot be opened: it may execute code",
        )
    try:
        with zipfile.ZipFile(place) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            found = {}
            for name in MEMBERS:
                if name not in entries:
                    continue
                entry = entries[name]
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > LARGEST:
                    raise BundleError(f"its member {name} is compressed or too large", path=place)
                found[name] = archive.read(entry)
            return found
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
    ) as error:  # the last: it asks for a password
        raise BundleError(
            f"it cannot be unpacked ({str(error) or 'it ends too early'})", path=place
        ) from error


def write(place: Path, members: dict[str, bytes]) -> Path:
    """Write all members beside `place`, then move them there, so that a kill leaves the old bundle or the new one.

    A file is replaced in one step. A folder takes two renames, between which the old bundle lies `aside`, where `locate`
    finds it. Raises BundleError where there is no room, or where `place` holds something that is no bundle.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".hilum":
            return _write_zip(place, members)
        return _write_folder(place, members)
    except OSError as error:
        raise BundleError(
            f"the bundle cannot be written ({error.strerror or error})",
            path=place,
            mend="What was there before is as it was",
        ) from error


def aside(place: Path) -> Path:
    """Where a bundle's folder lies for the moment in which a new one takes its name."""
    return place.with_name(f".{place.name}-old")


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()


def _write_folder(place: Path, members: dict[str, bytes]) -> Path:
    old = aside(place)
    if not place.exists() and old.is_dir():  # an earlier save was stopped between its two renames
        old.rename(place)
    _refuse_strangers(place)
    work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        work.chmod(0o755)
        for name, content in members.items():
            (work / name).write_bytes(content)
            _settle(work / name)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        work.rename(place)
    except BaseException:
        _undo(place, old, work)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return place


def _undo(place: Path, old: Path, work: Path) -> None:
    """Back to what was before a save that did not come to its end."""
    shutil.rmtree(work, ignore_errors=True)
    if not place.exists() and old.is_dir():
        os.rename(old, place)


def _refuse_strangers(place: Path) -> None:
    """A save replaces a bundle, or takes an empty place; a folder of anything else is not swept away."""
    is_bundle = (place / "bundle.json").is_file()
    if not is_bundle and (any(place.iterdir()) if place.is_dir() else place.exists()):
        raise BundleError(
            "something that is no bundle lies here, and would be lost", path=place, mend="Name another place"
        )


def _write_zip(place: Path, members: dict[str, bytes]) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    work = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
                for member, content in members.items():
                    archive.writestr(zipfile.ZipInfo(member, ZIP_DATE), content)
            out.flush()
            os.fsync(out.fileno())
        work.chmod(0o644)
        work.replace(place)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    return place


def _settle(path: Path) -> None:
    """On the disk before a rename can name it: else a power cut leaves the name and no content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise BundleError(f"its {path.name} is too large", path=path.parent)
    return path.read_bytes()
