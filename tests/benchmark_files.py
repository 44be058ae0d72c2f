"""Files as the publishers of the well-known scenes name them, with small synthetic content; and what a method gets."""

from __future__ import annotations

import numpy as np
import rasterio
import scipy.io
import torch
from spectral.io import envi

from patchfree.benchmark.method import Training
from patchfree.split import random_split
from patchfree.standardise import Standardisation

MATLAB = {
    # scene: folder, cube file and variable, label file and variable, bands, classes
    "pavia-university": ("Pavia", "PaviaU", "paviaU", "PaviaU_gt", "paviaU_gt", 103, 9),
    "salinas": (".", "Salinas_corrected", "salinas_corrected", "Salinas_gt", "salinas_gt", 204, 16),
    "ksc": ("ksc", "KSC", "KSC", "KSC_gt", "KSC_gt", 176, 13),
    "botswana": ("a/b", "Botswana", "Botswana", "Botswana_gt", "Botswana_gt", 145, 14),
    "whu-hi-longkou": ("WHU-Hi-LongKou", "WHU_Hi_LongKou", "WHU_Hi_LongKou", "WHU_Hi_LongKou_gt", "WHU_Hi_LongKou_gt", 270, 9),
    "whu-hi-hanchuan": ("WHU-Hi-HanChuan", "WHU_Hi_HanChuan", "WHU_Hi_HanChuan", "WHU_Hi_HanChuan_gt", "WHU_Hi_HanChuan_gt", 274, 16),
    "whu-hi-honghu": ("WHU-Hi-HongHu", "WHU_Hi_HongHu", "WHU_Hi_HongHu", "WHU_Hi_HongHu_gt", "WHU_Hi_HongHu_gt", 270, 22),
}  # fmt: skip
OFFICIAL = {
    "whu-hi-longkou": ("LKtrain100", "LKtest100"),
    "whu-hi-hanchuan": ("HCtrain100", "HCtest100"),
    "whu-hi-honghu": ("HHCYtrain100", "HHCYtest100"),
}
SHAPE = (24, 22)
PUBLISHED_SHAPES = {
    "pavia-university": (610, 340),
    "salinas": (512, 217),
    "ksc": (512, 614),
    "botswana": (1476, 256),
    "whu-hi-longkou": (550, 400),
    "whu-hi-hanchuan": (1217, 303),
    "whu-hi-honghu": (940, 475),
    "houston-2013": (349, 1905),
    "houston-2018": (601, 2384),
    "jasper-ridge": (100, 100),
}


def cube(bands, shape=SHAPE, seed=0):
    """Any numbers; those of a large scene repeat."""
    few = np.random.default_rng(seed).integers(100, 9000, min(bands * shape[0] * shape[1], 99_991)).astype(np.uint16)
    return np.resize(few, (*shape, bands))


def classes(count, shape=SHAPE):
    """Every class, and unlabelled pixels, in stripes."""
    return (np.arange(shape[0] * shape[1]) % (count + 1)).reshape(shape).astype(np.uint8)


def halves(truth):
    """Training and test labels that share no pixel."""
    odd = np.indices(truth.shape).sum(0) % 3 == 0
    return np.where(odd, truth, 0).astype(np.uint8), np.where(odd, 0, truth).astype(np.uint8)


def write_matlab(data, name, *, variable=None, shape=SHAPE):
    folder, file, cube_name, label_file, label_name, bands, count = MATLAB[name]
    (data / folder).mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(data / folder / f"{file}.mat", {variable or cube_name: cube(bands, shape)})
    scipy.io.savemat(data / folder / f"{label_file}.mat", {label_name: classes(count, shape)})
    if name in OFFICIAL:
        inside = data / folder / "Training samples and test samples"
        inside.mkdir()
        parts = zip(("Train100", "Test100"), OFFICIAL[name], halves(classes(count, shape)), strict=True)
        for part, part_name, values in parts:
            scipy.io.savemat(inside / f"{part}.mat", {part_name: values})


def write_tif(path, values, crs=None):
    layers = values.transpose(2, 0, 1) if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "count": len(layers), "height": layers.shape[1], "width": layers.shape[2]}
    with rasterio.open(
        path, "w", **profile, dtype=layers.dtype, crs=crs, transform=rasterio.Affine(2.5, 0, 0, 0, -2.5, 0)
    ) as file:
        file.write(layers)


