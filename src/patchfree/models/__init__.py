"""Every model by name. Adding one is one file and one line in MODELS."""

import torch
from torch import Tensor

from patchfree.models._contract import SceneModel
from patchfree.models.freenet import FreeNet, FreeNetHalf

__all__ = ["MODELS", "SceneModel", "trained_model"]

MODELS: dict[str, type[SceneModel]] = {
    "freenet": FreeNet,
    "freenet-half": FreeNetHalf,
}


def trained_model(
    name: str, weights: dict[str, Tensor], *, bands: int, classes: int, device: torch.device
) -> SceneModel:
    """The network of this name with these weights, on a device, in the memory layout that its convolutions like."""
    model = MODELS[name](bands=bands, classes=classes)
    model.load_state_dict(weights)
    return model.to(device).to(memory_format=torch.channels_last)
