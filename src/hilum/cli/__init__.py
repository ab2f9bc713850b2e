"""The command line: one file a command group, each thin. Heavy imports happen inside commands, so `--help` is quick."""

from __future__ import annotations

import logging
import sys

import typer

from hilum import __version__
from hilum.cli import (
    analyze,
    audit,
    boxes,
    bundle,
    data,
    deidentify,
    detect,
    evaluate,
    models,
    node,
    queue,
    reproduce,
    serve,
    synthesise,
    train,
    watch,
    worker,
)
from hilum.errors import HilumError, one_line

app = typer.Typer(
    name="hilum",
    help="Hilum reads chest radiographs. Research use only; not a medical device.\n\n"
    "Example: hilum analyze film.dcm --out reports",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("analyze")(analyze.analyze)
app.command("detect")(detect.detect)
app.command("deidentify")(deidentify.deidentify)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("synthesise")(synthesise.synthesise)
app.command("audit")(audit.audit)
app.command("reproduce")(reproduce.reproduce)
app.command("node")(node.node)
app.command("watch")(watch.watch)
app.command("worker")(worker.worker)
app.add_typer(serve.app, name="serve")
app.add_typer(queue.app, name="queue")
app.add_typer(data.app, name="data")
app.add_typer(boxes.app, name="boxes")
app.add_typer(bundle.app, name="bundle")
app.add_typer(models.app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hilum {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more of what happens."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class _OneLine(logging.Formatter):
    """A record is a line, whatever the file names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def main() -> None:
    """Run the command line; a known error becomes one line on stderr and exit code 1."""
    try:
        app()
    except HilumError as error:
        typer.secho(f"hilum: {error}", fg="red", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.secho("hilum: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # no room, no permission, a file where a folder should be
        typer.secho(f"hilum: {one_line(str(error))}", fg="red", err=True)
        sys.exit(1)
