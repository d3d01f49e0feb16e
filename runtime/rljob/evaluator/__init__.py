"""The evaluator: greedy episodes of the newest policy, beside the training or after it.

play   episodes and what they returned
loop   the process
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.spec.sections import EvaluationSpec


def check(evaluation: EvaluationSpec) -> None:
    """Raise InputError for what an evaluator cannot do; nothing needs to be started to know it."""
    if evaluation.video:
        raise InputError(
            "true is not supported yet; only false is. Evaluations record the returns of their "
            "episodes in evaluations.jsonl",
            path="evaluation.video",
        )
