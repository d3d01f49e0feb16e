"""Writes predictions for people and for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic.alias_generators import to_camel

from rljob.plan.costs import Costs
from rljob.plan.predict import MOST_ROLLOUTS, Deployment, Prediction, fewest, predict, shares
from rljob.show.view.columns import columns
from rljob.show.view.figures import count, share_text, some

WIDTH = 110
HEAD = "rollouts", "steps/s", "updates/s", "learner busy", "bottleneck", "cores", "core-s / M steps"


def lines(costs: Costs, where: Deployment, predictions: Sequence[Prediction]) -> list[str]:
    """A table, and sentences about the parts of the job."""
    table, _ = columns([HEAD, *map(_row, predictions)])
    sentences = [_enough(costs, where)]
    if costs.on_policy and not costs.segments_per_version:
        sentences.append("Each rollout adds a segment to the batch of an update.")
    step = (costs.collecting + costs.sending + costs.loading) * (1 / costs.length)
    parts = ", ".join(f"{name} {round(100 * share)} %" for name, share in shares(costs).items())
    envs = some(costs.envs, "environment")
    sentences.append(f"A step of a rollout's {envs} takes {_span(step.seconds)}: {parts}.")
    update, of = costs.update + costs.update_per_segment, " of one segment" * costs.on_policy
    sentences.append(f"An update{of} takes {_span(update.seconds)}.")
    return [*table, "", *textwrap.wrap(" ".join(sentences), WIDTH)]


def values(costs: Costs, where: Deployment, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The same as JSON, with the measured costs."""
    return {
        **asdict(where),
        "predictions": [
            {to_camel(name): value for name, value in asdict(one).items()} for one in predictions
        ],
        "fewestRollouts": fewest(costs, where),
        "costs": {to_camel(name): value for name, value in asdict(costs).items()},
    }


def _row(one: Prediction) -> list[str]:
    return [
        str(one.rollouts),
        count(one.steps_per_second),
        _number(one.updates_per_second),
        share_text(one.learner_busy),
        one.bottleneck,
        f"{one.cores_busy:.2f}",
        _number(one.core_seconds_per_million_steps),
    ]


def _enough(costs: Costs, where: Deployment) -> str:
    enough = fewest(costs, where)
    if enough is not None:
        return f"{some(enough, 'rollout')} {'keeps' if enough == 1 else 'keep'} the learner busy."
    why = predict(costs, MOST_ROLLOUTS, where).bottleneck
    return f"No number of rollouts up to {count(MOST_ROLLOUTS)} keeps the learner busy ({why})."


def _span(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _number(value: float) -> str:
    return count(value) if value >= 100 else f"{value:.3g}"
