"""How far training and mapping are from the machine's floor: ratios measured in one run.

The floor is the time that the convolutions' multiplications take at the rate of a large matrix product of the same
type, measured here and now. Memory is kept between steps, as a training keeps it where there is plenty. Prints a table;
asserts nothing.

    python benchmarks/speed.py freenet freenet-half
    python benchmarks/speed.py freenet --out docs/results/speed.csv    # what docs/benchmarks.md is made from
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from patchfree.benchmark.machine import processor, product_rate, seconds
from patchfree.benchmark.runner import commit
from patchfree.device import choose_device, choose_precision
from patchfree.files import write_bytes
from patchfree.heap import freed_memory_kept
from patchfree.losses import masked_cross_entropy
from patchfree.models import MODELS

SCENES = {"Indian Pines": (200, 16, 145, 145), "Pavia University": (103, 9, 610, 340)}
SINGLE = [name for name, model in MODELS.items() if model.dates == 1]
REPEATS = 5


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=SINGLE, help="by name; else all of one date")
    parser.add_argument("--out", type=Path, help="a CSV to write the figures to")
    given = parser.parse_args()
    device = choose_device()
    with freed_memory_kept(device.type == "cpu"):
        rows = measure(given.networks, device)
    if given.out is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(given.out, text.getvalue().encode())


def measure(networks: list[str], device: torch.device) -> list[dict[str, Any]]:
    """Print the table; returns its figures."""
    types = [torch.float32]
    if choose_precision("auto", device) == torch.bfloat16:
        types.append(torch.bfloat16)
    rates = {dtype: product_rate(dtype, device) for dtype in types}
    print(f"device {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for dtype, rate in rates.items():
        print(f"matrix product {dtype}: {rate / 1e9:.0f} GFLOP/s")
    print("| scene | network | type | step s | map s | step TFLOP | step: share of rate | map: share of rate |")
    print("|---|---|---|---|---|---|---|---|")
    here = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "processor": processor(device),
        "torch": torch.__version__,
    }
    found = []
    for scene, (bands, classes, rows, cols) in SCENES.items():
        for name in networks:
            for dtype in types:
                torch.manual_seed(0)
                model = MODELS[name](bands=bands, classes=classes).to(device).to(memory_format=torch.channels_last)
                x = torch.randn(1, bands, rows, cols, device=device).contiguous(memory_format=torch.channels_last)
                pixels = torch.randperm(rows * cols, device=device)[: 20 * classes]
                target = torch.arange(len(pixels), device=device) % classes

                def forward(model=model, x=x, dtype=dtype) -> torch.Tensor:
                    with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                        return model(x)[0]

                def step(model=model, pixels=pixels, target=target, forward=forward) -> None:
                    model.zero_grad()
                    masked_cross_entropy(forward(), pixels, target).backward()

                with FlopCounterMode(display=False) as counter:
                    step()
                work = counter.get_total_flops()
                with FlopCounterMode(display=False) as counter, torch.no_grad():
                    forward()
                map_work = counter.get_total_flops()
                step_s = seconds(step, device, REPEATS)[REPEATS // 2]
                with torch.inference_mode():
                    map_s = seconds(forward, device, REPEATS)[REPEATS // 2]
                found.append(
                    {
                        "scene": scene,
                        "network": name,
                        "type": str(dtype).removeprefix("torch."),
                        "step_seconds": step_s,
                        "map_seconds": map_s,
                        "step_flop": work,
                        "map_flop": map_work,
                        "rate": rates[dtype],
                        **here,
                    }
                )
                print(
                    f"| {scene} | {name} | {str(dtype).removeprefix('torch.')} | {step_s:.3f} | {map_s:.3f} | {work / 1e12:.3f} | "
                    f"{work / step_s / rates[dtype]:.0%} | {map_work / map_s / rates[dtype]:.0%} |",
                    flush=True,
                )
    return found


if __name__ == "__main__":
    main()
