"""Every model by name. Adding one is one file and one line in MODELS."""

import torch
from torch import Tensor

from patchfree.models._contract import SceneModel
from patchfree.models.ar_cdnet import ARCDNet
from patchfree.models.ar_cdnet_rgb import ARCDNetRGB
from patchfree.models.freenet import FreeNet, FreeNetHalf
from patchfree.models.freenet_ensemble import FreeNetEnsemble
from patchfree.models.freenet_smooth import FreeNetSmooth
from patchfree.models.fully_convolutional import EarlyFusion, SiameseDifference
from patchfree.models.siamese_freenet import SiameseFreeNet
from patchfree.models.spectral import Spectral

__all__ = ["MODELS", "SceneModel", "trained_model"]

MODELS: dict[str, type[SceneModel]] = {
    "ar-cdnet": ARCDNet,
    "ar-cdnet-rgb": ARCDNetRGB,
    "fc-siam-diff": SiameseDifference,
    "freenet": FreeNet,
    "freenet-ensemble": FreeNetEnsemble,
    "freenet-half": FreeNetHalf,
    "freenet-smooth": FreeNetSmooth,
    "siamese-freenet": SiameseFreeNet,
    "spectral": Spectral,
    "unet": EarlyFusion,
}


def trained_model(
    name: str, weights: dict[str, Tensor], *, bands: int, classes: int, device: torch.device
) -> SceneModel:
    """The network of this name with these weights, on a device, in the memory layout that its convolutions like."""
    model = MODELS[name](bands=bands, classes=classes)
    model.load_state_dict(weights)
    return model.to(device).to(memory_format=torch.channels_last)
