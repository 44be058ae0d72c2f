"""A scene: the bands of one image on one grid, where they are known, and which pixels hold data.

Everything downstream takes this one type. It is read once, at the door (`patchfree.io`), and never
changed: `select` gives a new scene.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from patchfree.errors import BandMismatch, SceneError
from patchfree.windows import Window, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray

WAVELENGTH_TOLERANCE_NM = 2.0
"""Two bands closer than this are the same band: below half the sampling of every hyperspectral sensor."""

MASK_NOTES = "mask_notes"
"""Key of the details of a scene: what is said of quality masks that it lacks."""
MASKED = "masked"
"""Key of the details of a scene: names of the quality masks whose pixels were left out, if there are any."""
MADE_BANDS = "made_bands"
"""Where `Scene.details` says of which bands the scene's were made, if they are not those of its file."""

DATES = "dates"
"""Where `Scene.details` names the scenes that a scene with the bands of two dates was made of."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the pixels of a raster lie.

    Attributes:
        height: rows.
        width: columns.
        crs: coordinate reference system as WKT; None if unknown.
        transform: the affine (a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f, for the
            upper left corner of a pixel; None if unknown.
    """

    height: int
    width: int
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in the units of the CRS; None without a transform."""
        if self.transform is None:
            return None
        a, b, _, d, e, _ = self.transform
        return float(np.hypot(b, e)), float(np.hypot(a, d))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class Bands:
    """What is known of the bands of a scene.

    Attributes:
        numbers: one-based numbers in the file; bands left out are missing here.
        total: bands in the file, those left out included.
        wavelengths_nm: centre of each band; None if the file does not say. Not always increasing: sensors
            with two detectors overlap.
        fwhm_nm: full width at half maximum of each band; None if the file does not say.
    """

    numbers: tuple[int, ...]
    total: int
    wavelengths_nm: tuple[float, ...] | None = None
    fwhm_nm: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, positions: Sequence[int]) -> Bands:
        """The bands at these zero-based positions, in this order."""

        def pick(values: tuple[Any, ...] | None) -> Any:  # noqa: ANN401 - same type as given
            return None if values is None else tuple(values[i] for i in positions)

        return Bands(pick(self.numbers), self.total, pick(self.wavelengths_nm), pick(self.fwhm_nm))

    def positions_of(self, wanted: Bands) -> list[int]:
        """Where each wanted band stands in this list: by wavelength if both know it, else by number.

        Raises:
            BandMismatch: a wanted band is not here.
        """
        if wanted.wavelengths_nm and self.wavelengths_nm:
            have = np.asarray(self.wavelengths_nm)
            need = np.asarray(wanted.wavelengths_nm)
            # At an overlap of two detectors two bands can share a wavelength: keep the order of the file.
            distance = np.abs(have[None, :] - need[:, None]) + 1e-6 * np.abs(
                np.asarray(self.numbers)[None, :] - np.asarray(wanted.numbers)[:, None]
            )
            nearest = distance.argmin(1)
            off = np.abs(have[nearest] - need)
            if off.max() > WAVELENGTH_TOLERANCE_NM:
                worst = int(off.argmax())
                raise BandMismatch(
                    f"The scene's bands are not those of the run: the run needs a band at {need[worst]:.1f} nm, "
                    f"and the nearest of the scene's {len(self)} bands is at {have[nearest[worst]]:.1f} nm "
                    f"(tolerance {WAVELENGTH_TOLERANCE_NM:g} nm; {(off > WAVELENGTH_TOLERANCE_NM).sum()} of "
                    f"{len(wanted)} bands have no partner). Use a scene of the same sensor, resample one that has finer bands "
                    "(--resample), or train a new run on this scene."
                )
            if len(set(nearest.tolist())) < len(nearest):
                raise BandMismatch(
                    f"Two of the run's {len(wanted)} bands have the same nearest band among the scene's {len(self)}: the scene "
                    "is sampled more coarsely. Use a scene of the same sensor, or train a new run on this scene."
                )
            return [int(i) for i in nearest]
        position = {number: i for i, number in enumerate(self.numbers)}
        missing = [number for number in wanted.numbers if number not in position]
        if missing or self.total != wanted.total:
            raise BandMismatch(
                f"The scene's file has {self.total} bands ({len(self)} usable), that of the run had {wanted.total} "
                f"({len(wanted)} usable), and one of the two states no wavelengths to match them by; bands missing "
                f"by number: {_list(missing)}. Use a scene of the same sensor, or train a new run on this scene."
            )
        return [position[number] for number in wanted.numbers]


def describe_matching(have: Bands, wanted: Bands) -> str:
    """How the bands of a scene were found that stand for those of a run, in a sentence; "" if their wavelengths are equal.

    Args:
        have: the bands that were found, one for each that is wanted.
        wanted: the bands of the run.
    """
    if have.wavelengths_nm is None or wanted.wavelengths_nm is None:
        lacking = [name for name, bands in (("scene", have), ("run", wanted)) if bands.wavelengths_nm is None]
        who = f"the {lacking[0]} states no" if len(lacking) == 1 else "neither the scene nor the run states"
        return f"Matched by number: {who} wavelengths."
    apart = np.abs(np.subtract(have.wavelengths_nm, wanted.wavelengths_nm))
    if not apart.any():
        return ""
    return f"Matched by wavelength: {(apart > 0).sum()} of {len(wanted)} bands differ, by {apart.max():.2g} nm at most."


@dataclass(frozen=True, eq=False)
class Cut:
    """Which parts of a scene that stays on disk lie on a canvas (`patchfree.stream.crops`).

    Attributes:
        source: the whole scene, a `SceneSource`.
        grid: of the whole scene.
        places: where each part lies on the canvas, and where in the scene.
        groups: of parts that a network sees at a time, on the canvas.
    """

    source: Any
    grid: Grid
    places: tuple[tuple[Window, Window], ...]
    groups: tuple[Window, ...]


@dataclass(frozen=True, eq=False)
class Member:
    """One of several scenes that lie on one canvas (`patchfree.series`).

    Attributes:
        name: of its own among them; also that of its folder in a run.
        window: where it lies on the canvas.
        grid: its own rows, columns and map position.
        cut: of which parts it consists, if it is not there as a whole; places are counted from the window's corner.
    """

    name: str
    window: Window
    grid: Grid
    cut: Cut | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """The bands of one image on one grid.

    Attributes:
        name: what to call it in reports: the file's name.
        values: the bands, in physical units where the file states a scale (reflectance: 0..1), and 0 where
            `valid` is False.
        valid: True where every kept band holds data.
        bands: numbers, wavelengths and widths of the kept bands.
        grid: rows, columns and map position.
        notes: what was assumed, dropped or masked while reading, one sentence each.
        details: format, data type, nodata, scale: what the file says of itself.
        members: the scenes that lie on this canvas, if it is one; a network sees each of them by itself.
        cut: of which parts of a scene on disk this canvas consists, if it is one; a network sees them together.
    """

    name: str
    values: Float32[np.ndarray, "c h w"]
    valid: Bool[np.ndarray, "h w"]
    bands: Bands
    grid: Grid
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    cut: Cut | None = None

    def __repr__(self) -> str:
        h, w = self.grid.shape
        return f"Scene({self.name!r}, {h} x {w} pixels, {len(self.bands)} bands, {self.valid.mean():.0%} with data)"

    @property
    def wavelengths_nm(self) -> Float64[np.ndarray, " c"] | None:
        """Centre of each band, or None."""
        return None if self.bands.wavelengths_nm is None else np.asarray(self.bands.wavelengths_nm, float)

    @property
    def all_valid(self) -> bool:
        """True when every pixel holds data."""
        return bool(self.valid.all())

    @property
    def windows(self) -> tuple[Window, ...]:
        """Where each of several scenes lies on the canvas; the whole of it for one scene."""
        whole = (slice(0, self.grid.height), slice(0, self.grid.width))
        return tuple(member.window for member in self.members) or (whole,)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The scenes on this canvas, each on its own grid; the scene itself if it is one."""
        return tuple(
            Scene(m.name, self.values[:, *m.window], self.valid[m.window], self.bands, m.grid, cut=m.cut)
            for m in self.members
        ) or (self,)

    @property
    def passes(self) -> tuple[Window, ...]:
        """What a network sees at a time: each scene, or each group of parts of a scene."""
        return self._on_canvas(lambda scene: scene.cut.groups if scene.cut else scene.windows)

    @property
    def ground(self) -> Grid:
        """A grid with the size of this scene's pixels on the ground: that of the (first) whole scene on the canvas."""
        first = self.scenes[0]
        return first.grid if first.cut is None else first.cut.grid

    @property
    def patches(self) -> tuple[Window, ...]:
        """Parts of the canvas within which pixels are neighbours as on the ground."""
        return self._on_canvas(lambda scene: [part for part, _ in scene.cut.places] if scene.cut else scene.windows)

    def _on_canvas(self, parts: Callable[[Scene], Sequence[Window]]) -> tuple[Window, ...]:
        """Parts of each scene, which count from its own corner, where they lie on the canvas."""
        return tuple(
            shifted(part, window)
            for scene, window in zip(self.scenes, self.windows, strict=True)
            for part in parts(scene)
        )

    def select(self, positions: Sequence[int]) -> Scene:
        """The scene with only the bands at these zero-based positions, in this order."""
        positions = list(positions)
        if positions == list(range(len(self.bands))):
            return self
        return dataclasses.replace(self, values=self.values[positions], bands=self.bands.select(positions))

    def matching(self, bands: Bands, *, resample: bool = False) -> Scene:
        """The scene with exactly these bands, matched by wavelength, or by number if one has none.

        Args:
            bands: the wanted bands.
            resample: make bands that are not there as Gaussian means of finer ones, by wavelength and width
                (`patchfree.resample`); a note says how many.

        Raises:
            BandMismatch: a band is missing, or cannot be made.
        """
        if resample:
            from patchfree.resample import resample as make

            return make(self, bands)
        return self.select(self.bands.positions_of(bands))

    def fingerprint(self) -> str:
        """A hash of the pixel values, the data mask and the band numbers."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.values, self.valid, np.asarray(self.bands.numbers)):
            digest.update(str(part.shape).encode())
            digest.update(np.ascontiguousarray(part).data)
        for member in self.members:
            digest.update(repr((member.name, member.window)).encode())
        for cut in (scene.cut for scene in self.scenes):
            if cut is not None:
                digest.update(repr((cut.source.signature(), cut.places)).encode())
        return digest.hexdigest()

    def to_xarray(self) -> xarray.DataArray:
        """The scene as an `xarray.DataArray` (band, y, x), NaN where there is no data. Needs the extra `xarray`."""
        from patchfree.interop import to_xarray

        return to_xarray(self)


def make_scene(
    values: Float32[np.ndarray, "c h w"],
    *,
    missing: Bool[np.ndarray, "c h w"],
    bands: Bands,
    grid: Grid,
    name: str,
    bad_bands: Sequence[int] = (),
    notes: Sequence[str] = (),
    details: dict[str, Any] | None = None,
) -> Scene:
    """Build a scene: drop bands without data, mask pixels without data, and say so.

    Args:
        values: the bands; changed in place (zeros where there is no data).
        missing: True where a value is nodata or not finite.
        bands: what is known of the bands.
        grid: rows, columns, map position.
        name: what to call the scene.
        bad_bands: one-based numbers of bands to drop.
        notes: what was assumed so far.
        details: what the file says of itself.

    Raises:
        SceneError: no band or no pixel is left.
    """
    notes = list(notes)
    dropped = set(bad_bands)
    flagged = np.array([number in dropped for number in bands.numbers])
    empty = missing.all((1, 2)) & ~flagged
    if flagged.any():
        notes.append(
            f"Dropped as flagged bad: band {_list(_numbers(bands, flagged))} ({flagged.sum()} of {len(bands)})."
        )
    if empty.any() and not empty.all():
        notes.append(
            f"Dropped for holding no data at all: band {_list(_numbers(bands, empty))} ({empty.sum()} of {len(bands)})."
        )
    keep = np.flatnonzero(~(flagged | empty))
    if not len(keep):
        raise SceneError(
            f"{name}: all {len(bands)} bands are without data or flagged bad; there is nothing to read. "
            "Check the nodata value and the bad-band list with `patchfree info`."
        )
    if len(keep) < len(bands):
        values, missing, bands = values[keep], missing[keep], bands.select([int(i) for i in keep])
    holes = np.asarray(missing.any(0))
    valid = ~holes
    if not valid.any():
        per_band = missing.mean((1, 2))
        worst = int(per_band.argmax())
        raise SceneError(
            f"{name}: no pixel holds data in all {len(bands)} bands. Band {bands.numbers[worst]} lacks "
            f"{per_band[worst]:.0%} of its pixels: if it is a bad band, drop it with --drop-bands."
        )
    if holes.any():
        notes.append(
            f"{holes.sum()} of {holes.size} pixels ({holes.mean():.1%}) lack data in at least one band and are masked."
        )
        values[:, holes] = 0
    dark = int(((values == 0).all(0) & valid).sum())
    if dark > 0.01 * valid.size:
        notes.append(
            f"{dark} pixels ({dark / valid.size:.1%}) are 0 in every band. If they lie outside the image, pass --nodata 0."
        )
    return Scene(name, values, valid, bands, grid, tuple(notes), details or {})


def _numbers(bands: Bands, mask: Bool[np.ndarray, " c"]) -> list[int]:
    return [bands.numbers[i] for i in np.flatnonzero(mask)]


def _list(numbers: Sequence[int]) -> str:
    """Numbers with runs shortened: 1-3, 7."""
    if not numbers:
        return "none"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
