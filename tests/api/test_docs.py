"""docs/api.md names every route, every field of every body, every alias and every error code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgpt.server import create_app, errors
from localgpt.server.aliases import DEFAULT_ALIASES
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `?(.*?)`?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return create_app(Settings(), FakeService()).openapi()


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def fields(schema: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Names a caller may send: of the body and the query."""
    names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = content.get("schema", {})
        if "$ref" in body:
            body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        names |= set(body.get("properties", ()))
    return names


def passage(name: str) -> str:
    """What the page says about a route: its own section, else every line that names it."""
    return SECTIONS.get(name) or "\n".join(
        paragraph for paragraph in re.split(r"\n\n|(?<=\|)\n", PAGE) if f"`{name}`" in paragraph
    )


def test_every_route_and_field_is_named(schema: dict[str, Any]) -> None:
    missing = []
    for name, operation in operations(schema):
        told = set(re.findall(r"`([^`\n]+)`", passage(name)))
        if not passage(name):
            missing.append(name)
        missing += [f"{name}: {field}" for field in sorted(fields(schema, operation) - told)]
    assert not missing, f"docs/api.md says nothing about {missing}"


def test_routes_on_the_page_exist(schema: dict[str, Any]) -> None:
    known = {name for name, _ in operations(schema)}
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", PAGE))
    assert named == known


def test_parameters_on_the_page_exist(schema: dict[str, Any]) -> None:
    """The first column of a section's table holds parameters of that route."""
    for name, operation in operations(schema):
        for cell in re.findall(r"^\| (`[^|]*) \|", SECTIONS.get(name, ""), re.MULTILINE):
            strays = set(re.findall(r"`([^`]+)`", cell)) - fields(schema, operation)
            assert cell.startswith("`gpt") or not strays, f"{name} has no {strays}"


def test_every_alias_is_named() -> None:
    table = PAGE.partition("### Aliases")[2].partition("They are names")[0]
    rows = "".join(line for line in table.splitlines() if line.startswith("|"))
    assert re.findall(r"`([^`]+)`", rows) == list(DEFAULT_ALIASES)


def test_every_error_code_is_named() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", SECTIONS["Errors"], re.MULTILINE)
    told = {(int(status), code) for status, cell in rows for code in re.findall(r"`(\w+)`", cell)}
    known = {(row.status, row.code) for _, row in errors._TABLE if row.code}
    assert known <= told


def test_every_code_in_the_sources_is_named() -> None:
    folder = Path(errors.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    known = {code for text in sources for code in re.findall(r'\bcode="(\w+)"', text)}
    assert {"admin_only", "no_store"} <= known
    assert not {code for code in known if f"`{code}`" not in PAGE}


def test_bodies_that_do_not_fit_are_documented_as_what_they_are(schema: dict[str, Any]) -> None:
    """The framework documents a 422 of its own; here that is the 400 with the one error body."""
    assert not [name for name, operation in operations(schema) if "422" in operation["responses"]]
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema == create_app(Settings(), FakeService()).openapi()


async def test_a_wrong_method_is_told_all_right_ones(http: httpx.AsyncClient) -> None:
    for path, methods in (
        ("/v1/responses/resp_1", {"GET", "DELETE"}),
        ("/v1/models/local/multimodal-base", {"GET"}),
        ("/v1/images/edits", {"POST"}),
        ("/api/conversations/c1", {"GET", "PATCH", "DELETE"}),
    ):
        response = await http.put(path)
        assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, methods)
