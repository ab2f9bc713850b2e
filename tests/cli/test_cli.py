"""The command line as a user meets it: help that teaches, quick to load, errors on one line, exit codes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hilum import __version__, cli
from hilum.bundles import save
from tests.bundles_for_tests import classifier_bundle

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "lightning",
    "polars",
    "timm",
    "torchvision",
    "matplotlib",
    "sklearn",
    "scipy",
    "cv2",
    "pydicom",
    "numpy",
)


def commands(
    app: typer.core.TyperGroup | None = None, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Every command by the words that call it."""
    group = app or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name)


def run(*words: object) -> tuple[int, str]:
    """Exit code and output of a command that is expected to run in this process."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def main(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of the whole program, as the shell sees it."""
    monkeypatch.setattr(sys, "argv", ["hilum", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_all_commands_are_there():
    first = {words[0] for words in commands()}
    assert {"analyze", "train", "evaluate", "data", "bundle"} <= first
    assert {("bundle", "list"), ("bundle", "show"), ("bundle", "verify"), ("data", "split")} <= set(
        commands()
    )


def test_help_lists_every_group():
    code, text = run("--help")
    assert code == 0
    assert all(words[0] in text for words in commands())
    assert "not a medical device" in text
    assert run("-h") == (0, text)


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_help_has_an_example_that_names_the_command(words: tuple[str, ...]):
    code, text = run(*words, "--help")
    assert code == 0
    assert f"hilum {' '.join(words)} " in text.partition("Example")[2], text


def test_help_and_import_load_nothing_heavy():
    """Modules are counted, not seconds."""
    script = (
        "import sys\n"
        "import hilum\n"
        "from hilum import cli\n"
        "sys.argv = ['hilum', '--help']\n"
        "try:\n    cli.main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_version():
    assert run("--version") == (0, f"hilum {__version__}")


def test_a_command_that_is_not_there_is_a_usage_error(monkeypatch: pytest.MonkeyPatch):
    assert main(["frobnicate"], monkeypatch) == 2
    assert main(["train"], monkeypatch) == 2
    assert main(["evaluate", "x", "y"], monkeypatch) == 2  # no --out


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return save(classifier_bundle("toy"), tmp_path / "toy.hilum")


def test_bundle_show_and_verify(bundle: Path):
    code, text = run("bundle", "show", bundle)
    assert code == 0
    assert "Random weights" in text
    assert "Cardiomegaly" in text
    assert "not a medical device" in text.lower()
    code, text = run("bundle", "verify", bundle)
    assert code == 0
    assert text.startswith("toy 1.0: 4 files are as they were written")
    result = CliRunner().invoke(cli.app, ["bundle", "show", "--json", str(bundle)])
    assert json.loads(result.stdout)["name"] == "toy"


def test_bundle_list_names_every_builtin():
    from hilum.bundles import builtin_names

    code, text = run("bundle", "list")
    assert code == 0
    assert all(name[:6] in text for name in builtin_names())


def test_an_altered_bundle_fails_on_one_line(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(bytes(data))
    assert main(["bundle", "verify", str(bundle)], monkeypatch) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"hilum: {bundle}: ")
    assert "Traceback" not in err


def test_errors_are_one_line_whatever_the_names_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    forged = tmp_path / "a\nhilum: all is well\x1b[2J.yaml"
    assert main(["train", str(forged)], monkeypatch) == 1
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "\\nhilum: all is well\\x1b[2J" in err


def test_what_the_disk_refuses_is_one_line_too(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "a\nb"))

    monkeypatch.setattr("hilum.bundles.verify", full)
    assert main(["bundle", "verify", str(bundle)], monkeypatch) == 1
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err


def test_ctrl_c_has_its_own_code(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hilum.bundles.verify", stop)
    assert main(["bundle", "verify", str(bundle)], monkeypatch) == 130
    assert "Traceback" not in capfd.readouterr().err


def test_a_log_record_is_a_line():
    record = logging.LogRecord(
        "hilum", logging.WARNING, "f", 1, "%s: left out", ("x\nERROR forged\r\x1b[31m",), None
    )
    text = cli._OneLine("%(levelname)s %(message)s").format(record)
    assert text == "WARNING x\\nERROR forged\\r\\x1b[31m: left out"


def test_a_control_character_in_a_films_name_forges_no_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """A film that cannot be read, of such a name, through `hilum data store`, whose warnings name it."""
    import cv2

    from hilum.datasets import registry

    films = tmp_path / "films" / "ill"
    films.mkdir(parents=True)
    cv2.imwrite(str(films / "good.png"), np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1)))
    whole = (films / "good.png").read_bytes()
    manifest = tmp_path / "m.parquet"
    (films / "bad\nERROR forged.png").write_bytes(whole)
    registry.load("class_folders", films.parent).save(manifest)
    (films / "bad\nERROR forged.png").write_bytes(whole[:40])
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    out = tmp_path / "store"
    main(["data", "store", str(manifest), "--out", str(out), "--size", "16", "--workers", "0"], monkeypatch)
    err = capfd.readouterr().err
    assert "bad\\nERROR forged" in err
    assert not [line for line in err.splitlines() if line.startswith("ERROR")]


def test_missing_lightning_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in [m for m in sys.modules if m.startswith("hilum.learning.")]:
        package, _, own = name.rpartition(".")
        monkeypatch.setattr(
            sys.modules[package], own, sys.modules[name]
        )  # put back too: an import below sets another
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x")
    result = CliRunner().invoke(cli.app, ["train", str(recipe)])
    assert result.exception is not None
    assert "pip install 'hilum[train]'" in str(result.exception)
