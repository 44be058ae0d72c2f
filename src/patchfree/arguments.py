"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SceneArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCENE",
        help="A file (ENVI, GeoTIFF, MATLAB, NumPy, HDF5, NetCDF, Zarr), a product (EnMAP, PRISMA, EMIT, DESIS, Tanager, "
        "Sentinel-2), a folder or list of tiles; FILE:VARIABLE.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
Nodata = Annotated[
    float | None, typer.Option(help="Stored value that means 'no data', in place of what the file says.")
]
DropBands = Annotated[str, typer.Option(help="Bands to leave out, counted from 1: 1-4,130.")]
Axes = Annotated[str | None, typer.Option(help="Order of a bare array's axes: hwb (rows, columns, bands) or bhw.")]
Mask = Annotated[
    str | None,
    typer.Option(
        help="Quality masks of the product to leave out: cloud,cirrus,shadow,haze,snow,water,saturated,bad, or none.  "
        "[default: cloud,cirrus,shadow,bad]"
    ),
]
ClassField = Annotated[str | None, typer.Option(help="Attribute of a vector file that holds the class.")]
Layer = Annotated[str | None, typer.Option(help="Layer of a vector file that has several.")]
Unlabelled = Annotated[
    list[int] | None, typer.Option(help="Class value that means 'no label' (0 if not given); repeatable.")
]
LabelScale = Annotated[int, typer.Option(help="Label pixels along one scene pixel, for labels on a finer grid.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RecipeName = Annotated[str, typer.Option(help="default or paper.")]
Seed = Annotated[int, typer.Option(min=0, help="Repeats split, weights and sampling.")]
Steps = Annotated[int | None, typer.Option(help="Training steps, in place of the recipe's.")]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate, in place of the recipe's.")]
Control = Annotated[
    list[str] | None,
    typer.Option(help="Simple classifier to put beside it: svm, rf or none; repeatable.  [default: svm]"),
]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Also write probabilities.tif.")]
Uncertainty = Annotated[bool, typer.Option("--uncertainty", help="Also write uncertainty.tif (entropy and margin).")]
Figures = Annotated[bool, typer.Option("--figures", help="Also write the report's figures as PNG files.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run with other settings in the output folder.")]
