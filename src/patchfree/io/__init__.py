"""The door: files in, scenes and labels out. Adding a raster format is one file and one line in READERS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from patchfree.errors import SceneError
from patchfree.io import desis, enmap, envi, sentinel2
from patchfree.io._reader import QUALITY, Description, LandClass, Reader, Window, check_dtype
from patchfree.io.arrays import Numpy
from patchfree.io.desis import DESIS
from patchfree.io.emit import Emit, is_emit
from patchfree.io.enmap import EnMAP
from patchfree.io.envi import Envi
from patchfree.io.gdal import Gdal
from patchfree.io.hdf5 import Hdf5, is_hdf5
from patchfree.io.matlab import Matlab
from patchfree.io.mosaic import Mosaic, is_mosaic
from patchfree.io.netcdf3 import NetCDF3, is_netcdf3
from patchfree.io.pair import PairFile, is_pair
from patchfree.io.prisma import Prisma, is_prisma
from patchfree.io.sentinel2 import Sentinel2
from patchfree.io.tanager import Tanager, is_tanager
from patchfree.io.zarr import Zarr, is_zarr
from patchfree.scene import MASK_NOTES, MASKED, Bands, Scene, make_scene

READERS: dict[str, tuple[Callable[[Path], bool], type[Reader]]] = {
    "zarr": (is_zarr, Zarr),
    "pair": (is_pair, PairFile),
    "enmap": (enmap.is_enmap, EnMAP),
    "desis": (desis.is_desis, DESIS),
    "sentinel2": (sentinel2.is_sentinel2, Sentinel2),
    "mosaic": (is_mosaic, Mosaic),
    "envi": (envi.is_envi, Envi),
    "matlab": (lambda path: path.suffix.lower() == ".mat", Matlab),
    "numpy": (lambda path: path.suffix.lower() in (".npy", ".npz"), Numpy),
    "prisma": (is_prisma, Prisma),
    "emit": (is_emit, Emit),
    "tanager": (is_tanager, Tanager),
    "hdf5": (is_hdf5, Hdf5),
    "netcdf3": (is_netcdf3, NetCDF3),
    "gdal": (lambda _: True, Gdal),
}
"""Formats in the order in which they are tried: a test of the path, and the reader."""

HIDDEN = ("cloud", "cirrus", "shadow", "bad")
"""Quality masks that are left out unless the user says otherwise: the ground is not seen there."""

__all__ = [
    "HIDDEN",
    "QUALITY",
    "READERS",
    "Bands",
    "Description",
    "LandClass",
    "Reader",
    "Window",
    "find_reader",
    "open_scene",
    "read_raster",
]


def find_reader(path: str | Path, *, axes: str | None = None, layers: int = 3) -> Reader:
    """The reader of a file.

    Args:
        path: a file, or `file:variable` for one array of several (MATLAB, NumPy, HDF5, NetCDF, Zarr).
        axes: order of the axes of a bare array, "hwb" or "bhw".
        layers: 3 to look for a scene, 2 to look for labels.

    Raises:
        SceneError: the file does not exist.
    """
    file, variable = Path(path), None
    if not file.exists():
        stem, colon, name = str(path).rpartition(":")
        if colon and Path(stem).exists():
            file, variable = Path(stem), name
    if not file.exists():
        near = sorted(p.name for p in file.parent.glob("*"))[:8] if file.parent.is_dir() else []
        hint = (
            f"The folder holds {', '.join(near)}." if near else f"The folder {file.parent} does not exist or is empty."
        )
        raise SceneError(f"{file} does not exist. {hint} Check the path.")
    kinds = (reader for matches, reader in READERS.values() if matches(file))
    if variable is not None:  # whoever names an array wants it bare, even if it stands in a known product
        kinds = (reader for reader in kinds if reader.named_variables)
    kind = next(kinds, None)
    if kind is None:
        raise SceneError(f"{file} is no file with named variables; leave out ':{variable}'.")
    return kind(file, variable=variable, axes=axes, layers=layers)


def open_scene(
    path: str | Path,
    *,
    nodata: float | None = None,
    drop_bands: Sequence[int] = (),
    keep_bad_bands: bool = False,
    axes: str | None = None,
    mask: Sequence[str] = HIDDEN,
) -> Scene:
    """Read a scene: bands, wavelengths, map position, and which pixels hold data.

    Bands that hold no data or that the file flags as bad are dropped; pixels without data in any kept band
    are masked; both are told in `Scene.notes`.

    Args:
        path: ENVI (header or binary), GeoTIFF or anything GDAL reads, MATLAB, NumPy, HDF5 and NetCDF, Zarr, a product of
            EnMAP, PRISMA, EMIT, DESIS, Tanager or Sentinel-2, a folder or a list of tiles; `file:variable` names one array
            of several.
        nodata: stored value that means "no data", in place of what the file says.
        drop_bands: one-based numbers of bands to leave out.
        keep_bad_bands: keep bands that the file flags as bad.
        axes: order of the axes of a bare array: "hwb" (rows, columns, bands; the custom) or "bhw".
        mask: quality masks of the product to leave out as if there were no data, of those that it has (`QUALITY`).

    Raises:
        SceneError: the file is missing, damaged, of another kind, or holds no data.
    """
    reader = find_reader(path, axes=axes)
    description = described(reader, nodata=nodata, drop_bands=drop_bands)
    values, missing = physical_values(reader, description)
    name = reader.path.name
    masks = reader.quality()
    lacking = lacking_masks(masks, mask)
    hidden, notes = hidden_pixels(masks, mask), [*description.notes, *_mask_notes(masks, mask), *lacking]
    if hidden is not None:
        missing |= hidden
    if description.bands.wavelengths_nm is None:
        notes.append("The file states no wavelengths; bands are known by number only.")
    if description.grid.crs is None:
        notes.append("The scene is not georeferenced; maps are written in pixel coordinates.")
    bad = set(drop_bands) | (set() if keep_bad_bands else set(description.bad_bands))
    return make_scene(
        values,
        missing=missing,
        bands=description.bands,
        grid=description.grid,
        name=name,
        bad_bands=sorted(bad),
        notes=notes,
        details=_details(path, description)
        | ({MASK_NOTES: told} if (told := [*description.mask_notes, *lacking]) else {})
        | ({MASKED: masked} if (masked := applied_masks(masks, mask)) else {}),
    )


def described(reader: Reader, *, nodata: float | None, drop_bands: Sequence[int]) -> Description:
    """What the file says of itself, with the user's nodata value in place of its own.

    Raises:
        SceneError: a band to leave out is not there.
    """
    found = reader.describe()
    unknown = sorted(set(drop_bands) - set(found.bands.numbers))
    if unknown:
        raise SceneError(f"{reader.path} has bands 1 to {len(found.bands)}; cannot drop {unknown}.")
    return found if nodata is None else dataclasses.replace(found, nodata=(nodata,) * len(found.bands))


def hidden_pixels(masks: dict[str, Bool[np.ndarray, "h w"]], mask: Sequence[str]) -> Bool[np.ndarray, "h w"] | None:
    """Pixels that the wanted ones of a product's quality masks (`Reader.quality`) hide; None if it has none of them.

    Raises:
        SceneError: there is no mask of this name.
    """
    unknown = sorted(set(mask) - set(QUALITY))
    if unknown:
        raise SceneError(f"Got the quality mask {unknown[0]!r}; there are {', '.join(QUALITY)}.")
    wanted = [layer for name, layer in masks.items() if name in mask]
    return np.asarray(np.logical_or.reduce(wanted)) if wanted else None


def applied_masks(there: Collection[str], mask: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted quality masks that are there."""
    return tuple(name for name in there if name in mask)


