"""The models with official weights: names, files, how images are prepared, and what was published.

The published figures are those of the authors' tables, not measured here.
"""

import difflib
from dataclasses import dataclass, field

__all__ = ['MODEL_TABLE', 'ModelInfo', 'find_model']


@dataclass(frozen=True)
class ModelInfo:
    """A classification model.

    Args:
        name: Our name: the family first, in lower case.
        backbone: Type and arguments of the backbone.
        weights: Address of the official file, None if there is none.
        aliases: Names under which the authors or timm registered it.
        img_size: Side of the test image.
        crop_pct: Side of the test image by the side of the resized one.
        crop_mode: 'center' keeps the aspect ratio when resizing, 'squash' does not.
        neck: Type and arguments of the neck besides the number of channels; None for no neck.
        top1: Published top-1 accuracy in percent.
        params: Millions of parameters, as published.
    """

    name: str
    backbone: dict
    weights: str | None = None
    aliases: tuple[str, ...] = ()
    img_size: int = 224
    crop_pct: float = 1.0
    crop_mode: str = 'center'
    neck: dict | None = field(default_factory=lambda: dict(type='GlobalAveragePooling'))
    top1: float | None = None
    params: float | None = None

    @property
    def family(self) -> str:
        """The first part of the name, as in ``mmvmamba.checkpoint.FAMILIES``."""
        families = ('plain_mamba', 'vim', 'mambavision', 'mambaout', 'vit')
        return next(family for family in families if self.name.startswith(family))


def _plain_mamba(arch: str, drop_path: float, top1: float, params: float) -> ModelInfo:
    return ModelInfo(
        f'plain_mamba_{arch.lower()}',
        dict(type='mmvmamba.PlainMamba', arch=arch, drop_path_rate=drop_path),
        f'https://huggingface.co/ChenhongyiYang/PlainMamba/resolve/main/{arch.lower()}.pth',
        aliases=(f'plain_mamba_{arch}', f'PlainMamba-{arch}'),
        crop_pct=0.875,
        top1=top1,
        params=params,
    )


def _vim(
    arch: str,
    top1: float,
    params: float,
    drop_path: float,
    repo: str,
    file: str,
    alias: str,
    form: str,
) -> ModelInfo:
    return ModelInfo(
        f'vim_{arch}',
        dict(
            type='mmvmamba.VisionMamba',
            arch=arch,
            out_type='cls_token',
            drop_path_rate=drop_path,
        ),
        f'https://huggingface.co/hustvl/{repo}/resolve/main/{file}.pth',
        aliases=(f'vim_{alias}_224_bimambav2_final_pool_mean_abs_pos_embed_{form}',),
        crop_pct=0.875,
        neck=None,
        top1=top1,
        params=params,
    )


def _mambavision(
    name: str,
    arch: str,
    top1: float,
    params: float,
    drop_path: float,
    repo: str,
    file: str,
    img_size: int = 224,
    crop_pct: float = 1.0,
    crop_mode: str = 'center',
) -> ModelInfo:
    return ModelInfo(
        f'mambavision_{name.lower()}',
        dict(
            type='mmvmamba.MambaVision',
            arch=arch,
            out_indices=(3,),
            final_norm=True,
            drop_path_rate=drop_path,
        ),
        f'https://huggingface.co/nvidia/MambaVision-{repo}/resolve/main/mambavision_{file}.pth.tar',
        aliases=(f'mamba_vision_{name}', f'MambaVision-{repo}', f'nvidia/MambaVision-{repo}'),
        img_size=img_size,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        top1=top1,
        params=params,
    )


def _mambaout(
    arch: str,
    weights: str | None,
    top1: float | None,
    params: float,
    drop_path: float = 0.0,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    img_size: int = 224,
    crop_pct: float = 1.0,
    crop_mode: str = 'center',
) -> ModelInfo:
    is_timm = arch == 'test' or arch.endswith('_rw')
    return ModelInfo(
        name or f'mambaout_{arch}',
        dict(type='mmvmamba.MambaOut', arch=arch, out_indices=(3,), drop_path_rate=drop_path),
        weights,
        aliases=aliases,
        img_size=img_size,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        neck=dict(type='mmvmamba.MambaOutNeck', with_inner_norm=not is_timm),
        top1=top1,
        params=params,
    )


def _vit(size: str, causal: bool, top1: float, params: float, file: str) -> ModelInfo:
    return ModelInfo(
        f'vit_{size}_{"causal" if causal else "visible"}',
        dict(
            type='mmvmamba.VisionTransformerCausal',
            arch=f'deit_{size}',
            causal=causal,
            out_type='cls_token',
            drop_path_rate=0.1,
        ),
        # MambaOut's authors released no weights of this pair; the visible half is DeiT.
        None if causal else f'https://dl.fbaipublicfiles.com/deit/{file}.pth',
        aliases=() if causal else (f'deit_{size}_patch16_224',),
        crop_pct=0.875,
        neck=None,
        top1=top1,
        params=params,
    )


def _original(arch: str) -> str:
    return f'https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_{arch}.pth'


def _timm(tag: str) -> str:
    return f'https://huggingface.co/timm/mambaout_{tag}/resolve/main/model.safetensors'


_DIV2 = 'with_midclstok_div2'
_BASE = 'with_middle_cls_token_div2'
_ROPE = 'rope_also_residual_with_cls_token'

