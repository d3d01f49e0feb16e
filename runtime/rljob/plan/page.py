"""What is predicted, for people and for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rljob.diagnosis.bottleneck import WORDS
from rljob.plan.measured import Costs, OnPolicyUse
from rljob.plan.model import MOST_ROLLOUTS, Bound, Place, Prediction, shares
from rljob.show.view.columns import columns
from rljob.show.view.figures import count, share_text, some

WIDTH = 110
_BOUNDS: dict[Bound, str] = {
    "learner": WORDS["update"],
    "environment": WORDS["environment"],
    "acting": WORDS["acting"],
    "sending": WORDS["shipping"],
    "buffer": "storing experience",
    "cores": "all cores are busy",
    "turns": "waiting for each other",
}


def lines(
    costs: Costs,
    place: Place,
    predictions: Sequence[Prediction],
    fewest: Prediction | None,
    price: float | None,
) -> list[str]:
    """The table, and what to know besides."""
    head = ["rollouts", "steps/s", "updates/s", "learner busy", "bottleneck", "lag p95", "cores"]
    head.append("core-s / M steps")
    rows = [_row(one) for one in predictions]
    if price is not None:
        head.append("cost / M steps")
        rows = [
            [*row, f"{one.cost(price):.3g}"] for row, one in zip(rows, predictions, strict=True)
        ]
    table, _ = columns([head, *rows])
    sentences = [_enough(place, fewest), *_grows(costs), _where(costs)]
    if price is not None:
        held = "the pods'" if place.pods else "all of the machine's"
        sentences.append(f"The cost is of {held} cores, busy or not.")
    return [*table, "", *textwrap.wrap(" ".join(sentences), WIDTH)]


def values(
    costs: Costs,
    place: Place,
    predictions: Sequence[Prediction],
    fewest: Prediction | None,
    price: float | None,
) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "cores": place.cores,
        "pods": place.pods,
        "predictions": [_values(one, price) for one in predictions],
        "fewestRollouts": None if fewest is None else fewest.rollouts,
        "step": {name: round(share, 4) for name, share in shares(costs).items()},
        "costs": costs.model_dump(mode="json", by_alias=True),
    }


def _row(one: Prediction) -> list[str]:
    return [
        str(one.rollouts),
        count(one.steps),
        _number(one.updates),
        share_text(one.learner),
        _BOUNDS[one.bound],
        "–" if one.lag is None else str(one.lag[1]),
        f"{one.cores:.2f}",
        _number(one.core_seconds),
    ]


def _values(one: Prediction, price: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rollouts": one.rollouts,
        "stepsPerSecond": one.steps,
        "updatesPerSecond": one.updates,
        "learnerBusy": one.learner,
        "rolloutsBusy": one.rollout,
        "bufferBusy": one.buffer,
        "bottleneck": _BOUNDS[one.bound],
        "lag": None if one.lag is None else {"p50": one.lag[0], "p95": one.lag[1]},
        "coresBusy": one.cores,
        "coresHeld": one.held,
        "coreSecondsPerMillionSteps": one.core_seconds,
    }
    if price is not None:
        found["costPerMillionSteps"] = one.cost(price)
    return {name: round(v, 6) if isinstance(v, float) else v for name, v in found.items()}


def _enough(place: Place, fewest: Prediction | None) -> str:
    if fewest is not None:
        keep = "keeps" if fewest.rollouts == 1 else "keep"
        return f"{some(fewest.rollouts, 'rollout')} {keep} the learner busy."
    if place.pods:
        return f"Not even {count(MOST_ROLLOUTS)} rollouts keep the learner busy."
    cores = some(int(place.cores), "core") if place.cores == int(place.cores) else "cores"
    return f"No number of rollouts keeps the learner busy: this machine's {cores} are full before."


def _grows(costs: Costs) -> list[str]:
    if isinstance(costs.use, OnPolicyUse) and not costs.use.segments_per_batch:
        return ["Each rollout adds a segment to the batch of an update."]
    return []


def _where(costs: Costs) -> str:
    length = costs.length
    seconds = costs.stepping.seconds + costs.acting.seconds
    seconds += (costs.packing.seconds + costs.shipping.seconds + costs.applying.seconds) / length
    parts = [f"{name} {round(100 * share)} %" for name, share in shares(costs).items()]
    asleep = costs.stepping.wait / seconds
    waits = f" ({round(100 * asleep)} % of it without a core)" if asleep >= 0.01 else ""
    update = costs.updating.of(1 if costs.on_policy else 0).seconds
    of = " of one segment" if costs.on_policy else ""
    return (
        f"A step of a rollout's {some(costs.envs, 'environment')} takes {_span(seconds)}{waits}: "
        f"{', '.join(parts)}. An update{of} takes {_span(update)}."
    )


def _span(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _number(value: float) -> str:
    return count(value) if value >= 100 else f"{value:.3g}"
