"""Describes the gateway's requests in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from typing import Any

from rljob.version import __version__

_ANY: dict[str, Any] = {"description": "A number or nested lists of numbers, as the space has it."}
_MASK = {"type": "array", "items": {"enum": [0, 1, True, False]}}
_EPISODE = {"name": "episode", "in": "path", "required": True, "schema": {"type": "string"}}
_ERROR = {
    "description": "It was refused; nothing has changed.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            }
        }
    },
}


def description(job: str) -> dict[str, Any]:
    """The document for the gateway of one job."""
    episode = "/episodes/{episode}"
    return {
        "openapi": "3.1.0",
        "info": {"title": f"rljob gateway of {job}", "version": __version__},
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/episodes": {
                "post": _operation("Begin an episode.", None, {"episode": {"type": "string"}}, 201)
            },
            f"{episode}/act": {
                "parameters": [_EPISODE],
                "post": _operation(
                    "Choose an action.",
                    _object(
                        ["observation"],
                        observation=_ANY,
                        mask=_MASK,
                        late=_flag("The reward of this decision comes later, by its number."),
                    ),
                    {
                        "action": _ANY,
                        "version": {"type": "integer"},
                        "decision": {"type": "integer"},
                    },
                ),
            },
            f"{episode}/reward": {
                "parameters": [_EPISODE],
                "post": _operation(
                    "Say what came of the newest decision, or of a late one. Several add up.",
                    _object(["reward"], reward={"type": "number"}, decision={"type": "integer"}),
                    {},
                ),
            },
            f"{episode}/end": {
                "parameters": [_EPISODE],
                "post": _operation(
                    "End the episode. A truncated one needs what was observed last.",
                    _object(
                        [],
                        terminated=_flag("It came to an end of its own."),
                        truncated=_flag("It was cut off."),
                        observation=_ANY,
                        mask=_MASK,
                        info={"type": "object"},
                    ),
                    {},
                ),
            },
            episode: {
                "parameters": [_EPISODE],
                "delete": _operation(
                    "Give the episode up: its last decision is forgotten, and no return is counted.",
                    None,
                    {},
                ),
            },
        },
    }


def _flag(text: str) -> dict[str, Any]:
    return {"type": "boolean", "description": text}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _operation(
    summary: str, body: dict[str, Any] | None, answer: dict[str, Any], status: int = 200
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            str(status): {
                "description": "Done.",
                "content": {"application/json": {"schema": _object([], **answer)}},
            },
            "default": _ERROR,
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found
