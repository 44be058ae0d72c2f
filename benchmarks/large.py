"""What a map of a large scene costs: seconds a pixel and memory, in windows against in one piece, measured in one run.

Each case is a process of its own, whose peak of resident memory the operating system tells. The scene is synthetic (smooth
fields with noise, 64 bands, 16-bit integers, ENVI BIL) and is written window by window; the network has random weights,
which cost what trained ones cost. Prints a Markdown table; asserts nothing.

    python benchmarks/large.py --sides 145 1000 2500 5000 --folder /somewhere/with/space
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from patchfree.labels import PALETTE, LandCover
from patchfree.models import MODELS
from patchfree.run import Run
from patchfree.scene import Bands
from patchfree.standardise import Standardisation

BANDS, CLASSES = 64, 16
MEMORY = 2_000_000_000
CASE = """
import json, sys, time
from patchfree.heap import one_heap
one_heap()  # as the command line does
import torch
from patchfree.run import load_run
from patchfree.stream.mapping import map_scene
settings = json.loads(sys.argv[1])
run = load_run(settings.pop("run"))
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
with torch.inference_mode():
    torch.nn.Conv2d(8, 8, 3)(torch.zeros(1, 8, 64, 64))
idle, began = peak(), time.perf_counter()
how = map_scene(run, settings.pop("scene"), settings.pop("out"), device="cpu", **settings)
print(json.dumps({"seconds": time.perf_counter() - began, "added": peak() - idle, **how}))
"""


def write_scene(path: Path, side: int) -> Path:
    """An ENVI scene of side x side pixels, made row by row."""
    header = path.with_suffix(".hdr")
    if header.is_file():
        return header
    rng = np.random.default_rng(0)
    centres = np.linspace(450, 2400, BANDS)
    spectra = 3000 + 1500 * np.sin(centres / 300 + rng.uniform(0, 6, (CLASSES, 1)))
    with path.open("wb") as file:
        for row in range(side):
            field = (np.arange(side) // 40 * 7 + row // 40 * 13) % CLASSES
            line = spectra[field].T + rng.normal(0, 150, (BANDS, side))
            file.write(line.astype("<i2").tobytes())
    header.write_text(
        f"ENVI\nsamples = {side}\nlines = {side}\nbands = {BANDS}\ndata type = 2\ninterleave = bil\nbyte order = 0\n"
        f"wavelength units = nm\nwavelength = {{{', '.join(f'{c:.1f}' for c in centres)}}}\n"
    )
    return header


def write_run(folder: Path) -> Path:
    """A run with random weights."""
    torch.manual_seed(0)
    model = MODELS["freenet"](bands=BANDS, classes=CLASSES)
    legend = tuple(LandCover(i, f"field {i}", PALETTE[i]) for i in range(1, CLASSES + 1))
    wavelengths = tuple(float(f"{c:.1f}") for c in np.linspace(450, 2400, BANDS))
    run = Run(
        model="freenet",
        weights=dict(model.state_dict()),
        bands=Bands(tuple(range(1, BANDS + 1)), BANDS, wavelengths),
        standardisation=Standardisation((3000.0,) * BANDS, (1000.0,) * BANDS),
        legend=legend,
        offsets=(0.0,) * CLASSES,
        untrained=(),
        temperature=1.0,
        recipe={},
    )
    folder.mkdir(exist_ok=True)
    run.save_model(folder)
    return folder


def measure(folder: Path, run: Path, side: int, *, memory: int = MEMORY, workers: int = 0) -> dict[str, float]:
    """Seconds, added memory and windows of one map, in a process of its own."""
    scene = write_scene(folder / f"scene{side}.img", side)
    settings = {
        "run": str(run),
        "scene": str(scene),
        "out": str(folder / "map.tif"),
        "memory": memory,
        "workers": workers,
    }
    done = subprocess.run(
        [sys.executable, "-c", CASE, json.dumps(settings)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[145, 500, 1000])
    parser.add_argument("--folder", type=Path, default=None, help="where the scenes are kept; else a temporary one")
    parser.add_argument("--whole", type=int, default=1000, help="largest side that is also mapped in one piece")
    parser.add_argument("--workers", action="store_true", help="also with 1 and 2 dask workers, at the last side")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {BANDS} bands, {CLASSES} classes")
    print("| side px | way | windows | µs a pixel | added memory MB | waiting for reads |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run = write_run(folder / "run")
        for side in given.sides:
            cases: list[tuple[str, dict[str, int]]] = [("2 GB", {})]
            if side <= given.whole:
                cases.append(("in one piece", {"memory": 10**11}))
            if given.workers and side == given.sides[-1]:
                cases += [("1 dask worker", {"workers": 1}), ("2 dask workers", {"workers": 2})]
            for way, settings in cases:
                found = measure(folder, run, side, **settings)
                waiting = found["share_waiting"]
                print(
                    f"| {side} | {way} | {found['windows']} | {found['seconds'] / side**2 * 1e6:.2f} | "
                    f"{found['added'] / 1e6:,.0f} | {'–' if waiting is None else f'{waiting:.0%}'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
