"""The documentation tells the truth: its examples run, its links lead somewhere, and its tables leave nothing out.

Pages are read from top to bottom. A `python` block is run; a `yaml` block whose first line is `# NAME` is written to NAME;
in a `sh` block every line that begins with `hilum` is run, in this process, and must end with 0, or with what its comment
`# ends with N` says. Commands that need a public set (a path under `/data`, a recipe of the repository) are only parsed.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from hilum.analysis import analyzer, folder
from hilum.analysis.render import report_schema
from hilum.analysis.workers import Failed, failure
from hilum.bundles import builtin_folder, files, save
from hilum.bundles.info import Info
from hilum.cli import app
from hilum.datasets import pixel_store, registry
from hilum.datasets.augment import Augmentation
from hilum.errors import HilumError
from hilum.images import preparation
from hilum.learning import recipe, recipe_losses
from hilum.models import registry as models
from tests.bundles_for_tests import classifier_bundle, unet_bundle

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BEFORE = {
    "train": "data",
    "pretrain": "train",
    "evaluate": "train",
    "bundles": "evaluate",
    "small-devices": "evaluate",
}
"""The page whose examples a page goes on from."""
NOT_OURS = ("pip", "make")
NEEDS_DATA = re.compile(r"(^| |=|')(/data/|recipes/|\S*nih14\.parquet)")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: Any = typer.main.get_command(app)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def commands(page: Path) -> list[str]:
    return [
        line
        for kind, text in blocks(page)
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("hilum ")
    ]


class Walk:
    """Runs a page once, after the page it goes on from; `analyze` and `read` share the folder with none."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.done: set[str] = set()

    def run(self, page: str) -> None:
        if page in self.done:
            return
        if page in BEFORE:
            self.run(BEFORE[page])
        here = self.place / (page if page in ("analyze", "read", "heatmaps", "speed", "README") else "walk")
        here.mkdir(exist_ok=True)
        os.chdir(here)
        self.done.add(page)
        names: dict[str, Any] = {"__name__": "__main__"}
        for kind, text in blocks(DOCS / f"{page}.md"):
            match kind:
                case "python":
                    exec(compile(text, f"{page}.md", "exec"), names)
                case "yaml":
                    first = text.splitlines()[0]
                    assert first.startswith("# "), f"{page}.md: a yaml block begins with the name of its file"
                    Path(first.removeprefix("# ")).write_text(text)
                case "sh":
                    for line in text.splitlines():
                        command(line)


def command(line: str) -> None:
    words = shlex.split(line, comments=True)
    if not words or words[0] in NOT_OURS:
        return
    assert words[0] == "hilum", f"not a command that is tested: {line}"
    parse(words[1:])
    if NEEDS_DATA.search(line):
        return
    result = CliRunner().invoke(app, words[1:])
    code = 1 if isinstance(result.exception, HilumError) else result.exit_code
    wanted = re.search(r"# ends with (\d+)", line)
    said = f"{result.output}\n{result.exception!r}"
    assert code == (int(wanted[1]) if wanted else 0), f"{line}\n{said}"


