"""Which windows are finished, and what they found: one line a window, in one file a pass.

A run that was interrupted reads it and goes on. Numbers are written so that they come back bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchfree.errors import OutputError
from patchfree.models._statistics import Part


@dataclass(frozen=True)
class Journal:
    """The finished windows of an evaluation.

    Attributes:
        folder: where the files lie.
    """

    folder: Path

    def add(self, stage: int, turn: int, window: int, part: Part | None) -> None:
        """A window is finished, and what it wrote is on disk.

        Raises:
            OutputError: the disk is full.
        """
        entry = {"window": window, "part": None if part is None else _plain(part)}
        path = self._file(stage, turn)
        try:
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(
                f"{path} could not be written: {error.strerror or error}. Free some space, and run the same command again: the "
                "finished windows are kept."
            ) from error

    def read(self, stage: int, turn: int) -> Iterator[tuple[int, Part | None]]:
        """The finished windows of a pass; a last line that was cut off does not count."""
        path = self._file(stage, turn)
        if not path.is_file():
            return
        whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) < len(whole):
            path.write_bytes(kept)
        for line in kept.splitlines():
            entry = json.loads(line)
            yield entry["window"], None if entry["part"] is None else _part(entry["part"])

    def _file(self, stage: int, turn: int) -> Path:
        return self.folder / f"pass-{stage}-{turn}.jsonl"


def _plain(part: Part) -> dict[str, object]:
    # repr() of a float is the shortest text that gives the same bits again.
    squares = None if part.squares is None else part.squares.tolist()
    return {"key": part.key, "count": part.count, "mean": part.mean.tolist(), "squares": squares}


def _part(entry: dict[str, object]) -> Part:
    def array(values: object) -> np.ndarray:
        return np.asarray(values, np.float64)

    squares = None if entry["squares"] is None else array(entry["squares"])
    return Part(str(entry["key"]), float(str(entry["count"])), array(entry["mean"]), squares)
