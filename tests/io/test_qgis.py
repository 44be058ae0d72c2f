"""A style beside a raster shows it in QGIS as patchfree means it, unless the user has saved another one.

Elements and attributes are those of styles that QGIS 3.18 to 3.40 wrote.
"""

import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from patchfree.io.geotiff import write_class_map, write_layers
from patchfree.io.qgis import write_class_style, write_share_style
from patchfree.labels import LandCover
from patchfree.scene import Grid

LEGEND = (LandCover(1, 'forest & "heath"', (0, 158, 115)), LandCover(300, "Wasser <tief>", (0, 114, 178)))


def pipe_of(path):
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == "qgis"
    assert root.attrib["version"].startswith("3.")
    return root.find("pipe")


def test_class_style_holds_values_colours_and_names(tmp_path):
    write_class_style(tmp_path / "map.tif", LEGEND)
    renderer = pipe_of(tmp_path / "map.qml").find("rasterrenderer")
    assert renderer.attrib.items() >= {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}.items()
    assert [entry.attrib for entry in renderer.find("colorPalette")] == [
        {"value": "1", "color": "#009e73", "alpha": "255", "label": 'forest & "heath"'},
        {"value": "300", "color": "#0072b2", "alpha": "255", "label": "Wasser <tief>"},
    ]


def test_share_style_runs_through_cividis_from_0_to_1(tmp_path):
    write_share_style(tmp_path / "u.tif")
    renderer = pipe_of(tmp_path / "u.qml").find("rasterrenderer")
    assert renderer.attrib.items() >= {"type": "singlebandpseudocolor", "band": "1"}.items()
    assert (renderer.attrib["classificationMin"], renderer.attrib["classificationMax"]) == ("0", "1")
    shader = renderer.find("rastershader/colorrampshader")
    assert (shader.attrib["minimumValue"], shader.attrib["maximumValue"]) == ("0", "1")
    assert shader.attrib["colorRampType"] == "INTERPOLATED"
    items = shader.findall("item")
    assert [float(item.attrib["value"]) for item in items] == [i / 8 for i in range(9)]
    cividis = mpl.colormaps["cividis"]
    for item in items:
        ours = np.array([int(item.attrib["color"][i : i + 2], 16) for i in (1, 3, 5)])
        np.testing.assert_allclose(ours, 255 * np.array(cividis(float(item.attrib["value"]))[:3]), atol=1)
    options = {o.attrib["name"]: o.attrib["value"] for o in shader.iterfind("colorramp/Option/Option")}
    assert options["color1"] == "0,34,78,255"
    assert len(options["stops"].split(":")) == 7


@pytest.mark.parametrize("write", [lambda path: write_class_style(path, LEGEND), write_share_style])
def test_parts_stand_in_the_order_in_which_qgis_writes_them(tmp_path, write):
    write(tmp_path / "map.tif")
    parts = [part.tag for part in pipe_of(tmp_path / "map.qml")]
    assert parts == ["rasterrenderer", "brightnesscontrast", "huesaturation", "rasterresampler"]
    first = [part.tag for part in pipe_of(tmp_path / "map.qml").find("rasterrenderer")]
    assert first[:2] == ["rasterTransparency", "minMaxOrigin"]


def test_style_of_the_user_stays_and_ours_is_replaced(tmp_path):
    path, values, grid = tmp_path / "map.tif", np.ones((2, 2), int), Grid(2, 2)
    write_class_map(path, values, LEGEND[:1], grid)
    write_class_map(path, values, LEGEND, grid)
    assert "Wasser" in (tmp_path / "map.qml").read_text()
    (tmp_path / "map.qml").write_text("<qgis><!-- mine --></qgis>")
    write_class_map(path, values, LEGEND, grid)
    assert (tmp_path / "map.qml").read_text() == "<qgis><!-- mine --></qgis>"


def test_style_of_a_class_map_does_not_outlive_it(tmp_path):
    path, grid = tmp_path / "map.tif", Grid(2, 2)
    write_class_map(path, np.ones((2, 2), int), LEGEND, grid)
    write_layers(path, np.zeros((1, 2, 2), np.float32), ["a"], grid)
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
