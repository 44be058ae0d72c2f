"""How good a map of changes is, against labels that nothing was learnt from.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from patchfree.change.reference import LEGEND, full_mask, labels_of_areas, labels_of_classes
from patchfree.change.scoring import CHANGED, UNCHANGED, Changes
from patchfree.change.uncertainty import judge
from patchfree.confusion import assess_pixels
from patchfree.errors import LabelError
from patchfree.io.reference import read_labels
from patchfree.labels import Labels
from patchfree.scene import Grid


def read_truth(path: str, grid: Grid, *, unchanged: str | None = None) -> Labels:
    """What has truly changed: 1 unchanged, 2 changed, 0 not known.

    Args:
        path: a mask of every pixel (0 unchanged, else changed); labels of two classes, 1 unchanged and 2 changed or named so; or, with
            `unchanged`, the changed areas.
        grid: of the pair.
        unchanged: the unchanged areas.

    Raises:
        LabelError: a file cannot be read, or holds something else.
    """
    if unchanged is not None:
        return labels_of_areas(path, unchanged, grid, lambda file: read_labels(file, grid, areas=True))
    try:
        return labels_of_classes(path, lambda file: read_labels(file, grid))
    except LabelError as error:
        try:
            return full_mask(path, grid)
        except LabelError:
            raise error from None


def measure(found: Changes, truth: Labels) -> dict[str, Any]:
    """Accuracies of the map, the area under the ROC curve of the scores, and how well the uncertainty tells errors.

    Args:
        found: what was found.
        truth: 1 unchanged, 2 changed, 0 not known.

    Raises:
        LabelError: the truth has another size, or none of it lies where both dates hold data.
    """
    if truth.index.shape != found.index.shape:
        raise LabelError(
            f"The truth has {truth.index.shape} pixels, the pair {found.index.shape}; give labels on BEFORE's grid."
        )
    index = np.where(found.index > 0, truth.index, 0)
    known = index > 0
    if not known.any():
        raise LabelError("None of the true labels lies where both dates hold data. Check the position of the file.")
    accuracy = assess_pixels(index, found.index.astype(np.int64), LEGEND)
    changed, wrong = index[known] == CHANGED, index[known] != found.index[known]
    both = 0 < changed.sum() < len(changed)
    scores = found.scores[known]
    return {
        **accuracy,
        "changed_pixels": int(changed.sum()),
        "unchanged_pixels": int((index == UNCHANGED).sum()),
        "auc": float(roc_auc_score(changed, scores)) if both else None,
        "average_precision": float(average_precision_score(changed, scores)) if both else None,
        "uncertainty": judge(found.uncertainty[known], wrong),
    }
