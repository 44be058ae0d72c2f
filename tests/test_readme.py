"""Every command and every Python block of the README, the guide and the product pages runs as it is written."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import typer
from PIL import Image
from spectral.io import envi

from conftest import UTM33, synthetic
from dated import PLACE, two_dates, write_date
from patchfree.change.recipes import CHANGE_RECIPES
from patchfree.cli import app, main
from patchfree.recipes import RECIPES
from products_hdf import RFL, write_emit, write_netcdf, write_prisma, write_tanager
from products_xml import write_desis, write_enmap, write_sentinel2

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/guide.md", "docs/large-scenes.md", "docs/several-scenes.md"]
NORTH, EAST, PIXEL = 5_809_965.0, 362_175.0, 30.0


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """The files that the pages speak of: a scene, another of the sensor, fields with an attribute, points, lists of scenes."""
    scene, labels = synthetic(rows=40, cols=48, bands=12)
    for name, north, brighter in (("scene.hdr", NORTH, 1.0), ("other.hdr", NORTH - 5000, 1.05)):
        header = {
            "wavelength": list(scene.bands.wavelengths_nm),
            "wavelength units": "Nanometers",
            "map info": f"{{UTM, 1, 1, {EAST}, {north}, {PIXEL}, {PIXEL}, 33, North, WGS-84}}",
        }
        cube = brighter * scene.values.transpose(1, 2, 0)
        envi.save_image(tmp_path / name, cube, metadata=header, interleave="bil", ext=".img")
    rows, cols = np.mgrid[2:38:4, 2:46:4].reshape(2, -1)
    squares = [shapely.box(*_corner(r + 2, c), *_corner(r, c + 2)) for r, c in zip(rows, cols, strict=True)]
    names = np.array([f"land {v}" for v in labels.index[rows, cols]], object)
    pyogrio.raw.write(
        tmp_path / "fields.gpkg", shapely.to_wkb(squares), [names], ["landcover"], geometry_type="Polygon", crs=UTM33
    )
    lines = [f"{r},{c},{labels.index[r, c]}" for r, c in zip(rows, cols, strict=True)]
    for name in ("points.csv", "check.csv"):
        (tmp_path / name).write_text("\n".join(["row,col,class", *lines]) + "\n")
    (tmp_path / "flights.csv").write_text("scene,labels\nscene.hdr,points.csv\nother.hdr,check.csv\n")
    (tmp_path / "apart.csv").write_text("scene,labels,use\nscene.hdr,points.csv,train\nother.hdr,check.csv,test\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], steps=6, apart_steps=6))
    return tmp_path


def _aviris(folder, cube):
    header = {
        "wavelength": np.linspace(400, 2400, len(cube)).tolist(),
        "wavelength units": "Nanometers",
        "map info": "{UTM, 1, 1, 581226.7, 7916192.6, 5.2, 5.2, 4, North, WGS-84, units=Meters, rotation=42.0}",
    }
    name = "ang20170714t213741_corr_v2p9_img.hdr"
    envi.save_image(folder / name, cube.transpose(1, 2, 0), metadata=header, interleave="bil", ext="")


def _emit(folder, cube):
    rows, cols = np.mgrid[1 : cube.shape[1] + 1, 1 : cube.shape[2] + 1]
    write_emit(folder / RFL, cube.transpose(1, 2, 0) / 1e4, rows, cols)


PRODUCTS = {
    "aviris": _aviris,
    "desis": write_desis,
    "emit": _emit,
    "enmap": write_enmap,
    "hdf-netcdf-zarr": lambda folder, cube: write_netcdf(folder / "scene.nc", cube),
    "prisma": lambda folder, cube: write_prisma(
        folder / "PRS_L2D_STD_20200813103056_20200813103100_0001.he5",
        *(cube[:5].astype("uint16"), cube[5:].astype("uint16")),
        *(np.linspace(450, 900, 5), np.linspace(1000, 2400, 4)),
    ),
    "sentinel-2": lambda folder, cube: write_sentinel2(
        folder, cube.astype("uint16"), scl=np.full(cube.shape[1:], 5, "uint8")
    ),
    "tanager": lambda folder, cube: write_tanager(folder / "20250514_193937_64_4001_ortho_sr_hdf5.h5", cube / 1e4),
}
"""A writer of the product that each page speaks of."""


@pytest.mark.parametrize("page", sorted(p.stem for p in (ROOT / "docs" / "products").glob("*.md")))
def test_every_product_is_described_trained_on_and_mapped_as_its_page_says(page, users_folder, capsys):
    values = synthetic(rows=40, cols=48, bands=9)[0].values
    low, high = values.min(), values.max()
    PRODUCTS[page](users_folder, (1500 + 5000 * (values - low) / (high - low)).astype("int16"))
    _run_commands(f"docs/products/{page}.md", capsys, 3)
    said = capsys.readouterr().out
    assert "unnamed" not in said
    assert ("5.2 x 5.2 m, turned by 42 degrees" in said) == (page == "aviris")
    assert ("scale              0.0001, offset -0.1" in said) == (page == "sentinel-2")
    with rasterio.open(users_folder / "map.tif") as made:
        assert made.crs is not None
        assert (made.read() > 0).mean() > 0.95


def test_every_option_that_is_spoken_of_exists():
    options = {"--memory-limit", "--nproc-per-node"}  # of dask and of torchrun
    for script in (ROOT / "benchmarks").glob("*.py"):
        options |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    for command in typer.main.get_command(app).commands.values():
        options |= {name for parameter in command.params for name in parameter.opts}
    options |= {"--debug", "--version", "--help"}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    for path in pages:
        spoken_of = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text(encoding="utf-8")))
        if path.name not in ("CONTRIBUTING.md", "log.md"):
            assert spoken_of <= options, path


def _corner(row, col):
    return EAST + PIXEL * col, NORTH - PIXEL * row


def _blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def _run_commands(page, capsys, least):
    commands = [c for block in _blocks(page, "sh") for c in block.splitlines() if c.startswith("patchfree ")]
    assert len(commands) >= least
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main(shlex.split(command, comments=True)[1:])
        assert end.value.code == 0, (command, capsys.readouterr().err[-3000:])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_python_block_runs(page, users_folder, capsys):
    _run_commands(page, capsys, 4)
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert (users_folder / "run" / "report.html").is_file()
    assert (users_folder / "map.tif").is_file()


def test_every_command_and_python_block_of_the_page_on_changes_runs(users_folder, capsys):
    page = "docs/change.md"
    before, after, truth = two_dates(rows=40, cols=48)
    for scene in (before, after):
        write_date(users_folder / f"{scene.name}.tif", scene.values, wavelengths=scene.bands.wavelengths_nm)
    for name, mask in (("changed", truth), ("unchanged", ~truth)):
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(f"{name}.bmp")
    _run_commands(page, capsys, 4)
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert (users_folder / "changes" / "report.html").is_file()


def test_every_command_and_python_block_of_the_page_on_changes_learnt_from_labels_runs(
    users_folder, capsys, monkeypatch
):
    pytest.importorskip("timm", reason="the published network takes its encoder from timm")
    page = "docs/change-labels.md"
    for name, recipe in CHANGE_RECIPES.items():
        monkeypatch.setitem(CHANGE_RECIPES, name, replace(recipe, steps=2, apart_steps=None))
    before, after, truth = two_dates(rows=40, cols=48)
    for name, scene in (("before", before), ("after", after), ("other-before", before), ("other-after", after)):
        write_date(users_folder / f"{name}.tif", scene.values, wavelengths=scene.bands.wavelengths_nm)
    reference = np.zeros((40, 48), np.uint8)
    reference[::2, ::3] = 1 + truth[::2, ::3]
    for value, name in ((1, "unchanged"), (2, "changed")):
        rows, cols = np.nonzero(reference == value)
        points = [shapely.Point(*rasterio.transform.xy(PLACE, r, c)) for r, c in zip(rows, cols, strict=True)]
        shown = {"geometry_type": "Point", "crs": UTM33}
        pyogrio.raw.write(users_folder / f"{name}.gpkg", shapely.to_wkb(points), [], [], **shown)
    write_date(users_folder / "labels.tif", reference[None])
    lines = ["before,after,mask"]
    for number in range(2):
        first, second, mask = two_dates(rows=32, cols=32, bands=3, seed=number)
        for name, values in (("before", first.values), ("after", second.values), ("mask", mask[None] * 5.0 - 2.5)):
            shade = np.clip(40 * values + 100, 0, 255).astype(np.uint8).transpose(1, 2, 0).squeeze()
            Image.fromarray(shade).save(f"{name}{number}.png")
        lines.append(f"before{number}.png,after{number}.png,mask{number}.png")
    (users_folder / "pairs.csv").write_text("\n".join([*lines, "gone.png,gone.png,gone.png"]) + "\n")
    _run_commands(page, capsys, 4)
    made = ["run/decided.tif", "run-fc/report.html", "run-pairs/report.html", "mapped/report.html"]
    assert [name for name in made if not (users_folder / name).is_file()] == []
    names = {"before": before, "after": after, "changed": reference == 2, "unchanged": reference == 1}
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    assert names["ensemble"].members == 3


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
        assert end.value.code == 0, (command, capsys.readouterr().err[-3000:])
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
