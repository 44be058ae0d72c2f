"""What `metrics.json` says of pixels, accuracies and areas: counted and measured, never learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from patchfree.confusion import assess_pixels
from patchfree.ground import crs_name, pixel_hectares, pixel_metres
from patchfree.labels import Labels, LandCover
from patchfree.predict import Prediction
from patchfree.scene import Scene
from patchfree.split import Split


def pixel_counts(labels: Labels, split: Split) -> dict[str, Any]:
    """How many pixels trained, validated and tested, in all and of each class."""

    def per_class(mask: Bool[np.ndarray, "h w"]) -> list[int]:
        return [int(n) for n in labels.within(mask).counts]

    parts = {"train": split.train, "validation": split.val, "test": split.test}
    return {
        **{name: int(mask.sum()) for name, mask in parts.items()},
        "per_class": [
            {"value": entry.value, "name": entry.name, "train": a, "validation": b, "test": c}
            for entry, a, b, c in zip(labels.legend, *(per_class(mask) for mask in parts.values()), strict=True)
        ],
    }


def headline(
    truth: Int[np.ndarray, "h w"], mapped: Int[np.ndarray, "h w"], legend: Sequence[LandCover], block_px: int | None
) -> dict[str, Any]:
    """The accuracies of a map that stand beside each other; None where there are no test pixels."""
    found = assess_pixels(truth, mapped, legend, block_px=block_px)
    names = ("overall_accuracy", "average_accuracy", "kappa", "mean_iou")
    if not found["pixels"]:
        return dict.fromkeys((*names, "intervals"))
    return {name: found[name] for name in names} | {
        "intervals": found["intervals"],
        "recall": [entry["recall"] for entry in found["per_class"]],
    }


def class_areas(prediction: Prediction) -> dict[str, Any]:
    """Pixels that each class of a map has, and the size of one."""
    counts = np.bincount(prediction.index.ravel(), minlength=len(prediction.legend) + 1)[1:]
    return {
        "pixels": {entry.value: int(n) for entry, n in zip(prediction.legend, counts, strict=True)},
        "pixel_hectares": pixel_hectares(prediction.grid),
    }


def member_facts(
    scene: Scene, labels: Labels, split: Split, tested: Prediction, final: Prediction, block_px: int | None
) -> list[dict[str, Any]]:
    """Size, pixels, accuracy and areas of each of several scenes; nothing for a single one."""
    truth = np.where(split.test, labels.index, 0)
    parts = {"train": split.train, "validation": split.val, "test": split.test}
    return [
        {
            "name": member.name,
            "rows": own.ground.height,
            "columns": own.ground.width,
            "crs_name": crs_name(own.ground),
            "pixel_size_m": pixel_metres(own.ground),
            "pixels_with_data": int(scene.valid[member.window].sum()),
            "counts": {name: int(mask[member.window].sum()) for name, mask in parts.items()},
            "test": headline(truth[member.window], tested.index[member.window], labels.legend, block_px),
            "map": class_areas(final.part(member)),
        }
        for member, own in zip(scene.members, scene.scenes, strict=False)  # a scene that is alone has no members
    ]
