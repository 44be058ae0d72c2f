"""Class values from a column of text: whole numbers as given, names numbered."""

from __future__ import annotations

import re
from collections.abc import Sequence

from patchfree.errors import LabelError

NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d*)?", re.ASCII)


def class_values(texts: Sequence[str | None], source: str) -> tuple[list[int | None], dict[int, str]]:
    """Values, and the names of classes that were numbered here.

    Whole numbers stay as given ("3" and "3.0" are 3); names are numbered 1..k in alphabetical order; None, a missing
    entry, stays None.

    Raises:
        LabelError: the numbers are not whole.

    Example:
        >>> class_values(["water", None, "forest"], "points.csv")
        ([2, None, 1], {1: 'forest', 2: 'water'})
    """
    present = {text for text in texts if text is not None}
    if all(NUMBER.fullmatch(text) for text in present):
        fractions = sorted(text for text in present if not float(text).is_integer())
        if fractions:
            raise LabelError(f"The classes of {source} must be whole numbers or names, got {fractions[0]}.")
        return [None if text is None else int(text.partition(".")[0]) for text in texts], {}
    order = {name: i for i, name in enumerate(sorted(present), 1)}
    return [None if text is None else order[text] for text in texts], {i: name for name, i in order.items()}
