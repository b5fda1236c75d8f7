"""Is a task one of long sequences? The criterion of MambaOut, https://arxiv.org/abs/2405.07992.

Of a Transformer block that sees L tokens of width D, the part that grows with L squared is compared
with the rest. ``docs/token_mixing.md`` derives the formulas.
"""

from dataclasses import dataclass

import torch
from mmengine.config import Config

from mmvmamba.models.backbones.base import backbone_of

from .bare_models import build_bare, default_shape

__all__ = ['TokenMixing', 'stage_mixing']

# From this ratio on the paper speaks of long sequences: ViT-B on COCO has 0.87.
BORDERLINE = 0.8


@dataclass(frozen=True)
class TokenMixing:
    """Operations of one Transformer block; a multiplication is one, and so is an addition.

    Args:
        tokens: L.
        width: D.
        mlp_ratio: Width of the MLP's hidden layer, in D.
        causal: Whether a token sees only itself and those before it, so half of the map.
    """

    tokens: int
    width: int
    mlp_ratio: float = 4.0
    causal: bool = False

    @property
    def linear(self) -> float:
        """Projections and MLP: 24 D^2 L for an MLP of 4 D."""
        return (8 + 4 * self.mlp_ratio) * self.width**2 * self.tokens

    @property
    def quadratic(self) -> float:
        """The attention map and its product with the values: 4 D L^2, or half of it."""
        return (2 if self.causal else 4) * self.width * self.tokens**2

    @property
    def ratio(self) -> float:
        """The quadratic part relative to the linear one: L / 6 D for an MLP of 4 D."""
        return self.quadratic / self.linear

    @property
    def threshold(self) -> float:
        """The number of tokens from which the quadratic part is the larger one: 6 D."""
        return self.tokens / self.ratio

    @property
    def verdict(self) -> str:
        """What the paper would say."""
        if self.ratio > 1:
            return 'long-sequence'
        return 'borderline' if self.ratio >= BORDERLINE else 'not long-sequence'


def stage_mixing(
    config: Config,
    shape: tuple[int, int] | None = None,
    mlp_ratio: float = 4.0,
    causal: bool = False,
) -> list[TokenMixing]:
    """What a Transformer block would cost in the place of each stage's blocks.

    Args:
        config: That of a model, as ``bare_config`` gives it.
        shape: Height and width of the image; default as ``default_shape`` says.
        mlp_ratio: See ``TokenMixing``.
        causal: See ``TokenMixing``.

    Returns:
        One for each stage; one in all for a model whose blocks all see the same tokens.

    Raises:
        ValueError: The model does not take such an image.
    """
    backbone = backbone_of(build_bare(config, 'meta'))
    height, width = shape or default_shape(config)
    images = torch.empty(1, 3, height, width, device='meta')
    with torch.no_grad():
        _, maps = backbone.feature_maps(images, range(len(backbone.stage_channels)))
    sizes = dict.fromkeys((x.shape[2] * x.shape[3], x.shape[1]) for x in maps)
    return [TokenMixing(tokens, width, mlp_ratio, causal) for tokens, width in sizes]
