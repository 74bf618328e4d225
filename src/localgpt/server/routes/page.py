"""The page: `index.html` at `/`, its hashed assets beside it. Built from `web/`; needs no key to load."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from localgpt.server.access import GatewayDep

__all__ = ["Assets", "router"]

router = APIRouter(include_in_schema=False)

_NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>LocalGPT</title>
<p>LocalGPT is running, but its page has not been built.
In the source folder run <code>make page</code>.</p>"""


@router.api_route("/", methods=["GET", "HEAD"])
async def page(gateway: GatewayDep) -> Response:
    """The page, never cached: it names the assets of this version."""
    index = gateway.static_dir / "index.html"
    if not index.is_file():
        return HTMLResponse(_NOT_BUILT, status_code=503)
    return FileResponse(index, media_type="text/html", headers={"cache-control": "no-cache"})


@router.api_route("/favicon.svg", methods=["GET", "HEAD"])
async def favicon(gateway: GatewayDep) -> Response:
    """The page's icon."""
    return _file(gateway.static_dir / "favicon.svg", "image/svg+xml")


@router.api_route("/licences.txt", methods=["GET", "HEAD"])
async def licences(gateway: GatewayDep) -> Response:
    """The licences of the libraries that the page is bundled from."""
    return _file(gateway.static_dir / "licences.txt", "text/plain; charset=utf-8")


def _file(path: Path, media_type: str) -> Response:
    return FileResponse(path, media_type=media_type) if path.is_file() else Response(status_code=404)


class Assets(StaticFiles):
    """Scripts and styles, whose names change with their content: cached for a year."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """The file, marked as never changing."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response
