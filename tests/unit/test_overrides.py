"""Overrides from Python: a list of texts, and nothing that is read letter by letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rljob
from rljob import spec
from rljob.errors import InputError
from tests.unit.specs import job


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("seed=3", "overrides: 'seed=3' is one text; write a list: ['seed=3']"),
        ({"seed": 3}, "overrides: expected a list like ['stop.steps=1000'], got a dict"),
        (3, "got a int"),
        (None, "got a NoneType"),
        ([3], "overrides: 3 is no text like 'stop.steps=1000'"),
        ([("seed", 3)], "overrides: ('seed', 3) is no text"),
    ],
)
def test_others_are_refused(overrides: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(spec.dump(spec.parse(job())))
    for call in (
        lambda: rljob.run(job(), overrides=overrides, dir=tmp_path / "run"),
        lambda: rljob.run(file, overrides=overrides, seed=3, dir=tmp_path / "run"),
        lambda: rljob.start(job(), overrides=overrides, dir=tmp_path / "run"),
        lambda: rljob.submit(job(), overrides=overrides),
        lambda: rljob.load(file, overrides),
        lambda: spec.parse(job(), overrides=overrides),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_any_list_of_texts_is_taken() -> None:
    for overrides in (["seed=3"], ("seed=3",), iter(["seed=3"])):
        assert spec.parse(job(), overrides=overrides).spec.seed == 3  # type: ignore[arg-type]
