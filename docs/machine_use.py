"""How near FreeNet comes to what the machine can do, from the figures in docs/results/speed.csv, which benchmarks/speed.py wrote."""

from __future__ import annotations

import csv
from pathlib import Path

from patchfree.benchmark.tables import lines_of

FIGURES = Path(__file__).parent / "results" / "speed.csv"
SCENE, NETWORK, WANTED = "Pavia University", "freenet", 0.6


def figures(path: Path = FIGURES) -> list[dict[str, str]]:
    """The rows that the aim is about, a row a number type."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["scene"], row["network"]) == (SCENE, NETWORK)]


def share(row: dict[str, str], work: str) -> float:
    """Operations a second of a step or a map, over those of a matrix product of the same number type."""
    return float(row[f"{work}_flop"]) / float(row[f"{work}_seconds"]) / float(row["rate"])


def aim(rows: list[dict[str, str]]) -> list[str]:
    """What was aimed at, what was measured, and whether that is reached."""
    shares = [(share(row, "step"), share(row, "map")) for row in rows]
    return [
        "FreeNet on 610 x 340 pixels and 103 bands: a training step, and a map, at 60 % of the rate of a matrix product of the same number type",
        ", ".join(
            f"{row['type']} {step:.0%} a step, {whole:.0%} a map"
            for row, (step, whole) in zip(rows, shares, strict=True)
        ),
        "reached" if min(map(min, shares)) >= WANTED else "**not reached**",
    ]


def machine_use(rows: list[dict[str, str]]) -> str:
    """The machine, and a table with a line a number type."""
    first = rows[0]
    rates = ", ".join(f"{row['type']} {float(row['rate']) / 1e9:,.0f} GFLOP/s" for row in rows)
    lines = [["type", "step", "share of rate", "map", "share of rate"]]
    for row in rows:
        works = [(f"{float(row[f'{work}_seconds']):.2f} s", f"{share(row, work):.0%}") for work in ("step", "map")]
        lines.append([row["type"], *works[0], *works[1]])
    said = f"{first['date']}, {first['processor']}, torch {first['torch']}, commit {first['commit']}; matrix product of 2048 x 2048: {rates}."
    return "\n\n".join((said, lines_of(lines)))