# fmt: off
_ROWS = (
    _plain_mamba('L1', 0.2, 77.9, 7.3),
    _plain_mamba('L2', 0.2, 81.6, 25.7),
    _plain_mamba('L3', 0.4, 82.3, 50.5),
    _vim('tiny', 76.1, 7, 0.0, 'Vim-tiny-midclstok', 'vim_t_midclstok_76p1acc',
         'tiny_patch16', _DIV2),
    _vim('tiny_plus', 78.3, 7, 0.0, 'Vim-tiny-midclstok', 'vim_t_midclstok_ft_78p3acc',
         'tiny_patch16_stride8', _DIV2),
    _vim('tiny_legacy', 73.1, 7, 0.0, 'Vim-tiny', 'vim_tiny_73p1', 'tiny_patch16', _ROPE),
    _vim('small', 80.5, 26, 0.05, 'Vim-small-midclstok', 'vim_s_midclstok_80p5acc',
         'small_patch16', _DIV2),
    _vim('small_plus', 81.6, 26, 0.0, 'Vim-small-midclstok', 'vim_s_midclstok_ft_81p6acc',
         'small_patch16_stride8', _DIV2),
    _vim('base', 81.9, 98, 0.05, 'Vim-base-midclstok', 'vim_b_midclstok_81p9acc',
         'base_patch16', _BASE),
    _mambavision('T', 'T', 82.3, 31.8, 0.2, 'T-1K', 'tiny_1k'),
    _mambavision('T2', 'T2', 82.7, 35.1, 0.2, 'T2-1K', 'tiny2_1k', crop_pct=0.98),
    _mambavision('S', 'S', 83.3, 50.1, 0.2, 'S-1K', 'small_1k', crop_pct=0.93),
    _mambavision('B', 'B', 84.2, 97.7, 0.3, 'B-1K', 'base_1k'),
    _mambavision('B_21k', 'B', 84.9, 97.7, 0.3, 'B-21K', 'base_21k'),
    _mambavision('L', 'L', 85.0, 227.9, 0.3, 'L-1K', 'large_1k'),
    _mambavision('L_21k', 'L', 86.1, 227.9, 0.3, 'L-21K', 'large_21k'),
    _mambavision('L2', 'L2', 85.3, 241.5, 0.3, 'L2-1K', 'large2_1k'),
    _mambavision('L2_512_21k', 'L2_512', 87.3, 241.5, 0.3, 'L2-512-21K', 'L2_21k_240m_512',
                 img_size=512, crop_pct=0.93, crop_mode='squash'),
    _mambavision('L3_256_21k', 'L3_256', 87.3, 739.6, 0.5, 'L3-256-21K', 'L3_21k_740m_256',
                 img_size=256),
    _mambavision('L3_512_21k', 'L3_512', 88.1, 739.6, 0.5, 'L3-512-21K', 'L3_21k_740m_512',
                 img_size=512, crop_pct=0.93, crop_mode='squash'),
    _mambaout('femto', _original('femto'), 78.9, 7.3, 0.025),
    _mambaout('kobe', _original('kobe'), 80.0, 9.1, 0.025),
    _mambaout('tiny', _original('tiny'), 82.7, 26.5, 0.2),
    _mambaout('small', _original('small'), 84.1, 48.5, 0.4),
    _mambaout('base', _original('base'), 84.2, 84.8, 0.6),
    # timm's own; the accuracies are timm's at 224 pixels, 384 in the last row with weights.
    _mambaout('small_rw', _timm('small_rw.sw_e450_in1k'), 84.024, 48.5),
    _mambaout('base_short_rw', _timm('base_short_rw.sw_e500_in1k'), 84.362, 88.83, crop_pct=0.95),
    _mambaout('base_tall_rw', _timm('base_tall_rw.sw_e500_in1k'), 84.434, 86.48, crop_pct=0.95),
    _mambaout('base_wide_rw', _timm('base_wide_rw.sw_e500_in1k'), 84.454, 94.45, crop_pct=0.95),
    _mambaout('base_plus_rw', _timm('base_plus_rw.sw_e150_in12k_ft_in1k'), 86.632, 101.66),
    _mambaout('base_plus_rw', _timm('base_plus_rw.sw_e150_r384_in12k_ft_in1k'), 87.506, 101.66,
              name='mambaout_base_plus_rw_384', img_size=384, crop_mode='squash',
              aliases=('mambaout_base_plus_rw.sw_e150_r384_in12k_ft_in1k',)),
    _mambaout('test', None, None, 0.45, aliases=('test_mambaout',), img_size=160),
    # The pair of Fig. 3b of MambaOut's paper.
    _vit('tiny', False, 72.2, 5.7, 'deit_tiny_patch16_224-a1311bcf'),
    _vit('tiny', True, 70.6, 5.7, ''),
    _vit('small', False, 79.8, 22.1, 'deit_small_patch16_224-cd65a155'),
    _vit('small', True, 78.9, 22.1, ''),
)
# fmt: on

MODEL_TABLE = {row.name: row for row in _ROWS}


def find_model(name: str) -> ModelInfo:
    """The row of a model, by our name or the official one.

    Upper and lower case are the same, and so are hyphens and underscores.

    Raises:
        ValueError: There is no such model; the message has the nearest names.
    """
    names = {_plain(alias): row for row in _ROWS for alias in (row.name, *row.aliases)}
    # timm writes the training recipe after a dot.
    row = names.get(_plain(name)) or names.get(_plain(name).split('.')[0])
    if row is not None:
        return row
    near = difflib.get_close_matches(_plain(name), names, n=3, cutoff=0.5)
    near = list(dict.fromkeys(names[alias].name for alias in near))
    hint = f' Did you mean {" or ".join(map(repr, near))}?' if near else ''
    raise ValueError(f'there is no model {name!r}; mmvmamba.list_models() names all.{hint}')


def _plain(name: str) -> str:
    return name.lower().replace('-', '_')
