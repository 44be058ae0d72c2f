"""The scenes that methods are compared on: `scenes.toml` describes them, the user's folder holds their files."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from patchfree.demo import indian_pines
from patchfree.errors import ConfigError, SceneError

BUILT_IN = {"indian_pines": indian_pines}
SYNTHETIC = {"rows", "columns", "bands", "classes"}

PLAIN: tuple[tuple[str, type, str], ...] = (
    ("title", str, "a text"),
    ("cite", str, "a text"),
    ("bands", int, "a number of bands"),
    ("label_scale", int, "a whole number from 1"),
    ("official_random", bool, "true or false"),
    ("class_field", str, "the name of an attribute"),
    ("layer", str, "the name of a layer"),
    ("axes", str, '"hwb" (rows, columns, bands) or "bhw"'),
)


@dataclass(frozen=True)
class Described:
    """A scene as `scenes.toml` describes it; docs of the fields stand at the top of that file."""

    name: str
    title: str
    scene: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    official: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    ignore_classes: tuple[int, ...] = ()
    bands: int | None = None
    nodata: float | None = None
    drop_bands: tuple[int, ...] = ()
    axes: str | None = None
    class_field: str | None = None
    layer: str | None = None
    label_scale: int = 1
    official_random: bool = False
    abundances: tuple[str, ...] = ()
    anomalies: tuple[str, ...] = ()
    built_in: str | None = None
    synthetic: dict[str, int] = field(default_factory=dict)
    protocols: tuple[str, ...] = ()
    cite: str = ""
    home: Path | None = None
    """Folder of the file that describes it; None for patchfree's own."""


def described_scenes(file: Path | None = None) -> dict[str, Described]:
    """All scenes by name: those of patchfree, and those of a file of the user's, which win.

    Raises:
        ConfigError: the file is missing, is no TOML, or an entry has an unknown or a missing setting.
    """
    with (resources.files("patchfree.benchmark") / "scenes.toml").open("rb") as built_in:
        found = {name: _described(name, entry, "scenes.toml") for name, entry in tomllib.load(built_in).items()}
    if file is None:
        return found
    try:
        own = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read as a list of scenes: {error}. Give a TOML file such as scenes.toml in patchfree."
        ) from error
    home = file.resolve().parent
    return found | {
        name: dataclasses.replace(_described(name, entry, str(file)), home=home) for name, entry in own.items()
    }


def _described(name: str, entry: Any, file: str) -> Described:  # noqa: ANN401 - whatever TOML holds
    if not isinstance(entry, dict):
        raise ConfigError(f"{file}: {name} = {entry!r} stands outside of a scene. Put it below a line [NAME].")
    known = {f.name for f in dataclasses.fields(Described)} - {"name", "home"}
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise ConfigError(
            f"{file}: scene {name} has the unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}."
        )

    def names(value: Any) -> tuple[str, ...]:  # noqa: ANN401
        given = (value,) if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not all(isinstance(part, str) for part in given):
            raise ConfigError(f"{file}: scene {name} has {value!r} where a name or a list of names is needed.")
        return tuple(given)

    lists = {
        key: names(entry[key])
        for key in ("scene", "labels", "classes", "abundances", "anomalies", "protocols")
        if key in entry
    }
    given = entry.get("official", {})
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: scene {name} has official = {given!r}; need {{ train = FILE, test = FILE }}.")
    official = {part: names(files) for part, files in given.items()}
    for key, what in (("ignore_classes", "class values"), ("drop_bands", "numbers of bands")):
        if key in entry and not (isinstance(entry[key], list) and all(type(value) is int for value in entry[key])):
            raise ConfigError(f"{file}: scene {name} has {key} = {entry[key]!r}; need a list of {what}.")
    nodata = entry.get("nodata", 0)
    if type(nodata) not in (int, float):
        raise ConfigError(f"{file}: scene {name} has nodata = {nodata!r}; need a number.")
    for key, kind, what in PLAIN:
        if key in entry and (type(entry[key]) is not kind or (kind is int and entry[key] < 1)):
            raise ConfigError(f"{file}: scene {name} has {key} = {entry[key]!r}; need {what}.")
    built_in, synthetic = entry.get("built_in"), entry.get("synthetic", {})
    if built_in is not None and built_in not in BUILT_IN:
        raise ConfigError(f"{file}: scene {name} has built_in = {built_in!r}; there is {', '.join(BUILT_IN)}.")
    if "synthetic" in entry and not _numbers(synthetic):
        raise ConfigError(
            f"{file}: scene {name} has synthetic = {synthetic!r}; need rows, columns, bands and classes, whole numbers from 1."
        )
    settings: dict[str, Any] = {"name": name, "title": name} | entry | lists
    if "nodata" in entry:
        settings["nodata"] = float(nodata)
    numbers = {key: tuple(entry[key]) for key in ("ignore_classes", "drop_bands") if key in entry}
    scene = Described(**settings | numbers | {"official": official})
    if not (
        scene.built_in
        or scene.synthetic
        or (scene.scene and (scene.labels or official or scene.abundances or scene.anomalies))
    ):
        raise ConfigError(f"{file}: scene {name} needs `scene`, and `labels`, `official` or `anomalies`.")
    if official and not {"train", "test"} <= official.keys() <= {"train", "test", "validation"}:
        raise ConfigError(
            f"{file}: the official split of {name} has {', '.join(official)}; it needs train and test, and may have validation."
        )
    return scene


