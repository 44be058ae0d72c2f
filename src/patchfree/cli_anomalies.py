"""The command `anomalies`: parse, score the scene, print what stands out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchfree import show
from patchfree.errors import ConfigError, LabelError

if TYPE_CHECKING:
    import numpy as np

    from patchfree.anomalies._contract import Detector


def anomalies(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A scene, as for `patchfree info`.")],
    out: Annotated[Path, typer.Option(help="GeoTIFF of scores to write.")] = ...,  # type: ignore[assignment]
    method: Annotated[
        str,
        typer.Option(help="surround, rx, local-rx, subspace-rx, kernel-rx, cr, isolation, autoencoder or ensemble."),
    ] = "surround",
    suppress: Annotated[
        str, typer.Option(help="Change the spectra first: none, bsdm, bsdm-auto, bsdm-untrained or pca.")
    ] = "none",
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS", help="Mask of the true anomalies (not 0), to measure against; not to learn from."
        ),
    ] = None,
    false_alarm: Annotated[
        float, typer.Option(help="Share of the background's pixels that may lie above the threshold.")
    ] = 1e-3,
    threshold: Annotated[
        str,
        typer.Option(help="How the threshold is found: pareto (fitted tail) or empirical (quantile of all scores)."),
    ] = "pareto",
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for report.html and anomalies.json.")
    ] = None,
    objects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="GeoPackage of the detected objects to write.")
    ] = None,
    inner: Annotated[int | None, typer.Option(help="Inner window in pixels, odd (local-rx, cr).")] = None,
    outer: Annotated[int | None, typer.Option(help="Outer window in pixels, odd (local-rx, cr).")] = None,
    components: Annotated[int | None, typer.Option(help="Principal components (of a method that takes some).")] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Shrink the covariance (Ledoit-Wolf), for fewer pixels than bands (rx).")
    ] = False,
    train_scene: Annotated[
        str | None, typer.Option(metavar="SCENE", help="Other scene from which BSDM learns the background.")
    ] = None,
    nodata: Annotated[float | None, typer.Option(help="Stored value that means 'no data'.")] = None,
    drop_bands: Annotated[str, typer.Option(help="Bands to leave out, counted from 1: 1-4,130.")] = "",
    axes: Annotated[str | None, typer.Option(help="Order of a bare array's axes: hwb or bhw.")] = None,
    quality_mask: Annotated[
        str | None,
        typer.Option(help="Quality masks of the product to leave out, or none.  [default: cloud,cirrus,shadow,bad]"),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that this may add to the program, such as 2GB; larger scenes are scored window by window.  "
            "[default: half of what is free]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Repeats what is random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for networks.")] = "auto",
) -> None:
    """Score how unlike the background each pixel is, without labels; find and list what stands out."""
    from patchfree.anomalies.report import Finding, write_finding
    from patchfree.anomalies.scoring import find_anomalies, suppression_named
    from patchfree.anomalies.threshold import WAYS
    from patchfree.files import check_distinct, check_writable
    from patchfree.io.zarr_layers import is_zarr
    from patchfree.options import open_given, refuse_source, source_given
    from patchfree.polygons import vector_libraries
    from patchfree.stream.budget import free_memory, parse_bytes
    from patchfree.unsupervised.objects import check_name, write_objects

    detector = _detector(method, inner=inner, outer=outer, components=components, shrink=shrink or None)
    suppression_named(suppress)  # refused before the work if there is none
    if threshold not in WAYS or not 0 < false_alarm < 0.5:
        raise ConfigError(
            f"Got --threshold {threshold} and --false-alarm {false_alarm:g}; need {' or '.join(WAYS)}, and a share between 0 and 0.5."
        )
    if train_scene is not None and not suppress.startswith("bsdm"):
        raise ConfigError(f"--train-scene belongs to --suppress bsdm; it has no effect with {suppress}.")
    if is_zarr(out):
        raise ConfigError(f"Got {out}; scores are written as a GeoTIFF. Choose a name such as scores.tif.")
    check_distinct({"--out": out, "--objects": objects, "--report": report})
    for path in filter(None, (out, objects)):
        refuse_source(path, scene)
        check_writable(path.parent)
    if objects is not None:
        check_name(objects)
        vector_libraries(objects)
    if report is not None:
        check_writable(report)
    source = source_given(scene, nodata, drop_bands, axes, quality_mask, False)
    truth = None if mask is None else _truth(mask, source.grid)
    budget = free_memory() if memory is None else parse_bytes(memory)
    bands, (height, width) = len(source.description.bands), source.grid.shape
    # A scene that fits is opened whole: bands without any data are then found and left out.
    fits = 12 * bands * height * width < budget
    opened: Any = open_given(scene, nodata, drop_bands, axes, quality_mask) if fits else source
    other = None if train_scene is None else open_given(train_scene, nodata, "", axes, quality_mask)
    with show.progress() as tell:
        found = find_anomalies(
            opened,
            method=detector,
            suppress=suppress,
            learnt_from=other,
            memory=budget,
            seed=seed,
            device=device,
            progress=lambda state: tell("", state),
        )
    above = found.threshold(false_alarm, way=threshold)
    found.save(out)
    listed, index = found.objects(above)
    measured = None
    if truth is not None:
        try:
            measured = found.measure(truth)
        except LabelError as error:
            show.error(f"{error} The scores are written all the same.")
    for note in found.notes:
        show.line(f"Note: {note}")
    show.line(f"Scores: {out} ({found.method}, {found.scores.size:,} pixels)")
    show.line(
        f"Above {above:.4g}, for a false-alarm rate of {false_alarm:g}: {int((index > 0).sum()):,} pixels in {len(listed):,} objects."
    )
    if measured is not None:
        auc, at = measured["auc"], measured["detection_at_0.001"]
        inside = "" if auc["interval"] is None else " (95 % interval {:.4f} to {:.4f})".format(*auc["interval"])
        show.line(f"AUC {auc['value']:.4f}{inside}; found at a false-alarm rate of 0.001: {at['value']:.1%}.")
    if objects is not None:
        show.line(
            f"Objects: {write_objects(objects, listed, index, found.grid, layer='anomalies', spectra={'spectrum': slice(None)})}"
        )
    if report is not None:
        command = "patchfree " + shlex.join(sys.argv[1:])
        page = write_finding(
            report, Finding(found, above, false_alarm, threshold, listed, index, truth, measured, command)
        )
        show.line(f"Report: {page}")


def _detector(method: str, **settings: Any) -> Detector:  # noqa: ANN401 - settings of any detector
    """The detector with the settings that were given.

    Raises:
        ConfigError: it does not take one of them.
    """
    import dataclasses

    from patchfree.anomalies.scoring import detector_named

    detector = detector_named(method)
    given = {name: value for name, value in settings.items() if value is not None}
    taken = {field.name for field in dataclasses.fields(detector)}
    for name in given:
        if name not in taken:
            raise ConfigError(f"--{name} has no effect with --method {method}; leave it out, or choose another method.")
    return dataclasses.replace(detector, **given)


def _truth(path: str, grid: Any) -> np.ndarray:  # noqa: ANN401 - patchfree.scene.Grid, loaded on use
    """Where the mask is not 0.

    Raises:
        LabelError: it cannot be read, or has another size.
    """
    import numpy as np

    from patchfree.errors import SceneError
    from patchfree.io import read_raster
    from patchfree.io.reference import read_labels

    try:
        return read_labels(path, grid).index > 0
    except LabelError:
        try:
            _, stored = read_raster(path)
        except SceneError:
            stored = None
        # A mask without any anomaly is no reason to give no scores: only measuring is refused, later.
        if stored is not None and stored.shape == (1, *grid.shape) and not stored.any():
            return np.zeros(grid.shape, bool)
        raise
