"""Styles of QGIS (`.qml`) beside rasters: QGIS shows a layer as the file of the same name says.

The elements are those that QGIS 3 writes for a paletted and for a single-band pseudo-colour renderer. A style that the
user has saved over ours is theirs, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from patchfree.files import write_bytes
from patchfree.labels import LandCover

MARK = "<!-- written by patchfree; replaced with the raster unless saved from QGIS -->"

# The colour map cividis at every eighth from 0 to 1, which reads the same with all kinds of colour vision (Nunez et al.
# 2018, doi:10.1371/journal.pone.0199239).
CIVIDIS = (
    (0, 34, 78), (26, 56, 111), (67, 78, 108), (97, 101, 111), (125, 124, 120), (155, 148, 118), (188, 174, 108),
    (222, 201, 88), (254, 232, 56),
)  # fmt: skip

_RANGE = (
    "      <rasterTransparency/>\n      <minMaxOrigin>\n        <limits>None</limits>\n"
    "        <extent>WholeRaster</extent>\n        <statAccuracy>Estimated</statAccuracy>\n      </minMaxOrigin>\n"
)


def write_class_style(raster: Path, legend: Sequence[LandCover]) -> None:
    """Colours and names of the classes; 0 (no data) stays transparent."""
    entries = "".join(
        f'        <paletteEntry value="{entry.value}" color="{_hex(entry.colour)}" alpha="255" label={quoteattr(entry.name)}/>\n'
        for entry in legend
    )
    _write(
        raster,
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        f"{_RANGE}"
        f"      <colorPalette>\n{entries}      </colorPalette>\n"
        "    </rasterrenderer>\n",
    )


def write_share_style(raster: Path) -> None:
    """The first band from 0 to 1 in the colours of cividis."""
    shares = [i / (len(CIVIDIS) - 1) for i in range(len(CIVIDIS))]
    stops = ":".join(f"{share:g};{_rgba(colour)}" for share, colour in list(zip(shares, CIVIDIS, strict=True))[1:-1])
    items = "".join(
        f'            <item value="{share:g}" color="{_hex(colour)}" alpha="255" label="{share:.2f}"/>\n'
        for share, colour in zip(shares, CIVIDIS, strict=True)
    )
    options = {"color1": _rgba(CIVIDIS[0]), "color2": _rgba(CIVIDIS[-1]), "discrete": "0", "rampType": "gradient"}
    ramp = "".join(
        f'              <Option type="QString" name="{name}" value="{value}"/>\n'
        for name, value in {**options, "stops": stops}.items()
    )
    _write(
        raster,
        '    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" nodataColor="" '
        'classificationMin="0" classificationMax="1">\n'
        f"{_RANGE}"
        "      <rastershader>\n"
        '        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" minimumValue="0" '
        'maximumValue="1" labelPrecision="2">\n'
        '          <colorramp type="gradient" name="[source]">\n'
        f'            <Option type="Map">\n{ramp}            </Option>\n'
        "          </colorramp>\n"
        f"{items}"
        "        </colorrampshader>\n"
        "      </rastershader>\n"
        "    </rasterrenderer>\n",
    )


def remove_style(raster: Path) -> None:
    """Remove our style of an older raster of this name; one of the user's stays."""
    path = raster.with_suffix(".qml")
    if _ours(path):
        path.unlink()


def _write(raster: Path, renderer: str) -> None:
    path = raster.with_suffix(".qml")
    if path.exists() and not _ours(path):
        return
    text = (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'{MARK}\n<qgis version="3.34.0" styleCategories="Symbology">\n  <pipe>\n{renderer}'
        '    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>\n'
        '    <huesaturation saturation="0" grayscaleMode="0"/>\n'
        '    <rasterresampler maxOversampling="2"/>\n'
        "  </pipe>\n  <blendMode>0</blendMode>\n</qgis>\n"
    )
    write_bytes(path, text.encode())


def _ours(path: Path) -> bool:
    return path.is_file() and MARK.encode() in path.read_bytes()


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _rgba(colour: tuple[int, int, int]) -> str:
    return "{},{},{},255".format(*colour)
