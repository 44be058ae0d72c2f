"""Reference labels: the class of some pixels of a scene.

Class values need not be contiguous (some public scenes use 0, 1, 10..14): inside, classes are numbered 1..k in
the order of their values, 0 means unlabelled; `Labels.restore` gives the values back.

Dimension key: h rows, w columns, k classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, Num

from patchfree.errors import LabelError

MOST_CLASSES = 65_535

# Okabe-Ito first; each further colour lies farthest from all before it, and from white and light grey, in CIELAB as seen
# with normal sight, deuteranopia and protanopia (Machado et al. 2009), among colours of moderate chroma.
PALETTE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (120, 0, 30), (180, 240, 150), (90, 30, 90), (60, 120, 240), (0, 255, 210), (90, 240, 255), (210, 60, 60),
    (0, 60, 150), (90, 90, 90), (240, 150, 90), (120, 60, 0), (90, 150, 240), (255, 90, 120), (210, 180, 210),
    (90, 90, 120), (90, 120, 60), (0, 210, 150), (210, 210, 90), (0, 60, 60), (0, 255, 180), (30, 60, 30),
)  # fmt: skip


def class_title(value: int, name: str) -> str:
    """Value and name of a class for people; the value is not said twice."""
    return name if name == f"class {value}" else f"{value} {name}"


@dataclass(frozen=True)
class LandCover:
    """A class of the legend.

    Attributes:
        value: the number that stands for it in label files and maps.
        name: for people.
        colour: red, green, blue, 0..255.
    """

    value: int
    name: str
    colour: tuple[int, int, int]

    @property
    def named(self) -> bool:
        """False if the name is only the value spelt out."""
        return self.name != f"class {self.value}"

    @property
    def title(self) -> str:
        """Value and name, "10 meadow", or "class 10" if it has no name of its own."""
        return class_title(self.value, self.name)


@dataclass(frozen=True, eq=False)
class Labels:
    """The class of some pixels of a scene.

    Attributes:
        index: 1..k where a pixel is labelled, 0 where it is not.
        legend: the k classes, in the order of their values; class i of `index` is `legend[i - 1]`.
        notes: what was assumed or left out while reading, one sentence each.
        numbered: True if the file names its classes and the values were given here, in alphabetical order.
    """

    index: Int[np.ndarray, "h w"]
    legend: tuple[LandCover, ...]
    notes: tuple[str, ...] = ()
    numbered: bool = False

    def __repr__(self) -> str:
        classes = ", ".join(f"{e.title}: {n}" for e, n in zip(self.legend, self.counts, strict=True))
        return f"Labels({int(self.counts.sum())} of {self.index.size} pixels; {classes})"

    @property
    def counts(self) -> Int[np.ndarray, " k"]:
        """Labelled pixels of each class."""
        return np.bincount(self.index.ravel(), minlength=len(self.legend) + 1)[1:]

    @property
    def values(self) -> tuple[int, ...]:
        """The class values as given."""
        return tuple(entry.value for entry in self.legend)

    def restore(self, index: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Class values as given, from inner class numbers 0..k; 0 stays 0."""
        return np.array([0, *self.values], np.int64)[index]

    def within(self, mask: Bool[np.ndarray, "h w"]) -> Labels:
        """The same labels with everything outside the mask unlabelled; the legend stays."""
        return replace(self, index=np.where(mask, self.index, 0))

    def without(self, values: Iterable[int]) -> Labels:
        """The labels without these class values.

        Raises:
            LabelError: there is no such class, or none is left.
        """
        dropped = set(values)
        unknown = sorted(dropped - set(self.values))
        if unknown:
            raise LabelError(f"There is no class {unknown} to leave out; the labels hold {list(self.values)}.")
        if not dropped:
            return self
        kept = np.where(np.isin(self.index, [i for i, v in enumerate(self.values, 1) if v in dropped]), 0, self.index)
        return replace(make_labels(self.restore(kept), legend=self.legend, notes=self.notes), numbered=self.numbered)

    def matching(self, legend: Sequence[LandCover]) -> Labels:
        """The labels with another legend's values for the classes of the same name; capitals do not matter.

        A class that only these labels have keeps its value, or gets one beyond both legends if it is taken. Where one side does not name its classes,
        values are left as they are.

        Raises:
            LabelError: these labels know their classes by name only, and the other legend has none of the names.
        """
        theirs = {entry.name.strip().casefold(): entry.value for entry in legend if entry.named}
        ours = {entry.value: entry.name.strip().casefold() for entry in self.legend if entry.named}
        shared = set(theirs) & set(ours.values())
        if not shared:
            if not self.numbered:
                return self
            raise LabelError(
                f"Classes cannot be matched: one side has {_listed(self.legend)}, the other {_listed(legend)}. "
                "Use the same names on both sides, or the same numbers."
            )
        taken = {entry.value for entry in legend}
        beyond = max([*self.values, *taken])
        new = {value: theirs[ours[value]] for value in self.values if ours.get(value) in theirs}
        for value in self.values:
            if value not in new:
                beyond += value in taken
                new[value] = beyond if value in taken else value
        table = np.array([0, *(new[value] for value in self.values)])
        renamed = tuple(replace(entry, value=new[entry.value]) for entry in self.legend)
        return replace(make_labels(table[self.index], legend=renamed, notes=self.notes), numbered=self.numbered)

    def fingerprint(self) -> str:
        """A hash of the labels, their values and names."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.index, np.int32).data, digest_size=16)
        digest.update(repr((self.index.shape, self.legend)).encode())
        return digest.hexdigest()


def make_labels(
    values: Num[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    *,
    legend: Sequence[LandCover] = (),
    names: dict[int, str] | None = None,
    colours: dict[int, tuple[int, int, int]] | None = None,
    unlabelled: Sequence[int] = (0,),
    notes: Sequence[str] = (),
    source: str = "The labels",
) -> Labels:
    """Build labels from class values.

    Args:
        values: whole numbers, of any numeric type; NaN counts as unlabelled.
        legend: classes known already; those without a pixel are left out.
        names: names of class values.
        colours: colours of class values; a colour-blind safe palette fills the gaps.
        unlabelled: values that mean "no label".
        notes: what was assumed so far.
        source: what to call the labels in messages.

    Raises:
        LabelError: values are not whole numbers, are negative, or too many; or no pixel is labelled.

    Example:
        >>> labels = make_labels(np.array([[0, 10, 14], [1, 10, 0]]))
        >>> labels.values, labels.index.tolist()
        ((1, 10, 14), [[0, 2, 3], [1, 2, 0]])
    """
    notes = list(notes)
    if values.dtype.kind == "f":
        absent = np.isnan(values)
        if absent.any():
            notes.append(f"{absent.sum()} label pixels are NaN and count as unlabelled.")
            values = np.where(absent, 0, values)
        off = values != np.rint(values)
        if off.any() or not np.isfinite(values).all():
            example = values[off][0] if off.any() else np.inf
            raise LabelError(
                f"{source} must be whole numbers, one a class; got {example:g}, and {max(int(off.sum()) - 1, 0)} more. "
                "Is this a raster of measurements or probabilities? Round or reclassify it first."
            )
    classes, inverse = np.unique(values.astype(np.int64), return_inverse=True)
    inverse = inverse.reshape(values.shape)
    labelled = ~np.isin(classes, np.asarray(unlabelled, np.int64))
    if (classes[labelled] < 0).any():
        worst = int(classes[labelled].min())
        raise LabelError(
            f"{source} hold the negative class value {worst}; classes are 1 and up. "
            f"If {worst} means 'no label', pass --unlabelled {worst}."
        )
    if (classes[labelled] == 0).any():
        raise LabelError(
            f"{source} hold the class value 0, which stands for 'no data' in every map. Add 1 to all class values, or "
            "pass --unlabelled 0 too if it means 'no label'."
        )
    kept = classes[labelled]
    if not len(kept):
        raise LabelError(
            f"{source}: none of the {values.size} pixels is labelled (values: {classes[:5].tolist()}). "
            "Check that this is the right file and that the class values are not 0."
        )
    if len(kept) > MOST_CLASSES or kept.max() > MOST_CLASSES:
        raise LabelError(
            f"{source} hold {len(kept)} classes up to value {kept.max()}; maps store at most {MOST_CLASSES}. "
            "Is this a raster of measurements? Otherwise renumber the classes from 1."
        )
    lookup = np.zeros(len(classes), np.int32)
    lookup[labelled] = np.arange(1, len(kept) + 1)
    known = {entry.value: entry for entry in legend}
    free = [colour for colour in PALETTE if colour not in (colours or {}).values()] or list(PALETTE)
    entries = []
    for i, value in enumerate(int(v) for v in kept):
        name = (names or {}).get(value) or f"class {value}"
        colour = (colours or {}).get(value) or (free[i] if i < len(free) else _spread(i))
        entries.append(known.get(value) or LandCover(value, name, colour))
    return Labels(lookup[inverse], tuple(entries), tuple(notes))


def _listed(legend: Sequence[LandCover]) -> str:
    return ", ".join(f"{entry.value} '{entry.name}'" if entry.named else str(entry.value) for entry in legend)


def _spread(i: int) -> tuple[int, int, int]:
    """Colours beyond the palette: steps of the golden angle in hue, three lightnesses."""
    import colorsys

    red, green, blue = colorsys.hls_to_rgb((i * 0.61803398875) % 1, (0.35, 0.5, 0.7)[i % 3], 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)
