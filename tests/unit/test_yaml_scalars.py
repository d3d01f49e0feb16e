"""One file is one job: what rljob reads from YAML, and writes, is the same to every reader."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rljob import spec
from rljob.errors import InputError
from rljob.spec import yamltext

EXPONENT = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")
PLAIN = st.text("0123456789_.:-+eExXoObB~<=yYnNoOfFTtZ ", min_size=1, max_size=10)
WORDS = st.sampled_from(
    ["y", "No", "NO", "on", "Off", "true", "NULL", "~", ".inf", "-.INF", ".NaN", "2024-01-01"]
)


def kubectl(text: str) -> Any:
    """Value of a plain scalar as go-yaml 2 reads it, which is in kubectl."""
    table = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
    for value, names in (
        (True, ("y", "yes", "true", "on")),
        (False, ("n", "no", "false", "off")),
    ):
        for name in names:
            table |= dict.fromkeys((name, name.capitalize(), name.upper()), value)
    if text in table:
        return table[text]
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", "", 1))
    without = text.replace("_", "")
    if text[:1] not in tuple("0123456789-+."):
        return text
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", without)
    if octal:
        return int(octal[1] + octal[2], 8)
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)", without):
        return int(without, 0)
    number = re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", without)
    if number and math.isfinite(float(without)):
        return float(without)
    return text


@given(PLAIN | WORDS)
@example("0o9")
@example("1_0.5")
@example("-0x1_0")
@example("1:2:3.5")
@example("1e999")
def test_accepted_scalars_are_the_same_to_all_readers(text: str) -> None:
    try:
        value = yamltext.load(f"a: {text}")[0]["a"]
        theirs = yaml.safe_load(f"a: {text}")["a"]
    except (InputError, yaml.YAMLError):
        return
    if ":" not in text.replace(": ", ""):
        assert same(value, kubectl(text.strip())), text
    # PyYAML alone wants a point and a sign in numbers with an exponent.
    assert EXPONENT.fullmatch(text.strip()) or same(value, theirs), text


@given(st.dictionaries(PLAIN | WORDS, PLAIN | WORDS | st.floats(allow_nan=False) | st.integers()))
def test_written_yaml_is_the_same_to_all_readers(value: dict[str, Any]) -> None:
    text = yamltext.dump({"kwargs": value})
    assert yamltext.load(text)[0]["kwargs"] == value
    assert yaml.safe_load(text)["kwargs"] == value
    for token in re.findall(r"^  ([^'\"?:]+): ", text, re.MULTILINE):
        assert kubectl(token) == token


@pytest.mark.parametrize(
    ("scalar", "instead"),
    [
        ("no", "false, or 'no' for the text"),
        ("on", "true, or 'on' for the text"),
        ("NO", "false, or 'NO' for the text"),
        ("010", "10, or '010' for the text"),
        ("-007", "-7, or '-007' for the text"),
        ("0o17", "15, or '0o17' for the text"),
        ("-0x_1F", "-31, or '-0x_1F' for the text"),
        ("0b_", "'0b_' for the text"),
        ("1_000", "1000, or '1_000' for the text"),
        ("12:30:45", "'12:30:45' for the text"),
        ("2024-01-01", "'2024-01-01' for the text"),
        ("1e999", "a finite number, or '1e999' for the text"),
        ("9223372036854775808", "an integer of 64 bits, or '9223372036854775808' for the text"),
        (".inf", "a finite number, or '.inf' for the text"),
    ],
)
def test_scalar_that_readers_disagree_about_is_refused(scalar: str, instead: str) -> None:
    with pytest.raises(InputError) as caught:
        yamltext.load(f"kwargs:\n  a: 1\n  b: {scalar}\n", "job.yaml")
    assert str(caught.value) == (
        f"job.yaml:3: {scalar} is not the same to every reader of YAML, such as kubectl: "
        f"write {instead}"
    )


def test_keys_and_lists_and_set_are_checked() -> None:
    for text in ("y: 1", "a: [1, no]", "a: [{on: 1}]"):
        with pytest.raises(InputError, match="not the same to every reader"):
            yamltext.load(text)
    job = "apiVersion: rljob.dev/v1alpha1\nkind: RLJob\nmetadata: {name: a}\nspec: {}\n"
    with pytest.raises(InputError, match=r"--set environment\.kwargs\.slippery=no:1: no is not"):
        spec.parse(job, overrides=["environment.kwargs.slippery=no"])


def test_quoted_and_tagged_scalars_are_text() -> None:
    text = "a: 'no'\nb: \"010\"\nc: !!str on\nd: |\n  no\n"
    assert yamltext.load(text)[0] == {"a": "no", "b": "010", "c": "on", "d": "no\n"}


def test_numbers_of_both_versions_stay() -> None:
    text = "[1e-3, 3E+4, .5, 1., 0x1F, 0, -0.0, +7, 1.5e3, -9223372036854775808]"
    assert yamltext.load(text)[0] == [1e-3, 3e4, 0.5, 1.0, 31, 0, -0.0, 7, 1500.0, -(2**63)]


@pytest.mark.parametrize("merge", [True, False])
def test_aliases_are_bounded_before_they_expand(merge: bool) -> None:
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, 12):
        many = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{many}]}}" if merge else f"[{many}]"))
    started = time.process_time()
    with pytest.raises(InputError, match="expands to more than 100,000 values") as caught:
        yamltext.load("\n".join(lines))
    assert caught.value.line == 6
    # Without the bound this never ends: 9^11 values.
    assert time.process_time() - started < 60


def test_anchor_that_holds_itself_is_refused() -> None:
    with pytest.raises(InputError, match="contains itself"):
        yamltext.load("a: &a [*a]")


def test_anchors_and_merges_of_usual_size_work() -> None:
    text = "a: &a {x: 1, y2: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\n"
    assert yamltext.load(text)[0] == {
        "a": {"x": 1, "y2": 2},
        "b": {"x": 3, "y2": 2},
        "c": [{"x": 1, "y2": 2}] * 2,
    }


def same(one: Any, other: Any) -> bool:
    """Whether JSON has one value for both; JSON has one kind of number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return bool(one == other)