def _numbers(synthetic: object) -> bool:
    """Whether this says all that a synthetic scene needs."""
    return (
        isinstance(synthetic, dict)
        and synthetic.keys() == SYNTHETIC
        and all(type(value) is int and value >= 1 for value in synthetic.values())
    )


def missing_files(described: Described, data: Path | None) -> str | None:
    """What a scene lacks, for people; None if all its files are there."""
    for names in filter(None, (described.scene, described.labels, described.abundances, described.anomalies)):
        if not any(where_is(name, roots_of(described, data)) for name in names):
            return absent(names, data, described)
    if described.official and not (described.labels or described.abundances):
        path, _ = find(described.scene, data, described)
        for part in ("train", "test"):
            if not any(where_is(name, roots_of(described, data), path) for name in described.official[part]):
                return absent(described.official[part], data, described)
    return None


def missing_official(described: Described, data: Path | None) -> str | None:
    """What a scene lacks for the protocol official, for people; None if it lacks nothing, or its scene file is not there either."""
    if not described.official:
        return f"{described.title} has no official split. Use per-class:N, fraction:F or separate."
    try:
        path, _ = find(described.scene, data, described)
    except SceneError:
        return None
    roots = roots_of(described, data)
    for part, files in described.official.items():
        if not any(where_is(name, roots, path) for name in files):
            return f"The official split of {absent(files, data, described)} ({part} pixels)"
    return None


def find(names: Sequence[str], data: Path | None, described: Described) -> tuple[Path, str | None]:
    """File and variable of the first of these names that is there.

    Raises:
        SceneError: none is.
    """
    roots = roots_of(described, data)
    found = next(filter(None, (where_is(name, roots) for name in names)), None)
    if found is None:
        raise SceneError(absent(names, data, described))
    return found


def absent(names: Sequence[str], data: Path | None, described: Described) -> str:
    """That none of these names is there, for people."""
    files = " or ".join(dict.fromkeys(name.partition(":")[0] for name in names))
    roots = " or ".join(str(root) for root in roots_of(described, data))
    where = f"is not below {roots}" if roots else "is needed, and no --data folder was given"
    return (
        f"{described.title}: {files} {where}. Get the file from its publisher and put it there, or leave the scene out."
    )


def roots_of(described: Described, data: Path | None) -> tuple[Path, ...]:
    """Where files are looked for: below the data folder, and below that of the file that describes the scene."""
    return tuple(root for root in (data, described.home) if root is not None)


def where_is(name: str, roots: Sequence[Path], beside: Path | None = None) -> tuple[Path, str | None] | None:
    """File and variable of this name, at any depth below one of these folders.

    With `beside`, a name without a folder is looked for near that file only.
    """
    file, _, variable = name.partition(":")
    if Path(file).is_absolute():
        return (Path(file), variable or None) if Path(file).exists() else None
    wanted = tuple(part.casefold() for part in Path(file).parts)
    if beside is not None and len(wanted) == 1:
        roots = (beside.parent,)
    found = next((root / file for root in roots if (root / file).exists()), None) or _below(wanted, roots)
    return None if found is None else (found, variable or None)


def _below(wanted: tuple[str, ...], roots: Sequence[Path]) -> Path | None:
    """The first path below these folders that ends in these parts, whatever their capitals."""
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders.sort()
            for entry in sorted((*files, *folders)):
                path = Path(folder, entry)
                if tuple(part.casefold() for part in path.parts[-len(wanted) :]) == wanted:
                    return path
    return None
