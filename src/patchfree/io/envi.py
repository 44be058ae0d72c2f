"""ENVI: a text header beside a raw binary (BSQ, BIL or BIP).

The header is read here and not through GDAL, which rounds wavelengths to three decimals of a micrometre
and reads a file whose header and binary disagree. The coordinate system is GDAL's, and so is the map position of
a grid that is not rotated; `_envi_map` says why that of a rotated one is not.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import Shaped

from patchfree.errors import SceneError
from patchfree.io._envi_map import place
from patchfree.io._flat import read_part
from patchfree.io._reader import Description, LandClass, Reader, Window, check_dtype, in_nanometres
from patchfree.scene import Bands, Grid

DTYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
INTERLEAVES = {"bsq": ("c", "h", "w"), "bil": ("h", "c", "w"), "bip": ("h", "w", "c")}
BINARY_SUFFIXES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")
REQUIRED = ("samples", "lines", "bands", "data type")


def is_envi(path: Path) -> bool:
    """True if this is an ENVI header, or a binary with one beside it."""
    return path.suffix.lower() == ".hdr" or find_header(path) is not None


def find_header(binary: Path) -> Path | None:
    """The header beside a binary: `x.hdr` or `x.img.hdr`, in any case."""
    wanted = {f"{binary.name}.hdr".lower(), f"{binary.stem}.hdr".lower()}
    if not binary.parent.is_dir() or binary.suffix.lower() not in BINARY_SUFFIXES:
        return None
    found = sorted((p for p in binary.parent.iterdir() if p.name.lower() in wanted), key=lambda p: -len(p.name))
    return found[0] if found else None


def find_binary(header: Path) -> Path:
    """The binary beside a header."""
    stem = header.name[: -len(".hdr")].lower()
    names = {p.name.lower(): p for p in header.parent.iterdir() if p.is_file()}
    for suffix in BINARY_SUFFIXES:
        if stem + suffix in names and names[stem + suffix] != header:
            return names[stem + suffix]
    raise SceneError(
        f"{header} is an ENVI header, but its binary is missing: looked for {stem} with the endings "
        f"{', '.join(s or 'none' for s in BINARY_SUFFIXES)} in {header.parent}. Put the binary beside the header."
    )


def parse_header(header: Path) -> dict[str, str]:
    """Keys (lower case) and raw values of a header; lists keep their text without braces.

    Raises:
        SceneError: it is no ENVI header, a brace is not closed, or a required key is missing.
    """
    text = header.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    lines = text.splitlines()
    if not lines or not lines[0].strip().upper().startswith("ENVI"):
        raise SceneError(f"{header} is no ENVI header: its first line must be 'ENVI', got {(lines or [''])[0][:40]!r}.")
    fields: dict[str, str] = {}
    at = 1
    while at < len(lines):
        line, at = lines[at], at + 1
        if line.lstrip().startswith(";") or "=" not in line:
            continue
        key, _, value = line.partition("=")
        key, value = " ".join(key.lower().split()), value.strip()
        if value.startswith("{"):
            begun = at
            while not value.rstrip().endswith("}"):
                if at >= len(lines) or re.match(r"^\s*[a-z][a-z ]+\s*=\s*[{\w]", lines[at]):
                    raise SceneError(
                        f"{header}, line {begun}: the list of '{key}' has no closing brace. Add '}}' at its end."
                    )
                value, at = f"{value} {lines[at].strip()}", at + 1
            value = value.strip()[1:-1].strip()
        fields[key] = value
    missing = [key for key in REQUIRED if key not in fields]
    if missing:
        raise SceneError(
            f"{header} lacks {', '.join(repr(key) for key in missing)}; an ENVI header needs "
            f"{', '.join(REQUIRED)}. Add a line such as '{missing[0]} = 100'."
        )
    return fields


class Envi(Reader):
    """An ENVI header with its binary; either may be named."""

    def _open(self) -> tuple[Path, Path, dict[str, str]]:
        header = self.path if self.path.suffix.lower() == ".hdr" else find_header(self.path)
        assert header is not None, "io sends only files with a header here"
        binary = find_binary(header) if self.path.suffix.lower() == ".hdr" else self.path
        return header, binary, parse_header(header)

    @property
    def files(self) -> list[Path]:
        """Header and binary."""
        return list(self._open()[:2])

    def describe(self) -> Description:
        """Read the header and check it against the size of the binary."""
        header, binary, fields = self._open()
        notes: list[str] = []
        dtype, interleave, shape, _ = _binary_layout(header, binary, fields)
        count = shape["c"]
        units = fields.get("wavelength units")
        wavelengths = _numbers(fields, "wavelength", count, header, notes)
        fwhm = _numbers(fields, "fwhm", count, header, notes)
        wavelengths_nm = fwhm_nm = None
        if wavelengths:
            wavelengths_nm, note = in_nanometres(wavelengths, units)
            notes += [note] if note else []
            if fwhm and wavelengths_nm:
                fwhm_nm = tuple(round(v * (wavelengths_nm[0] / wavelengths[0]), 6) for v in fwhm)
        bbl = _numbers(fields, "bbl", count, header, notes)
        factor = _number(fields, "reflectance scale factor", header)
        gains = _numbers(fields, "data gain values", count, header, notes)
        offsets = _numbers(fields, "data offset values", count, header, notes)
        scale = tuple(gains) if gains else (1 / factor,) * count if factor and factor != 1 else None
        nodata = _number(fields, "data ignore value", header)
        crs, transform, problem = _georeference(binary)
        transform, said = place(fields.get("map info", ""), transform)
        notes += [note for note in (problem, said) if note]
        return Description(
            format=f"ENVI {interleave.upper()}",
            dtype=dtype,
            bands=Bands(tuple(range(1, count + 1)), count, wavelengths_nm, fwhm_nm),
            grid=Grid(shape["h"], shape["w"], crs, transform),
            nodata=None if nodata is None else (nodata,) * count,
            scale=scale,
            offset=tuple(offsets) if offsets else None,
            bad_bands=tuple(i + 1 for i, good in enumerate(bbl or []) if not good),
            classes=_classes(fields),
            notes=tuple(notes),
            details={"header": header.name, "byte_order": "big" if dtype.byteorder == ">" else "little"},
        )

    def read(self, window: Window | None = None) -> Shaped[np.ndarray, "c h w"]:
        """The stored numbers; only the window is read from disk."""
        header, binary, fields = self._open()
        dtype, interleave, shape, offset = _binary_layout(header, binary, fields)
        order = INTERLEAVES[interleave]
        sizes, to_chw = tuple(shape[axis] for axis in order), [order.index(axis) for axis in "chw"]
        if window is None:
            return np.asarray(np.memmap(binary, dtype, "r", offset, sizes)).transpose(to_chw)
        cut = dict(zip("chw", (slice(None), *window), strict=True))
        return read_part(binary, dtype, sizes, offset, tuple(cut[axis] for axis in order)).transpose(to_chw)


def _binary_layout(
    header: Path, binary: Path, fields: dict[str, str]
) -> tuple[np.dtype[Any], str, dict[str, int], int]:
    """Type, interleave, sizes and offset of the binary, checked against the size of the file."""
    integers = {key: _integer(fields, key, header) for key in REQUIRED}
    offset = _integer(fields, "header offset", header) if "header offset" in fields else 0
    code = integers["data type"]
    if code not in DTYPES:
        raise SceneError(f"{header}: unknown data type {code}; ENVI defines {', '.join(map(str, DTYPES))}.")
    big = fields.get("byte order", "0").strip() == "1"
    dtype = np.dtype((">" if big else "<") + DTYPES[code])
    check_dtype(binary, dtype)
    interleave = fields.get("interleave", "bsq").strip().lower()
    if interleave not in INTERLEAVES:
        raise SceneError(f"{header}: unknown interleave {interleave!r}; need bsq, bil or bip.")
    if fields.get("file compression", "0").strip() not in ("0", ""):
        raise SceneError(f"{header}: the binary is compressed (file compression = 1). Decompress it with gunzip first.")
    shape = {"c": integers["bands"], "h": integers["lines"], "w": integers["samples"]}
    if min(shape.values()) < 1:
        raise SceneError(f"{header}: samples, lines and bands must be at least 1, got {shape}.")
    need = offset + dtype.itemsize * shape["c"] * shape["h"] * shape["w"]
    have = binary.stat().st_size
    if have != need:
        what = "is truncated" if have < need else "is larger than its header says"
        raise SceneError(
            f"{binary} {what}: it has {have} bytes, and {header.name} needs {need} (offset {offset} + {shape['h']} lines "
            f"x {shape['w']} samples x {shape['c']} bands x {dtype.itemsize} bytes). "
            + ("Copy the file again, or correct" if have < need else "Correct")
            + " lines, samples, bands, data type or header offset in the header."
        )
    return dtype, interleave, shape, offset


def _integer(fields: dict[str, str], key: str, header: Path) -> int:
    try:
        return int(fields[key])
    except ValueError:
        raise SceneError(f"{header}: '{key}' must be a whole number, got {fields[key]!r}.") from None


def _number(fields: dict[str, str], key: str, header: Path) -> float | None:
    if not fields.get(key):
        return None
    try:
        return float(fields[key])
    except ValueError:
        raise SceneError(f"{header}: '{key}' must be a number, got {fields[key]!r}.") from None


def _numbers(fields: dict[str, str], key: str, count: int, header: Path, notes: list[str]) -> list[float] | None:
    """The list under a key; None with a note if it does not fit the number of bands."""
    if key not in fields:
        return None
    try:
        values = [float(part) for part in fields[key].split(",") if part.strip()]
    except ValueError:
        notes.append(f"{header.name}: '{key}' holds something that is no number; it was left out.")
        return None
    if len(values) != count:
        notes.append(f"{header.name}: '{key}' has {len(values)} entries for {count} bands; it was left out.")
        return None
    return values


def _classes(fields: dict[str, str]) -> tuple[LandClass, ...]:
    """Names and colours of an ENVI classification file."""
    names = [name.strip() or None for name in fields.get("class names", "").split(",")]
    numbers = [int(v) for v in re.findall(r"\d+", fields.get("class lookup", ""))]
    colours = [(r, g, b) for r, g, b in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False)]
    return tuple(
        LandClass(value, name, colours[value] if value < len(colours) else None) for value, name in enumerate(names)
    )


def _georeference(
    binary: Path,
) -> tuple[str | None, tuple[float, float, float, float, float, float] | None, str | None]:
    """CRS and transform as GDAL reads them from the header, and a note if they make no sense."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(binary, driver="ENVI") as source:
                crs, transform = source.crs, source.transform
    except rasterio.errors.RasterioError:
        return None, None, None
    if transform.is_identity:
        return None, None, None
    if crs is None or crs.to_wkt().startswith(("LOCAL_CS", "ENGCRS")):  # "Arbitrary", or UTM without a zone
        return None, tuple(transform)[:6], "The header gives a map position but no coordinate system."
    problem = _implausible(crs.to_wkt())
    if problem:
        return None, None, problem
    return crs.to_wkt(), tuple(transform)[:6], None


def _implausible(wkt: str) -> str | None:
    """A note if the ellipsoid of a CRS is not the Earth's: the header's text has typing errors."""
    axis = re.search(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([0-9.eE+]+)', wkt)
    if axis and not 6.3e6 < float(axis[1]) < 6.4e6:
        return (
            f"The coordinate system in the header has an ellipsoid with a semi-major axis of {float(axis[1]):g} m, and the "
            "Earth's is about 6378137 m: the text has typing errors, so the scene is treated as not georeferenced."
        )
    return None
