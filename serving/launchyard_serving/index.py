"""The application at ``/``: the products that are served here, and a clear answer to a path of none of them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from launchyard_serving.requests.problems import EXCEPTION_HANDLERS, Problem

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Launchyard</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;
padding:0 1em}}li{{margin:.5em 0}}small a{{margin-left:1em}}</style>
<h1>Launchyard</h1><p>These products answer here.</p><ul>{items}</ul></html>
"""
ITEM = (
    '<li><a href="/{name}/">{name}</a><small><a href="/{name}/ready">ready</a><a href="/{name}/schema">schema</a>'
    '<a href="/{name}/openapi.json">OpenAPI</a></small></li>'
)


def build_index(products: Sequence[str]) -> Starlette:
    """Return the ASGI application that lists ``products``."""
    html = PAGE.format(items="".join(ITEM.format(name=escape(name)) for name in products))
    listing = to_json({"products": [{"name": name, "url": f"/{name}/"} for name in products]})

    async def show_index(request: Request) -> Response:
        headers = {"vary": "accept"}
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(html, headers=headers)
        return Response(listing, media_type="application/json", headers=headers)

    async def refuse_path(request: Request) -> Response:
        name = request.path_params["path"].split("/")[0]
        if name in products:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{name}: is starting. Try again in a moment.", retry_after_s=1
            )
        known = ", ".join(products)
        raise Problem(HTTPStatus.NOT_FOUND, f"/{name}: no product of this name is served here. Products: {known}.")

    routes = [Route("/", show_index), Route("/{path:path}", refuse_path, methods=METHODS)]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