def parse(words: Sequence[str]) -> None:
    """Options, arguments and their number against the real command; typer's usage error where they do not fit."""
    found, rest = COMMANDS, list(words)
    while hasattr(found, "commands") and rest and rest[0] in found.commands:
        found, rest = found.commands[rest[0]], rest[1:]
    found.make_context("hilum", rest)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A folder to walk in, without worker processes, each of which would import torch again."""
    before, threads, level = Path.cwd(), torch.get_num_threads(), logging.getLogger("hilum").level
    place = tmp_path_factory.mktemp("docs")
    builtin = with_stand_ins(place / "builtin")
    build = pixel_store.build

    def alone(*given: Any, **options: Any) -> pixel_store.PixelStore:
        return build(*given, **{**options, "workers": 0, "progress": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "builtin_folder", lambda: builtin)
        patch.setattr(pixel_store, "build", functools.wraps(build)(alone))
        patch.setattr(folder, "run_each", here)
        patch.setattr(models, "_builders", {name: models._builders[name] for name in models.names()})
        patch.setattr(analyzer, "_builtin", functools.cache(lambda: analyzer.Analyzer()))
        torch.set_num_threads(1)
        yield Walk(place)
    os.chdir(before)
    torch.set_num_threads(threads)
    logging.getLogger("hilum").setLevel(level)
    torch.use_deterministic_algorithms(False)


def with_stand_ins(place: Path) -> Path:
    """The built-in bundles; one that this checkout lacks is a small one with random weights."""
    stand_ins = {"findings": classifier_bundle, "lungs": unet_bundle, "pneumonia": classifier_bundle}
    place.mkdir()
    for name, make in stand_ins.items():
        if (builtin_folder() / name).is_dir():
            (place / name).symlink_to(builtin_folder() / name)
        else:
            save(make(name), place / name)
    return place


def here(
    make: Callable[[], Callable[[Any], Any]], items: Sequence[Any], *_: Any
) -> Iterator[tuple[int, Any]]:
    """`workers.run_each` without its processes, which its own tests are for."""
    work = make()
    for index, item in enumerate(items):
        try:
            outcome: Any = work(item)
        except HilumError as error:
            outcome = failure(error)
        assert not isinstance(outcome, Failed) or outcome.trace is None
        yield index, outcome


@pytest.mark.parametrize("page", [p.stem for p in PAGES])
def test_the_examples_run(page: str, walk: Walk) -> None:
    walk.run(page)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "README.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    if not page.is_file():
        pytest.skip(f"there is no {page.name}")
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles], anchor


def readme_commands() -> list[str]:
    """What the README's examples say, and its tables beside their figures; `...` in a command stands for the row above."""
    text = (ROOT / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    told = [found for row in rows for found in re.findall(r"`((?:hilum|python -m) [^`]+)`", row)]
    return [*commands(ROOT / "README.md"), *told]


@pytest.mark.parametrize("line", readme_commands())
def test_a_command_of_the_readme_is_one(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "hilum":
        parse(words[1:])
        return
    source = ROOT / Path(*words[2].split(".")).with_suffix(".py")
    assert source.is_file(), line
    for option in (word.partition("=")[0] for word in words[3:] if word.startswith("--")):
        assert f'"{option}"' in source.read_text(), f"{line}: no {option}"


def test_the_gates_confusion_table_is_the_one_measured(capsys: pytest.CaptureFixture) -> None:
    from benchmarks.quality_gate import HOME, show

    known = json.loads((HOME / "frontal.json").read_text())
    show(known["kept_out"])
    page = (DOCS / "analyze.md").read_text()
    assert capsys.readouterr().out in page
    for row in known["cross_validated"]:
        assert f"{row['refused']} of {row['n']}" in " ".join(page.split()), row["group"]


def test_the_floors_that_contributors_read_of_are_those_there_are() -> None:
    from tests.test_floors import FLOORS, PACKAGE

    rows = re.findall(r"^\| (\d) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    told = {
        int(floor): {name.removesuffix(".py").rstrip("/") for name in re.findall(r"`([^`]+)`", names)}
        for floor, names in rows
    }
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert told == {f: set(rooms) & there for f, rooms in FLOORS.items() if set(rooms) & there}


def test_every_model_is_named_where_recipes_are_explained() -> None:
    models.names()  # fills the registry; a page's example may have added to it
    row = re.search(r"^\| `name` \| `timm` \|.*$", (DOCS / "train.md").read_text(), re.MULTILINE)
    assert row is not None
    ours = {name for name, builder in models._builders.items() if builder.__module__.startswith("hilum.")}
    assert ours - {"ensemble"} <= set(re.findall(r"`(\w+)`", row[0]))


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "decisions"], ids=lambda p: p.stem)
def test_every_page_says_once_what_it_is_not_for(page: Path) -> None:
    words = " ".join(page.read_text().lower().split())
    assert len(re.findall(r"research use only.{0,9} not a medical device", words)) == 1
    assert not re.search(r"/work\b|/tmp/|/root/", words)


def test_every_part_of_a_recipe_is_explained() -> None:
    parts = [
        *(part for part in vars(recipe).values() if _is_model(part) and part.__module__ == recipe.__name__),
        *(part for part in vars(preparation).values() if _is_model(part)),
        *get_args(get_args(recipe_losses.AnyLoss)[0]),
        Augmentation,
    ]
    page = (DOCS / "train.md").read_text()
    assert len(parts) > 20
    for part in parts:
        for name in part.model_fields:
            assert re.search(rf"\b{name}\b", page), f"{part.__name__}.{name}"


def test_every_key_of_a_report_and_of_a_bundle_is_explained() -> None:
    schema = report_schema()
    page = (DOCS / "analyze.md").read_text()
    for properties in (
        schema["properties"],
        *(schema["properties"][key]["properties"] for key in ("source", "lungs", "detection")),
        *(schema["properties"][key]["items"]["properties"] for key in ("warnings", "bundles")),
        schema["properties"]["detection"]["properties"]["views"]["items"]["properties"],
        schema["properties"]["detection"]["properties"]["normal"]["properties"],
        *(schema["$defs"][kind]["properties"] for kind in ("finding", "box")),
    ):
        for key in properties:
            assert f"`{key}`" in page, key
    for key in Info.model_fields:
        assert f"`{key}`" in (DOCS / "bundles.md").read_text(), key


def test_every_notice_is_explained() -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "src" / "hilum").rglob("*.py")))
    raised = set(re.findall(r"Notice\(\s*\"([a-z_]+)\"", code))
    assert len(raised) > 20
    pages = (DOCS / "read.md").read_text() + (DOCS / "analyze.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", pages))
    assert raised <= explained, raised - explained


def test_every_source_and_its_options_are_in_the_table() -> None:
    page = (DOCS / "data.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    table = dict(re.findall(r"^\| `(\w+)` \| (.*)$", page.split("## A manifest")[0], re.MULTILINE))
    assert set(registry.sources()) <= set(rows)
    for name, source in registry.sources().items():
        for option in source.options:
            assert f"`{option}`" in table[name], f"{name}: {option}"


def test_every_option_of_a_command_that_a_page_tabulates_exists() -> None:
    """And the other way round: the page tells every option."""
    for name in ("analyze", "evaluate"):
        told = set(re.findall(r"^\| `(--[a-z-]+)", (DOCS / f"{name}.md").read_text(), re.MULTILINE))
        known = {option for p in COMMANDS.commands[name].params for option in p.opts if option[:2] == "--"}
        assert told == known - {"--help"}, name


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel) and bool(part.model_fields)
