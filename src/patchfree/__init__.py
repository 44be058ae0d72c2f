"""patchfree: train on a whole hyperspectral scene, from a few labels, and map every pixel at once.

Example:
    >>> import patchfree as pf
    >>> scene = pf.open_scene("scene.hdr")  # doctest: +SKIP
    >>> labels = pf.read_labels("fields.gpkg", scene)  # doctest: +SKIP
    >>> run = pf.train(scene, labels, out="run")  # doctest: +SKIP
    >>> run.predict(scene).save_map("map.tif")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchfree.anomalies.scoring import find_anomalies
    from patchfree.assessment import assess
    from patchfree.blocks import block_split
    from patchfree.change.scoring import find_changes
    from patchfree.citations import cite
    from patchfree.demo import indian_pines
    from patchfree.errors import PatchfreeError
    from patchfree.interop import from_xarray
    from patchfree.io import open_scene
    from patchfree.io.reference import read_labels
    from patchfree.labels import Labels, LandCover, make_labels
    from patchfree.polygons import vectorize
    from patchfree.predict import Prediction
    from patchfree.progress import Progress
    from patchfree.recipes import Recipe, get_recipe
    from patchfree.run import Run, load_run
    from patchfree.scene import Bands, Grid, Scene
    from patchfree.split import Split, given_split, random_split
    from patchfree.stream.mapping import map_scene
    from patchfree.training import Outputs, train

__version__ = "0.1.0"

# Loaded on first use, so that `import patchfree` and `patchfree --help` do not wait for torch.
_HOMES = {
    "assess": "assessment",
    "cite": "citations",
    "find_anomalies": "anomalies.scoring",
    "find_changes": "change.scoring",
    "indian_pines": "demo",
    "PatchfreeError": "errors",
    "from_xarray": "interop",
    "open_scene": "io",
    "read_labels": "io.reference",
    "LandCover": "labels",
    "Labels": "labels",
    "make_labels": "labels",
    "Prediction": "predict",
    "Recipe": "recipes",
    "get_recipe": "recipes",
    "Run": "run",
    "load_run": "run",
    "Bands": "scene",
    "Grid": "scene",
    "Scene": "scene",
    "map_scene": "stream.mapping",
    "Split": "split",
    "block_split": "blocks",
    "given_split": "split",
    "random_split": "split",
    "Outputs": "training",
    "Progress": "progress",
    "train": "training",
    "vectorize": "polygons",
}

__all__ = [
    "Bands",
    "Grid",
    "Labels",
    "LandCover",
    "Outputs",
    "PatchfreeError",
    "Prediction",
    "Progress",
    "Recipe",
    "Run",
    "Scene",
    "Split",
    "assess",
    "block_split",
    "cite",
    "find_anomalies",
    "find_changes",
    "from_xarray",
    "get_recipe",
    "given_split",
    "indian_pines",
    "load_run",
    "make_labels",
    "map_scene",
    "open_scene",
    "random_split",
    "read_labels",
    "train",
    "vectorize",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'patchfree' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"patchfree.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
