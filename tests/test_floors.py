"""The house (DESIGN): a lower floor imports nothing of a higher one, and rooms on one floor nothing of each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "hilum"
FLOORS = {
    0: ("findings", "boxes", "errors", "progress"),
    1: ("images", "models", "evaluation"),
    2: ("datasets", "bundles"),
    3: ("learning", "analysis"),
    4: ("studies", "audit", "clinic", "cluster"),
    5: ("service",),
    6: ("cli",),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
# The package's own file looks names up late and imports nothing; `hilum.__version__` is below everything. `__main__` is the
# way in for `python -m hilum`, above everything.
ROOT = "__init__"
ROOF = "__main__"


def imports(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Every module that `source` imports, at the top, inside a function or for types, by `import`, `from` or a string
    handed to `import_module`; `package` is the package that the source lies in, as ("hilum", "images")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            yield from (
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


def rooms(source: str, package: tuple[str, ...]) -> set[str]:
    """The rooms of Hilum that `source` imports."""
    parts = (module.split(".") for module in imports(source, package))
    return {p[1] for p in parts if p[0] == "hilum" and len(p) > 1 and p[1] in FLOOR_OF}


def faults(room: str, source: str, package: tuple[str, ...]) -> list[str]:
    """Rooms that `room` must not import but does."""
    return sorted(
        r for r in rooms(source, package) if r != room and FLOOR_OF[r] >= FLOOR_OF[room] and FLOOR_OF[r] > 0
    )


def modules() -> list[Path]:
    return sorted(
        p for p in PACKAGE.rglob("*.py") if p not in (PACKAGE / f"{ROOT}.py", PACKAGE / f"{ROOF}.py")
    )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    assert parts[0] in FLOOR_OF, f"{parts[0]} stands on no floor: add it to DESIGN's house and to FLOORS"
    found = faults(parts[0], path.read_text(encoding="utf-8"), ("hilum", *parts[:-1]))
    assert not found, f"{path.name} (floor {FLOOR_OF[parts[0]]}) imports {', '.join(found)}"


def test_there_is_a_house_to_check():
    assert len(modules()) > 30


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("images", "from hilum.bundles import load", ["bundles"]),
        ("images", "def f():\n    import hilum.analysis.report", ["analysis"]),
        ("datasets", "from hilum import bundles", ["bundles"]),
        ("learning", "from hilum.analysis.analyzer import analyze", ["analysis"]),
        ("images", "from ..models import build", ["models"]),
        ("images", "import importlib\nimportlib.import_module('hilum.cli')", ["cli"]),
        ("analysis", "from hilum.bundles import load\nfrom hilum import __version__, errors", []),
        ("images", "from .radiograph import Radiograph\nimport numpy", []),
        ("findings", "from hilum.errors import HilumError", []),
    ],
)
def test_the_check_sees_every_kind_of_import(room, source, expected):
    assert faults(room, source, ("hilum", room)) == expected
