"""`hilum serve`: the API and the page; `hilum serve token`: who may use them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.clinic_parts import (
    BundleOption,
    DatabaseOption,
    DeliverOption,
    JsonOption,
    LargestOption,
    MemoryOption,
    SamplesOption,
    StoreOption,
    TimeoutOption,
    TlsCertOption,
    TlsKeyOption,
    WorkersOption,
)
from hilum.errors import ClinicError, MissingExtraError

app = typer.Typer(invoke_without_command=True, no_args_is_help=False)
tokens = typer.Typer(help="Tokens: who may use the service, and for what.", no_args_is_help=True)
app.add_typer(tokens, name="token")


@app.callback()
def serve(
    context: typer.Context,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            "-s",
            metavar="DIR",
            envvar="HILUM_STORE",
            help="Where films, results and the ledger lie.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for one that is free.")] = 8080,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-tls", help="A proxy before this does TLS: other addresses may be listened on without."
        ),
    ] = False,
    archive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="A DICOMweb archive that studies may be asked of; `hilum watch` fetches them."
        ),
    ] = None,
    names: Annotated[bool, typer.Option(help="Show a patient's name and number in the reading view.")] = True,
    largest: LargestOption = 256,
    database: DatabaseOption = None,
    workers: WorkersOption = 1,
    deliver: DeliverOption = None,
    bundle: BundleOption = None,
    samples: SamplesOption = 30,
    timeout: TimeoutOption = 300.0,
    memory: MemoryOption = 6.0,
) -> None:
    """Serve the API and the page: hand films in, read them in a browser, fetch results.

    Whoever calls needs a token; the first one is made by `hilum serve token make`.

    Examples:

      hilum serve token make me --store clinic --scope submit --scope read --scope review

      hilum serve --store clinic

      hilum serve --store clinic --host 0.0.0.0 --port 8443 --tls-cert cert.pem --tls-key key.pem
    """
    if context.invoked_subcommand is not None:
        return
    if store is None:
        raise typer.BadParameter("it is needed.", param_hint="--store")
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("give both --tls-cert and --tls-key.", param_hint="--tls-cert")
    if not (_loopback(host) or tls_cert is not None or behind_proxy):
        raise ClinicError(
            "tokens and films would cross the network in the clear",
            mend="Give --tls-cert and --tls-key, or --behind-tls where a proxy does TLS.",
        )
    from hilum.cli.clinic_parts import at_work, opened, stopped_by_signals

    there, ledger = opened(store, database)
    try:
        from hilum.service.app import create_app
        from hilum.service.server import Server
    except ImportError:
        raise MissingExtraError.named("serve", "the service") from None
    from hilum.clinic.ledger import Tokens, Trail
    from hilum.service.desk import Desk
    from hilum.service.settings import Settings

    secure = tls_cert is not None or behind_proxy
    settings = Settings(film=largest * 2**20, archives=tuple(archive or ()), secure=secure, names=names)
    if not Tokens(ledger).all():
        typer.echo(
            f"There is no token yet: hilum serve token make NAME --store {store} --scope submit --scope read"
            " --scope review",
            err=True,
        )
    with stopped_by_signals() as stop, Desk(there, ledger, settings) as desk:
        server = Server(create_app(desk), host, port, tls_cert, tls_key)
        with at_work(there, ledger, stop, workers, deliver, bundle, samples, timeout, memory):
            port = server.start()
            scheme = "https" if tls_cert is not None else "http"
            Trail(ledger).add("started", "serve", f"{host}:{port}")
            typer.echo(f"Hilum is at {scheme}://{f'[{host}]' if ':' in host else host}:{port}")
            try:
                while not stop.wait(1.0):
                    pass
            finally:
                server.stop()
                Trail(ledger).add("stopped", "serve", f"{host}:{port}")


@tokens.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Whose it is: it stands in the trail and under readings.")],
    store: StoreOption,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="submit, read, review or admin; repeat it for several. Only `read` without it."),
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Days until it ends.")] = 365,
    database: DatabaseOption = None,
) -> None:
    """Make a token and show it, once: only its hash is kept.

    Example: hilum serve token make anna --store clinic --scope read --scope review
    """
    from hilum.cli.clinic_parts import opened, user
    from hilum.clinic.ledger import Tokens

    _, ledger = opened(store, database)
    typer.echo(Tokens(ledger).make(name, tuple(scope or ("read",)), days, user()))


@tokens.command("list")
def list_(store: StoreOption, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show whose tokens there are, never the tokens.

    Example: hilum serve token list --store clinic
    """
    import json
    import time
    from dataclasses import asdict
    from datetime import datetime

    from hilum.cli.clinic_parts import opened
    from hilum.clinic.ledger import Tokens

    _, ledger = opened(store, database)
    found = Tokens(ledger).all()
    if as_json:
        typer.echo(json.dumps([asdict(token) for token in found]))
        return
    for token in found:
        over = token.expires is not None and token.expires <= time.time()
        until = (
            "no end" if token.expires is None else f"until {datetime.fromtimestamp(token.expires):%Y-%m-%d}"
        )
        state = "revoked" if token.revoked else "over" if over else until
        typer.echo(f"{token.name}  {' '.join(token.scopes)}  {state}")


@tokens.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Whose.")], store: StoreOption, database: DatabaseOption = None
) -> None:
    """From now on the token is refused; sessions that it began end with it.

    Example: hilum serve token revoke anna --store clinic
    """
    from hilum.cli.clinic_parts import opened, user
    from hilum.clinic.ledger import Tokens

    _, ledger = opened(store, database)
    Tokens(ledger).revoke(name, user())


def _loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
