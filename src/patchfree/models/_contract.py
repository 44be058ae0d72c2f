"""What every model promises; tests/contracts/test_models.py checks it for each entry of MODELS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn


class SceneModel(nn.Module, ABC):
    """From the bands of a whole scene to class scores of every pixel; constructed with `bands` and `classes`.

    It knows nothing of files, tiles, losses or ranks. The output has the scene's size, whatever that is; pixels without
    data count like the outside of the scene.

    Attributes:
        context: halo in pixels with which a window gives the scene's answer; None: only the whole scene does.
        reach: farthest pixel, in pixels, that the convolution kernels connect to an output pixel.
    """

    context: ClassVar[int | None]
    reach: ClassVar[int]

    def __init__(self, *, bands: int, classes: int) -> None:
        super().__init__()
        self.bands = bands
        self.classes = classes

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b k h w"]:
        """Scores before softmax; at pixels without data they are meaningless.

        Args:
            x: standardised bands, any finite value where there is no data.
            valid: False where a pixel has no data; None when every pixel has.
        """
