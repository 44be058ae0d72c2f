"""Writing files so that nothing is lost: a temporary name first, moved into place when complete."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from patchfree.errors import ConfigError, OutputError, PatchfreeError, RunError


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file or nothing; what was there before stays until the new file is complete.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # not there, nor is its folder
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}. {len(data)} bytes were needed; what was there "
            "before is untouched. Free some space or choose another place, and run the same command again."
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file or folder in the place of an old one, for what other libraries write.

    Yields a name inside a temporary folder on the same disk; what was written there is moved into place when the block
    ends without an error, and else removed.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        new = folder / f"new-{path.name}"  # if the process is killed, nothing unfinished bears the final name
        yield new
        if new.is_file():
            with new.open("rb+") as file:
                os.fsync(file.fileno())
        old = folder / f"{path.name}.old"
        if path.is_dir() and new.is_dir():  # a folder is not replaced by moving another one over it
            path.replace(old)
        try:
            new.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    except OSError as error:
        if isinstance(error, PatchfreeError):
            raise
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}. What was there before is untouched. Free some space or "
            "choose another place, and run the same command again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file have left beside it; nobody else may write it now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write JSON, readable by people; NaN and infinity become null."""
    write_bytes(path, (json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n").encode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.item()) if hasattr(value, "item") else value


def check_writable(folder: Path) -> None:
    """Make a folder, and refuse now rather than after an hour's work if nothing can be written there.

    Raises:
        ConfigError: it cannot.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written to {folder}: {error.strerror or error}. Choose another place with --out."
        ) from error


def check_distinct(files: Mapping[str, Path | None]) -> None:
    """Refuse two outputs at one place: the later one would replace the other.

    Args:
        files: where each is written, by the option that says so; None for what is not.

    Raises:
        ConfigError: two are the same file, however it is spelt.
    """
    named: dict[Path, str] = {}
    for option, path in files.items():
        if path is None:
            continue
        first = named.setdefault(path.resolve(), option)
        if first != option:
            raise ConfigError(
                f"Got {path} for {option} and for {first}; one would replace the other. Give each a name of its own."
            )


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the lock ends with the process, however that ends.

    Raises:
        RunError: another process is at work in it.
        ConfigError: nothing can be written there.
    """
    check_writable(folder)
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"Another patchfree is at work in {folder}. Wait until it has finished, or choose another --out."
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
