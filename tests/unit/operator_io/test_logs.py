"""Logs are JSON, one object per line, with fields."""

from __future__ import annotations

import io
import json
import logging

import pytest

from rljob_operator.telemetry.logs import JsonFormatter


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("rljob_operator.test")
    logger.addHandler(handler)
    return logger, stream


def test_a_line_holds_message_and_fields(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.info('two\n"lines" %s', "é", extra={"job": "x", "seconds": 1.5, "odd": {1}})
    text = stream.getvalue()
    assert text.count("\n") == 1
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "rljob_operator.test",
        "message": 'two\n"lines" é',
        "job": "x",
        "seconds": 1.5,
        "odd": "{1}",
    }


def test_an_exception_is_one_line_too(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("failed")
    line = json.loads(stream.getvalue())
    assert line["message"] == "failed"
    assert line["error"].endswith("ValueError: bad")


def test_fields_of_other_libraries_stay_out(log: tuple[logging.Logger, io.StringIO]) -> None:
    """kopf adds its settings to every record."""
    logger, stream = log
    logger.name = "kopf.objects"
    logger.warning("trouble", extra={"settings": object()})
    assert set(json.loads(stream.getvalue())) == {"time", "level", "logger", "message"}
