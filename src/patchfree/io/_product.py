"""What readers of products share that are rasters beside an XML file."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from patchfree.errors import SceneError
from patchfree.io._reader import QUALITY


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file.

    Raises:
        SceneError: it is no XML, or cut off.
    """
    try:
        return ET.parse(path).getroot()
    except ET.ParseError as error:
        raise SceneError(f"{path} is damaged: {error}. Unpack or download the product again.") from error


def number(element: ET.Element, tag: str, path: Path) -> float:
    """The number in a child of an element, whatever its namespace.

    Raises:
        SceneError: the child is missing, or holds no number.
    """
    text = (element.findtext(f"{{*}}{tag}") or "").strip()
    try:
        return float(text)
    except ValueError:
        raise SceneError(
            f"{path}: a {element.tag.rpartition('}')[2]} has {f'{text!r}' if text else 'nothing'} as {tag}; need a number. "
            "Unpack or download the product again."
        ) from None


def in_order(masks: Mapping[str, Bool[np.ndarray, "h w"]]) -> dict[str, Bool[np.ndarray, "h w"]]:
    """Quality masks in the order of `QUALITY`."""
    return {name: masks[name] for name in QUALITY if name in masks}


def missing_layers(names: Iterable[str], masks: str) -> tuple[str, ...]:
    """A note on quality layers that are not there; no note if all are."""
    listed = ", ".join(names)
    return (f"The product lacks {listed}, so nothing is known of {masks}.",) if listed else ()
