"""How far a job is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a job is: shown by the command line, or by whoever calls `train` or `map_scene`.

    Attributes:
        phase: what is being done.
        done: steps done of this phase.
        total: steps of this phase.
        loss: training loss of the last step.
        validation_accuracy: last measured, 0..1.
    """

    phase: str
    done: int
    total: int
    loss: float | None = None
    validation_accuracy: float | None = None
