"""Zarr stores in a folder, versions 2 and 3, through the package `zarr` (extra `zarr`)."""

from __future__ import annotations

import base64
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from patchfree.errors import MissingExtra, PatchfreeError, SceneError
from patchfree.io._cf import NamedArrays
from patchfree.io._named import Array
from patchfree.io._reader import unpacking

COPIES, AT_ONCE = 2, 10
"""Of a chunk as it is unpacked, measured; and how many chunks zarr unpacks at a time for one window (its `async.concurrency`)."""
MARKS = ("zarr.json", ".zgroup", ".zarray")


def is_zarr(path: Path) -> bool:
    """True for a folder that holds the metadata of a Zarr store, or is called `.zarr`."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or any((path / mark).is_file() for mark in MARKS))


class Zarr(NamedArrays):
    """An array of a Zarr store."""

    def format_name(self) -> str:
        """Zarr with its version."""
        return "Zarr v3" if (self.path / "zarr.json").is_file() else "Zarr v2"

    @contextmanager
    def arrays(self) -> Iterator[dict[str, Array]]:
        """Every array of the store, in all groups; the store itself where it is one array."""
        try:
            import zarr
        except ImportError:
            raise MissingExtra("zarr", "zarr", f"Reading {self.path.name}") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of files beside the arrays, and of types that are not in the standard
                store = zarr.open(self.path, mode="r")
                items = [(self.path.stem, store)] if isinstance(store, zarr.Array) else store.members(max_depth=None)
                found = {name: _array(name, item) for name, item in items if isinstance(item, zarr.Array)}
            yield found
        except PatchfreeError:
            raise
        # What a damaged store raises depends on the codec: zarr, numcodecs, json and zlib all have errors of their own.
        except Exception as error:
            raise SceneError(
                f"{self.path}: reading the Zarr store failed ({error or type(error).__name__}). It is damaged or incomplete; copy "
                "the whole folder again."
            ) from error


def _array(name: str, item: Any) -> Array:  # noqa: ANN401 - zarr is optional
    """An array with its attributes; the fill value of version 2 means "no data", as xarray has it."""
    attributes = dict(item.attrs)
    dimensions = getattr(item.metadata, "dimension_names", None) or attributes.pop("_ARRAY_DIMENSIONS", None)
    dtype = np.dtype(item.dtype)
    if isinstance(attributes.get("_FillValue"), str) and dtype.kind == "f":  # xarray packs it, JSON has no NaN
        attributes["_FillValue"] = struct.unpack("<d", base64.standard_b64decode(attributes["_FillValue"]))[0]
    if item.metadata.zarr_format == 2 and item.fill_value is not None and item.fill_value != 0:
        attributes.setdefault("_FillValue", item.fill_value)  # 0 is what zarr writes unasked
    names = tuple(str(dimension or "") for dimension in dimensions or [""] * len(item.shape))
    piece = prod(item.chunks) * dtype.itemsize
    taken = unpacking(piece, (COPIES * min(AT_ONCE, item.nchunks) - 1) * piece)
    return Array(
        name, item.shape, dtype, attributes, names, lambda cut: np.asarray(item[cut]), taken, lambda: _unwritten(item)
    )


def _unwritten(item: Any) -> str:  # noqa: ANN401 - zarr is optional
    """A note on chunks without a file: Zarr leaves them out where all is the fill value, and so does a copy that was cut short."""
    lacking = item.nchunks - item.nchunks_initialized
    if not lacking:
        return ""
    return (
        f"{lacking} of {item.nchunks} chunks have no file, so by the rules of Zarr their pixels hold the fill value, {item.fill_value}. "
        "If they should hold more, copy the whole folder again."
    )
