"""Every model by name. Adding one is one file and one line in MODELS."""

from patchfree.models._contract import SceneModel
from patchfree.models.freenet import FreeNet

__all__ = ["MODELS", "SceneModel"]

MODELS: dict[str, type[SceneModel]] = {
    "freenet": FreeNet,
}
