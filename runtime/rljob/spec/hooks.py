"""Code of the user's own that is called during training: `hooks`."""

from __future__ import annotations

from pydantic import Field

from rljob.spec.schema import FreeForm, ImportPath, Section


class HooksSpec(Section):
    """A class of your own that the learner calls during training."""

    entry_point: ImportPath = Field(
        examples=["my_pkg.hooks:EarlyStopping"],
        description="Import path `package.module:attribute` of a class with any of the methods on_start, on_episode, on_update, "
        "on_evaluation, on_checkpoint and on_end. A method that returns `rljob.StopTraining(reason)` ends training.",
    )
    config: FreeForm = Field(
        default_factory=dict, description="Keyword arguments of the class, e.g. `patience: 5`."
    )
