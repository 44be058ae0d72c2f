"""The life of a run folder: staged while it is made, moved into place when it is whole.

An interrupted run leaves its checkpoint in `.unfinished`; the same request finds it there and goes on. What lay in the
folder before stays untouched until everything new is complete.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from patchfree.errors import ConfigError, RunError
from patchfree.files import check_writable, write_json
from patchfree.run import SCENES, UNFINISHED, Run, load_run, read_json

CHECKPOINTS = ("estimate.safetensors", "refit.safetensors")
OUTPUTS = (
    "map.tif", "map.tif.aux.xml", "map.qml", "split.tif", "split.tif.aux.xml", "split.qml", "probabilities.tif",
    "uncertainty.tif", "uncertainty.qml", "score.tif", "spread.tif", "decided.tif", "decided.tif.aux.xml", "decided.qml", "objects.gpkg", "model.safetensors", "statistics.safetensors", "model.json", "item.json",
    "log.jsonl", "report.html", "training.html", "figures", SCENES, "metrics.json",
)  # fmt: skip
"""Everything that a run may put into its folder; metrics.json comes last, its presence says that the run is whole."""


def finished_run(folder: Path, request: dict[str, Any], *, overwrite: bool) -> Run | None:
    """The finished run in this folder, if it is the same run."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --out must be a folder.")
    if not (folder / "metrics.json").is_file() or overwrite:
        return None
    there = read_json(folder / "metrics.json").get("request", {})
    if there == _as_json(request):
        return load_run(folder)
    raise RunError(
        f"{folder} holds a finished run with {_difference(there, request)}. Choose another --out, or pass --overwrite."
    )


def stage(folder: Path, request: dict[str, Any], *, overwrite: bool) -> Path:
    """The folder for what is not complete yet; an interrupted run of the same request is kept.

    Raises:
        RunError: an interrupted run with other settings, or files that are no run of ours, would be lost.
        ConfigError: nothing can be written there.
    """
    staging = folder / UNFINISHED
    strangers = [name for name in OUTPUTS if (folder / name).exists()]
    if strangers and not overwrite and not staging.is_dir():
        raise RunError(
            f"{folder} holds {', '.join(strangers)}, but no finished run; they would be replaced. Choose another --out, or "
            "pass --overwrite."
        )
    if staging.is_dir():
        there = read_json(staging / "request.json") if (staging / "request.json").is_file() else {}
        if there != _as_json(request):
            if _has_checkpoint(staging) and there and not overwrite:
                raise RunError(
                    f"{folder} holds an unfinished run with {_difference(there, request)}. Repeat its command to finish "
                    "it, choose another --out, or pass --overwrite."
                )
            shutil.rmtree(staging)
    check_writable(staging)
    write_json(staging / "request.json", request)
    return staging


def abandon(staging: Path) -> None:
    """Leave nothing behind of a job that failed before it trained anything."""
    if not _has_checkpoint(staging):
        shutil.rmtree(staging, ignore_errors=True)


def _has_checkpoint(staging: Path) -> bool:
    return any((staging / name).is_file() for name in CHECKPOINTS)


def _as_json(value: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON gives back
    return json.loads(json.dumps(value))


def _difference(there: dict[str, Any], request: dict[str, Any]) -> str:
    """Which settings of two requests differ, for people."""
    ours = _as_json(request)
    parts = []
    for key, value in ours.items():
        other = there.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            parts += [
                f"{name} {other.get(name)} (now {value[name]})" for name in value if other.get(name) != value[name]
            ]
        elif other != value:
            parts.append(f"another {key}" if key in ("scene", "labels", "split") else f"{key} {other} (now {value})")
    return ", ".join(parts) or "other settings"


def publish(folder: Path, staging: Path) -> Run:
    """Move the finished files into place, and remove what an earlier run left and this one did not make."""
    (folder / "metrics.json").unlink(missing_ok=True)
    for name in OUTPUTS:
        old, new = folder / name, staging / name
        if old.is_dir():
            shutil.rmtree(old)
        if new.exists():
            new.replace(old)
        else:
            old.unlink(missing_ok=True)
    shutil.rmtree(staging)
    return load_run(folder)
