"""Every command and every Python block of the README and the guide runs as it is written."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from spectral.io import envi

from conftest import UTM33, synthetic
from patchfree.cli import main
from patchfree.recipes import RECIPES

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/guide.md", "docs/large-scenes.md"]
NORTH, EAST, PIXEL = 5_809_965.0, 362_175.0, 30.0


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """The files that the pages speak of: a scene, another of the sensor, fields with an attribute, points."""
    scene, labels = synthetic(rows=40, cols=48, bands=12)
    header = {
        "wavelength": list(scene.bands.wavelengths_nm),
        "wavelength units": "Nanometers",
        "map info": f"{{UTM, 1, 1, {EAST}, {NORTH}, {PIXEL}, {PIXEL}, 33, North, WGS-84}}",
    }
    for name in ("scene.hdr", "other.hdr"):
        envi.save_image(tmp_path / name, scene.values.transpose(1, 2, 0), metadata=header, interleave="bil", ext=".img")
    rows, cols = np.mgrid[2:38:4, 2:46:4].reshape(2, -1)
    squares = [shapely.box(*_corner(r + 2, c), *_corner(r, c + 2)) for r, c in zip(rows, cols, strict=True)]
    names = np.array([f"land {v}" for v in labels.index[rows, cols]], object)
    pyogrio.raw.write(
        tmp_path / "fields.gpkg", shapely.to_wkb(squares), [names], ["landcover"], geometry_type="Polygon", crs=UTM33
    )
    lines = [f"{r},{c},{labels.index[r, c]}" for r, c in zip(rows, cols, strict=True)]
    for name in ("points.csv", "check.csv"):
        (tmp_path / name).write_text("\n".join(["row,col,class", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], steps=6, apart_steps=6))
    return tmp_path


def _corner(row, col):
    return EAST + PIXEL * col, NORTH - PIXEL * row


def _blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_python_block_runs(page, users_folder, capsys):
    commands = [c for block in _blocks(page, "sh") for c in block.splitlines() if c.startswith("patchfree ")]
    assert len(commands) >= 4
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main(shlex.split(command, comments=True)[1:])
        assert end.value.code == 0, (command, capsys.readouterr().err)
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert (users_folder / "run" / "report.html").is_file()
    assert (users_folder / "map.tif").is_file()


def test_every_command_and_python_block_of_the_page_on_anomalies_runs(users_folder, capsys):
    page = "docs/anomalies.md"
    mask = np.zeros((1, 40, 48), np.uint8)
    mask[0, 10:12, 20] = mask[0, 30, 8] = 1
    place = rasterio.Affine(PIXEL, 0, EAST, 0, -PIXEL, NORTH)
    profile = {"driver": "GTiff", "count": 1, "height": 40, "width": 48, "dtype": "uint8"}
    with rasterio.open("mask.tif", "w", crs=UTM33, transform=place, **profile) as target:
        target.write(mask)
    commands = [c for block in _blocks(page, "sh") for c in block.splitlines() if c.startswith("patchfree ")]
    assert len(commands) == 4
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main(shlex.split(command, comments=True)[1:])
        assert end.value.code == 0, (command, capsys.readouterr().err)
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    written = {"scores.tif", "rx.tif", "local.tif", "control.tif", "objects.gpkg", "scores-python.tif"}
    assert written <= {path.name for path in users_folder.iterdir()}
    assert (users_folder / "anomalies" / "report.html").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^make (\S+)", "\n".join(_blocks(page, "sh")), re.MULTILINE)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))]
)
def test_every_link_to_a_file_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (ROOT / page).parent.joinpath(t).exists()]
    assert missing == []


def test_the_generated_pages_are_up_to_date():
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, make in generate.PAGES.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == make(), f"docs/{name} is stale: run `make docs`"
