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
from patchfree.run import UNFINISHED, Run, load_run, read_json

CHECKPOINTS = ("estimate.safetensors", "refit.safetensors")


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
    """The folder for what is not complete yet; an interrupted run of the same request is kept."""
    staging = folder / UNFINISHED
    check_writable(folder)
    if (staging / "request.json").is_file():
        there = read_json(staging / "request.json")
        if there != _as_json(request) and not overwrite:
            raise RunError(
                f"{folder} holds an unfinished run with {_difference(there, request)}. Repeat its command to finish it, "
                "choose another --out, or pass --overwrite."
            )
        if there != _as_json(request):
            shutil.rmtree(staging)
    check_writable(staging)
    write_json(staging / "request.json", request)
    return staging


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
    """Move the finished files into place, metrics.json last: its presence says that the run is whole."""
    (folder / "metrics.json").unlink(missing_ok=True)
    names = sorted(p.name for p in staging.iterdir() if p.name not in ("request.json", *CHECKPOINTS))
    for name in sorted(names, key=lambda name: name == "metrics.json"):
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        (staging / name).replace(target)
    shutil.rmtree(staging)
    return load_run(folder)
