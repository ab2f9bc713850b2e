"""The app: routers, limits, errors, and counts of answers, put together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hilum import __version__
from hilum.bundles.card import RESEARCH_USE
from hilum.service import (
    pages,
    problems,
    routes_films,
    routes_results,
    routes_reviews,
    routes_state,
    routes_stow,
)
from hilum.service.counts import Counts
from hilum.service.desk import Desk
from hilum.service.limits import Limits
from hilum.service.problems import API


def create_app(desk: Desk) -> FastAPI:
    """The service on a desk, which the caller closes."""
    app = FastAPI(
        title="Hilum",
        version=__version__,
        description=f"Chest films in, findings out. {RESEARCH_USE}",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        generate_unique_id_function=_identity,
        separate_input_output_schemas=False,
    )
    app.state.desk = desk
    problems.install(app)
    for routes in (routes_films, routes_results, routes_reviews, routes_state):
        app.include_router(routes.router, prefix=API)
    app.include_router(routes_stow.router)
    app.include_router(routes_state.open_router)
    app.include_router(pages.router)
    app.add_middleware(_Counted, counts=desk.counts)
    app.add_middleware(Limits, settings=desk.settings)
    return app


def _identity(route: APIRoute) -> str:
    return route.name


class _Counted:
    """Counts answers by the route that gave them; a path without one counts as `none`, so that no caller makes names."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self.app, self.counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route: Any = scope.get("route")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                self.counts.add(method, getattr(route, "path", "none"), message["status"])
            await send(message)

        await self.app(scope, receive, counted if scope["type"] == "http" else send)
