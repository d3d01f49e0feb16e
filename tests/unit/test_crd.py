"""The definition of RLJobs: what is made of the models, and that it is the committed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from rljob.kube import crd
from rljob.spec import Duration, RLJobSpec, Section
from rljob.spec.cel import IMMUTABLE, VALIDATIONS, rule, rules
from rljob.spec.schema import FreeForm, Integer
from rljob.spec.structural import lenient, structural
from tests.unit.manyalgorithms import many

COMMITTED = Path(__file__).parents[2] / "crds" / "rljobs.rljob.dev.yaml"


def test_the_committed_file_is_what_the_models_say() -> None:
    # In a process with another order of sets.
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "rljob.kube.crd"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == COMMITTED.read_text(), "run `make generate`"
    assert len(done.stdout) < 200_000


def test_there_is_room_for_many_algorithms() -> None:
    # `kubectl apply` keeps the definition in annotations, of which an object may have 262,144 bytes.
    assert len(json.dumps(crd.definition(many()))) < 160_000


def test_every_field_is_described() -> None:
    fields = dict(every_field(crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    assert len(fields) > 100
    del fields[".metadata"], fields[".metadata.name"]
    assert [path for path, field in fields.items() if len(field.get("description", "")) < 5] == []


def test_every_section_of_the_spec_teaches() -> None:
    spec = structural(RLJobSpec)["properties"]
    sections = {name: field for name, field in spec.items() if "properties" in field}
    assert len(sections) >= 11
    assert [name for name, field in sections.items() if len(field["description"]) < 60] == []


class Below(Section):
    """A section."""

    often: Duration = Field(default=Duration("1m"), description="How often.")


class Example(Section):
    """A section with one field of each kind."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.count < 5", "too many", at="count"))
    )

    count: Integer = Field(ge=1, le=2**63 - 1, description="Whole.", json_schema_extra=IMMUTABLE)
    share: float | None = Field(
        default=None, gt=0, lt=1, description="Part.", json_schema_extra=IMMUTABLE
    )
    free: FreeForm = Field(default_factory=dict, description="Anything.")
    words: list[str] = Field(default_factory=list, max_length=3, description="Texts.")
    below: Below = Field(default_factory=Below, description="More.")
    maybe: Below | None = Field(default=None, description="More, if any.")


def test_a_model_becomes_a_structural_schema() -> None:
    schema = structural(Example)
    often = schema["properties"]["below"]["properties"]["often"]
    assert often.pop(VALIDATIONS)
    assert often.pop("pattern")
    unchanged = "cannot be changed once the job exists; make a new job"
    forbidden = {"message": unchanged, "reason": "FieldValueForbidden"}
    below = {
        "type": "object",
        "description": "More.",
        "default": {},
        "properties": {
            "often": {
                "description": "How often. Default: 1m.",
                "default": "1m",
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
            }
        },
    }
    assert schema["properties"].pop("maybe")["description"] == "More, if any."
    assert schema == {
        "type": "object",
        "description": "A section with one field of each kind.",
        "required": ["count"],
        "properties": {
            "count": {
                "type": "integer",
                "format": "int64",
                "description": "Whole. Cannot be changed once the job exists.",
                "minimum": 1,
                VALIDATIONS: [{"rule": "self == oldSelf", **forbidden}],
            },
            "share": {
                "type": "number",
                "description": "Part. Cannot be changed once the job exists.",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            },
            "free": {
                "type": "object",
                "description": "Anything.",
                "default": {},
                "additionalProperties": {
                    "nullable": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
            "words": {
                "type": "array",
                "description": "Texts.",
                "default": [],
                "maxItems": 3,
                "items": {"type": "string"},
            },
            "below": below,
        },
        VALIDATIONS: [
            {"rule": "self.count < 5", "message": "too many", "fieldPath": ".count"},
            {
                "rule": "has(self.share) == has(oldSelf.share)"
                " && (!has(self.share) || self.share == oldSelf.share)",
                "fieldPath": ".share",
                **forbidden,
            },
        ],
    }


def test_a_section_that_may_be_absent_has_no_default() -> None:
    assert "default" not in structural(Example)["properties"]["maybe"]


def test_a_lenient_schema_refuses_and_adds_nothing() -> None:
    schema = lenient(Example)
    keywords = {key for _, field in every_field(schema) for key in field} | set(schema)
    assert keywords <= {
        "type",
        "format",
        "description",
        "properties",
        "items",
        "additionalProperties",
    }
    assert schema["properties"].keys() == structural(Example)["properties"].keys()


class TwoKinds(BaseModel):
    value: int | str = Field(description="Either.")


class Divisible(BaseModel):
    value: int = Field(multiple_of=2, description="Even.")


class AnyKind(BaseModel):
    value: Any = Field(description="Anything.")


@pytest.mark.parametrize("model", [TwoKinds, Divisible, AnyKind])
def test_what_has_no_structural_form_is_no_definition(model: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match="structural"):
        structural(model)


def every_field(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from every_field(field, f"{path}.{name}")
        yield from every_field(field.get("items", {}), f"{path}.{name}[]")
