"""The parts of a ViT-Adapter, https://arxiv.org/abs/2205.08534, for any backbone of constant width.

Beside the backbone's tokens x at stride 16 runs a pyramid of tokens c at strides 8, 16 and 32.
Injectors bring c into x by deformable attention, extractors bring x into c. N is the batch, C the
width, (h, w) the grid at stride 16.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers import build_norm2d, drop_path, map_to_tokens, settled
from mmvmamba.ops.ms_deform_attn import ms_deform_attn
from mmvmamba.ops.tables import table_of

__all__ = [
    'ConvFFN',
    'Extractor',
    'Injector',
    'Interaction',
    'MSDeformAttention',
    'PyramidGeometry',
    'SpatialPrior',
    'init_adapter_weights_',
    'pyramid_grids',
    'reference_points',
    'softmax_of_few',
    'split_pyramid',
]

Grid = tuple[int, int]


def pyramid_grids(grid: Grid) -> list[Grid]:
    """Grids at strides 8, 16 and 32 of the backbone's grid at stride 16."""
    height, width = grid
    return [(2 * height, 2 * width), (height, width), (height // 2, width // 2)]


def reference_points(grids: Sequence[Grid], like: Tensor) -> Tensor:
    """Centres of all cells as (x, y) in [0, 1], ``(1, cells, 1, 2)``, in at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    points = []
    for height, width in grids:
        y, x = (
            (torch.arange(side, dtype=dtype, device=like.device) + 0.5) / side
            for side in (height, width)
        )
        points.append(torch.cartesian_prod(y, x).flip(-1))
    return torch.cat(points)[None, :, None]


class PyramidGeometry(NamedTuple):
    """Where the tokens of an image lie: grids, and the centres of their cells."""

    grid: Grid  # of the backbone
    grids: list[Grid]  # of the pyramid
    points: Tensor  # (1, h * w, 1, 2)
    pyramid_points: Tensor  # (1, cells of all levels, 1, 2)

    @classmethod
    def of(cls, grid: Grid, like: Tensor) -> 'PyramidGeometry':
        """Computes it for a backbone's grid, with points beside a tensor and of its precision."""
        grids = pyramid_grids(grid)
        return cls(grid, grids, reference_points([grid], like), reference_points(grids, like))


def split_pyramid(c: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """The maps, ``(N, C, H, W)``, of a pyramid whose tokens are one sequence ``(N, cells, C)``."""
    tokens = c.split([height * width for height, width in grids], dim=1)
    return [
        level.transpose(1, 2).unflatten(2, grid) for level, grid in zip(tokens, grids, strict=True)
    ]


class MSDeformAttention(nn.Module):
    """Deformable attention without a residual connection, computed in at least float32.

    Args:
        embed_dims: Width C.
        num_levels: Levels of the value.
        num_heads: Heads M, a divisor of the value's width.
        num_points: Samples per head and level.
        ratio: Ratio of the value's width to C.
    """

    def __init__(
        self,
        embed_dims: int,
        num_levels: int = 1,
        num_heads: int = 8,
        num_points: int = 4,
        ratio: float = 1.0,
    ) -> None:
        super().__init__()
        value_dims = int(embed_dims * ratio)
        if value_dims % num_heads:
            raise ValueError(
                f'num_heads must divide embed_dims * ratio = {value_dims}, got {num_heads}'
            )
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dims, samples * 2)
        self.attention_weights = nn.Linear(embed_dims, samples)
        self.value_proj = nn.Linear(embed_dims, value_dims)
        self.output_proj = nn.Linear(value_dims, embed_dims)
        self.init_weights()

    def init_weights(self) -> None:
        """Head m starts out looking in direction 2 pi m / M, its points 1, 2, ... cells away."""
        angles = 2 * math.pi / self.num_heads * torch.arange(self.num_heads, dtype=torch.float32)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = directions[:, None, None] * steps[:, None]  # (M, 1, points, 2)
        offsets = offsets.expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        for parameter in (
            self.sampling_offsets.weight,
            self.attention_weights.weight,
            self.attention_weights.bias,
            self.value_proj.bias,
            self.output_proj.bias,
        ):
            nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.xavier_uniform_(self.output_proj.weight)

    def forward(
        self, query: Tensor, points: Tensor, value: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Attends from each query to samples around its reference point.

        Args:
            query: ``(N, queries, C)``.
            points: Reference points as (x, y) in [0, 1], ``(N or 1, queries, levels or 1, 2)``.
            value: Tokens of all levels, ``(N, cells, C)``.
            grids: Height and width of each level.
        """
        # Half precision cannot place a sample to a fraction of a cell on large maps.
        # Autocast knows no meta tensors, of which counters of operations ask shapes alone.
        with torch.autocast('cpu' if query.is_meta else query.device.type, enabled=False):
            dtype = torch.promote_types(self.value_proj.weight.dtype, torch.float32)
            return self._attend(query.to(dtype), points.to(dtype), value.to(dtype), grids)

    def _attend(
        self, query: Tensor, points: Tensor, value: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        samples = (self.num_heads, self.num_levels, self.num_points)
        value = self.value_proj(value).unflatten(-1, (self.num_heads, -1))
        offsets = self.sampling_offsets(query).unflatten(-1, (*samples, 2))
        weights = softmax_of_few(self.attention_weights(query).unflatten(-1, (self.num_heads, -1)))
        sides = tuple((width, height) for height, width in grids)
        sizes = table_of(sides, offsets.dtype, offsets.device)
        locations = points[:, :, None, :, None] + offsets / sizes[:, None]
        weights = weights.unflatten(-1, samples[1:])
        return self.output_proj(ms_deform_attn(value, grids, locations, weights))


def softmax_of_few(x: Tensor) -> Tensor:
    """Softmax over a short last axis.

    On a CPU torch takes such rows one by one, where it takes vectors of numbers along other axes:
    for rows of four that is ten times as fast, copies included.
    """
    if x.device.type != 'cpu' or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return x.softmax(-1)
    return x.movedim(-1, 0).softmax(0).movedim(0, -1)


class Injector(nn.Module):
    """Brings the pyramid into the backbone's tokens, through a learnt scale that starts at zero."""

    def __init__(self, embed_dims: int, attention: dict, init_values: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = MSDeformAttention(embed_dims, num_levels=3, **attention)
        self.gamma = nn.Parameter(torch.full((embed_dims,), init_values))

    def forward(self, x: Tensor, c: Tensor, geometry: PyramidGeometry) -> Tensor:
        query, value = self.query_norm(x), self.feat_norm(c)
        return x + self.gamma * self.attn(query, geometry.points, value, geometry.grids)


class ConvFFN(nn.Module):
    """An MLP with one depth-wise convolution, shared by the three maps of the pyramid."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        conv = nn.Conv2d(hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims)
        self.dwconv = nn.ModuleDict({'dwconv': conv})
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, c: Tensor, geometry: PyramidGeometry) -> Tensor:
        maps = split_pyramid(self.fc1(c), geometry.grids)
        convolved = [self.dwconv['dwconv'](level).flatten(2) for level in maps]
        return self.fc2(F.gelu(torch.cat(convolved, dim=2).transpose(1, 2)))


class Extractor(nn.Module):
    """Brings the backbone's tokens into the pyramid, followed by a convolutional MLP.

    Args:
        embed_dims: Width C.
        attention: Arguments of ``MSDeformAttention``.
        with_cffn: Whether the MLP follows.
        cffn_ratio: Ratio of its hidden width to C.
        drop_path_rate: Stochastic depth of the MLP; the attention has none.
    """

    def __init__(
        self,
        embed_dims: int,
        attention: dict,
        with_cffn: bool = True,
        cffn_ratio: float = 0.25,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = MSDeformAttention(embed_dims, num_levels=1, **attention)
        self.with_cffn = with_cffn
        if with_cffn:
            self.ffn = ConvFFN(embed_dims, int(embed_dims * cffn_ratio))
            self.ffn_norm = nn.LayerNorm(embed_dims, eps=1e-6)
            self.drop_path = drop_path(drop_path_rate)

    def forward(self, c: Tensor, x: Tensor, geometry: PyramidGeometry) -> Tensor:
        query, value = self.query_norm(c), self.feat_norm(x)
        c = c + self.attn(query, geometry.pyramid_points, value, [geometry.grid])
        if self.with_cffn:
            c = c + self.drop_path(self.ffn(self.ffn_norm(c), geometry))
        return c


class Interaction(nn.Module):
    """What stands before and behind some of the blocks: an injector, an extractor or several."""

    def __init__(
        self,
        embed_dims: int,
        attention: dict,
        extractor: dict,
        init_values: float = 0.0,
        num_extra_extractors: int = 0,
    ) -> None:
        super().__init__()
        self.injector = Injector(embed_dims, attention, init_values)
        self.extractor = Extractor(embed_dims, attention, **extractor)
        self.extra_extractors = nn.ModuleList(
            Extractor(embed_dims, attention, **extractor) for _ in range(num_extra_extractors)
        )

    def inject(self, x: Tensor, c: Tensor, geometry: PyramidGeometry) -> Tensor:
        """Returns the backbone's tokens with what the pyramid brings."""
        return self.injector(x, c, geometry)

    def extract(self, c: Tensor, x: Tensor, geometry: PyramidGeometry) -> Tensor:
        """Returns the pyramid with what the backbone's tokens bring."""
        for extractor in (self.extractor, *self.extra_extractors):
            c = extractor(c, x, geometry)
        return c


class SpatialPrior(nn.Module):
    """A small convolutional network: a map at stride 4 and the tokens of maps at strides 8, 16, 32.

    Args:
        in_channels: Channels of the image.
        width: Channels of its first convolutions.
        embed_dims: Width C of what it returns.
        norm_cfg: Norm layers.
        finest: Whether the map at stride 4 is wanted; else it is what the next one is made of.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        embed_dims: int,
        norm_cfg: dict,
        finest: bool = True,
    ) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                build_norm2d(norm_cfg, outputs),
                nn.ReLU(inplace=True),
            ]

        self.stem = nn.Sequential(
            *conv(in_channels, width, 2),
            *conv(width, width, 1),
            *conv(width, width, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*conv(width, 2 * width, 2))
        self.conv3 = nn.Sequential(*conv(2 * width, 4 * width, 2))
        self.conv4 = nn.Sequential(*conv(4 * width, 4 * width, 2))
        self.fc1 = nn.Conv2d(width, embed_dims, 1) if finest else nn.Identity()
        self.fc2 = nn.Conv2d(2 * width, embed_dims, 1)
        self.fc3 = nn.Conv2d(4 * width, embed_dims, 1)
        self.fc4 = nn.Conv2d(4 * width, embed_dims, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c1 = settled(self.stem(x))
        c2 = settled(self.conv2(c1))
        c3 = settled(self.conv3(c2))
        c4 = settled(self.conv4(c3))
        tokens = (
            map_to_tokens(fc(c)) for fc, c in ((self.fc2, c2), (self.fc3, c3), (self.fc4, c4))
        )
        return self.fc1(c1), *tokens


def init_adapter_weights_(module: nn.Module) -> None:
    """Initial values of an adapter's layers, except for those that deformable attention sets."""
    if isinstance(module, MSDeformAttention):
        return
    for child in module.children():
        init_adapter_weights_(child)
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
