"""The tags of unions. They begin with `tag:`, so that `errors.param_path` can leave them out of a path."""

from __future__ import annotations

from typing import Any

__all__ = ["content_tag", "type_tag", "value_of"]


def value_of(part: Any, name: str) -> Any:
    """A field of a part, which is still JSON or was read already."""
    return part.get(name) if isinstance(part, dict) else getattr(part, name, None)


def type_tag(part: Any) -> str | None:
    """The tag of a part that says its `type`."""
    kind = value_of(part, "type")
    return f"tag:{kind}" if isinstance(kind, str) else None


def content_tag(content: Any) -> str | None:
    """The tag of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return "tag:string"
    return "tag:parts" if isinstance(content, list) else None
