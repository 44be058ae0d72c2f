"""Put the pictures of a run side by side for the README: python docs/picture.py patchfree-demo (made with --figures)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

OUT = Path(__file__).parent / "images" / "demo.png"


def main(run: Path) -> None:
    """Write docs/images/demo.png."""
    test = json.loads((run / "metrics.json").read_text())["test"]
    panels = {
        "scene": "Scene (near infrared, red, green)",
        "labels": "Reference labels",
        "map": "Map of every pixel",
        "errors": f"Separate test pixels: {test['overall_accuracy']:.0%} right (blue)",
    }
    figure = Figure((13.2, 3.7), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, (name, title) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.imshow(np.asarray(Image.open(run / "figures" / f"{name}.png").convert("RGB")), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
