"""Plain YAML scalars that two YAML readers take for different values, e.g. `no`, `010`, `12:30`.

rljob reads YAML 1.2. kubectl and Python's `yaml` read YAML 1.1, each in its own way. Text that all of them
read as the same value is safe; the rest must be quoted or written in another form. Pure.
"""

from __future__ import annotations

import math
import re

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF"))
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
_BASED = re.compile(r"([-+]?)(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+)")
_PLAIN_HEX = re.compile(r"0x[0-9a-fA-F]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]*[0-9]")
_ZERO_BEFORE_POINT = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"(([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:?[0-9]{2})?))?)?"
)
_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_LARGEST = 2**63
_LONGEST = 20
"""Characters of the integers that Kubernetes holds."""
_MERGE_OR_VALUE = frozenset(("<<", "="))


def instead(text: str) -> str | None:
    """What to write instead of this plain scalar; None if every reader takes it for the same value."""
    quoted = f"'{text}'"
    if text in _TRUE:
        return f"true, or {quoted} for the text"
    if text in _FALSE:
        return f"false, or {quoted} for the text"
    if text in _MERGE_OR_VALUE or _DATE.fullmatch(text) or _BASE_60.fullmatch(text):
        return f"{quoted} for the text"
    if _NOT_FINITE.fullmatch(text):
        return f"a finite number, or {quoted} for the text"
    if _BASED.fullmatch(text) and not _PLAIN_HEX.fullmatch(text):
        return _decimal(text, quoted)
    without = text.replace("_", "")
    if _LEADING_ZERO.fullmatch(text) or _ZERO_BEFORE_POINT.fullmatch(text):
        return f"{_without_zeros(without)}, or {quoted} for the text"
    if without != text and not text.startswith("_") and _NUMBER.fullmatch(without):
        return f"{without}, or {quoted} for the text"
    if _INTEGER.fullmatch(text):
        fits = len(text) <= _LONGEST and -_LARGEST <= int(text, 0) < _LARGEST
        return None if fits else f"an integer of 64 bits, or {quoted} for the text"
    if _NUMBER.fullmatch(text) and math.isinf(float(text)):
        return f"a finite number, or {quoted} for the text"
    return None


def _decimal(text: str, quoted: str) -> str:
    digits = text.replace("_", "").lower().lstrip("+")
    if len(digits.lstrip("-")) == 2:
        return f"{quoted} for the text"
    return f"{int(digits, 0)}, or {quoted} for the text"


def _without_zeros(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    digits = text.lstrip("+-").lstrip("0")
    return sign + (digits if digits[:1].isdigit() else f"0{digits}")