def write_roi(path, values, names):
    """As ENVI exports regions of interest: all headers first, then the pixels of each region, counted from 1."""
    h, w = values.shape
    lines = [
        "; ENVI Output of ROIs (4.8) [Tue May 21 10:00:00 2013]",
        f"; Number of ROIs: {len(names)}",
        f"; File Dimension: {w} x {h}",
        ";",
    ]
    for value, name in enumerate(names, 1):
        lines += [f"; ROI name: {name}", "; ROI rgb value: {0, 205, 0}", f"; ROI npts: {(values == value).sum()}"]
    lines.append(";   ID    X    Y      MapX       MapY   B1")
    for value in range(1, len(names) + 1):
        for number, (row, col) in enumerate(np.argwhere(values == value), 1):
            lines.append(f"{number:6d} {col + 1:5d} {row + 1:5d}   271000.5  3290000.5  17")
        lines.append("")
    path.write_text("\r\n".join(lines))


def write_houston_2013(data, *, ending="txt", shape=SHAPE):
    write_tif(data / "2013_IEEE_GRSS_DF_Contest_CASI.tif", cube(144, shape))
    for part, values in zip(("TR", "VA"), halves(classes(15, shape)), strict=True):
        path = data / f"2013_IEEE_GRSS_DF_Contest_Samples_{part}.{ending}"
        write_roi(path, values, [f"region_{i}" for i in range(1, 16)]) if ending == "txt" else write_tif(path, values)


def write_houston_2018(data, *, shape=SHAPE):
    (data / "TrainingGT").mkdir()
    write_tif(data / "TrainingGT" / "2018_IEEE_GRSS_DFC_GT_TR.tif", classes(20, shape).repeat(2, 0).repeat(2, 1))
    path = data / "2018_IEEE_GRSS_DFC_HSI_TR.HDR"
    envi.save_image(str(data / "scratch.hdr"), cube(50, shape), ext="", interleave="bsq", dtype=np.uint16)
    (data / "scratch").rename(data / "2018_IEEE_GRSS_DFC_HSI_TR")
    (data / "scratch.hdr").rename(path)


def write_jasper(data, *, by_columns=True, shape=SHAPE, matlab=False):
    """The scene, as ENVI or as MATLAB file, and abundances whose products with the materials' spectra are the scene."""
    h, w = shape
    rng = np.random.default_rng(1)
    spectra = rng.uniform(0.05, 0.9, (198, 4))
    truth = np.random.default_rng(2).integers(0, 4, (h // 4 + 1, w // 4 + 1)).repeat(4, 0).repeat(4, 1)[:h, :w]
    shares = np.eye(4)[truth] * 0.8 + 0.05  # (h, w, 4)
    values = (shares @ spectra.T * 10000).astype(np.int16)
    if matlab:
        listed = values.transpose(2, 1, 0).reshape(198, h * w)  # pixels by columns, as MATLAB lays them out
        size = {"nRow": [[h]], "nCol": [[w]], "nBand": [[198]], "maxValue": [[9000]]}
        scipy.io.savemat(data / "jasperRidge2_R198.mat", {"Y": listed} | size)
    else:
        envi.save_image(str(data / "jasperRidge2_R198.hdr"), values, ext=".img", interleave="bil", dtype=np.int16)
    order = "F" if by_columns else "C"
    scipy.io.savemat(
        data / "end4.mat",
        {
            "A": shares.reshape(h * w, 4, order=order).T
            if order == "C"
            else np.stack([shares[..., i].ravel(order="F") for i in range(4)]),
            "M": spectra,
        },
    )
    return truth + 1


def training_on(scene, labels, *, seed=0, steps=3, per_class=12):
    """What a method gets on a random split."""
    split = random_split(labels, per_class=per_class, seed=seed)
    return Training(
        scene=scene,
        values=Standardisation.of(scene).apply(scene),
        index=np.where(split.train | split.val, labels.index, 0),
        train=split.train,
        val=split.val,
        legend=labels.legend,
        apart=False,
        seed=seed,
        device=torch.device("cpu"),
        steps=steps,
    )