def lacking_masks(there: Collection[str], mask: Sequence[str]) -> tuple[str, ...]:
    """A note on masks that were asked for, and that the file lacks; no note on the usual ones, which few products all have."""
    lacking = [name for name in mask if name not in there]
    if tuple(mask) == HIDDEN or not lacking:
        return ()
    return (
        f"The scene has no quality mask {', '.join(lacking)}, as --mask asks; it has {', '.join(there) or 'none'}.",
    )


def _mask_notes(masks: dict[str, Bool[np.ndarray, "h w"]], mask: Sequence[str]) -> list[str]:
    shares = ", ".join(f"{name} {layer.mean():.1%}{'' if name in mask else ' (kept)'}" for name, layer in masks.items())
    return [f"Quality masks of the product: {shares}. --mask chooses which are left out."] if masks else []


def read_raster(path: str | Path, *, axes: str | None = None) -> tuple[Description, Shaped[np.ndarray, "c h w"]]:
    """The stored numbers of a raster, 0 where its own mask says there is nothing, and what it says of itself."""
    reader = find_reader(path, axes=axes, layers=2)
    description = reader.describe()
    values = reader.read()
    check_dtype(reader.path, values.dtype)
    outside = reader.outside()
    return description, values if outside is None else np.where(outside, values.dtype.type(0), values)


def physical_values(
    reader: Reader, description: Description, window: Window | None = None
) -> tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "c h w"]]:
    """Values with scale and offset applied, and where they are missing."""
    stored = reader.read(window)
    check_dtype(reader.path, stored.dtype)
    values = np.ascontiguousarray(stored, dtype=np.float32)
    missing = ~np.isfinite(values)
    for band, nodata in enumerate(description.nodata or ()):
        if nodata is not None and not np.isnan(nodata):
            missing[band] |= stored[band] == nodata
    outside = reader.outside(window)
    if outside is not None:
        missing |= outside
    if values is stored or np.shares_memory(values, stored):
        values = values.copy()
    values[missing] = 0  # before scaling: a large nodata value would overflow
    if description.scale is not None:
        values *= np.asarray(description.scale, np.float32)[:, None, None]
    if description.offset is not None:
        values += np.asarray(description.offset, np.float32)[:, None, None]
    return values, missing


def _details(path: str | Path, description: Description) -> dict[str, Any]:
    def one(values: tuple[Any, ...] | None) -> Any:  # noqa: ANN401 - a number or a list of them
        return None if values is None else values[0] if len(set(map(repr, values))) == 1 else list(values)

    return {
        "path": str(path),
        "format": description.format,
        "dtype": str(description.dtype),
        "nodata": one(description.nodata),
        "scale": one(description.scale),
        "offset": one(description.offset),
        "bad_bands": list(description.bad_bands),
        **description.details,
    }
