"""Models made ready once for many predictions."""

import copy
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmvmamba.layers.channels_last import fold_sum
from mmvmamba.layers.evaluation import keep_weights
from mmvmamba.layers.packed import PackedHalves, activation_of, can_pack, packed, refuse_training

from .timing import tensors_in

__all__ = ['optimize_for_inference']

# How far outputs may be from the model's own, relative to their largest value.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.1}


def optimize_for_inference(
    model: nn.Module,
    example: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    compile: bool = False,
) -> nn.Module:
    """Makes a copy of a model that predicts the same, faster, and cannot be trained or saved.

    BatchNorm is folded into convolutions, what depends on weights alone is computed once, and on a
    CPU linear layers and convolutions keep their weights as its library reads them.

    Args:
        model: A classifier, detector, segmentor or backbone; it stays as it is.
        example: Images ``(N, 3, H, W)``. With them both models run once, their outputs are
            compared, and whatever is compiled at a first call is.
        dtype: Of weights and of what they are multiplied with: ``torch.bfloat16`` is for CPUs with
            instructions for it.
        compile: Whether torch compiles the copy, with its weights frozen, at the first call.

    Raises:
        ValueError: There are no such instructions, or outputs differ.
    """
    _check_dtype(dtype, model)
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(ready.modules()):
        _fold_norms(module)
        for name in getattr(module, 'residual_convs', ()):
            fold_sum(getattr(module, name))
    for module in list(ready.modules()):
        keep_weights(module)
    if compile:
        ready.compile(options={'freezing': True})
    else:
        _pack(ready, dtype)
    ready.train = partial(_train, ready)  # type: ignore[method-assign]
    ready.register_state_dict_pre_hook(_refuse_saving)
    ready.register_load_state_dict_pre_hook(_refuse_saving)
    if example is not None:
        _compare(model, ready, example, TOLERANCES[dtype])
    return ready


def _check_dtype(dtype: torch.dtype, model: nn.Module) -> None:
    if dtype not in TOLERANCES:
        raise ValueError(f'dtype must be one of {list(TOLERANCES)}, got {dtype}')
    device = next(model.parameters()).device.type
    if dtype != torch.float32 and not (device == 'cpu' and _has_bfloat16()):
        raise ValueError(
            f'dtype {dtype} is for CPUs with instructions for bfloat16, which this one has not; '
            'leave it out'
            if device == 'cpu'
            else f'dtype {dtype} is for the CPU, got a model on {device}; use autocast there'
        )


def _has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself (AVX-512 BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _fold_norms(module: nn.Module) -> None:
    """Folds each BatchNorm that directly follows a convolution into it."""
    for conv_name, norm_name in _conv_norm_pairs(module):
        conv: Any = getattr(module, conv_name, None)
        norm: Any = getattr(module, norm_name, None)
        # A subclass may make another weight of its own, by which the norm would be lost.
        is_followed = type(conv) is nn.Conv2d and isinstance(norm, _BatchNorm)
        if is_followed and norm.running_mean is not None:
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())


def _conv_norm_pairs(module: Any) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the norms that alone see their results."""
    if type(module).forward is nn.Sequential.forward:
        yield from pairwise(module._modules)
    elif tuple(getattr(module, 'order', ()))[:2] == ('conv', 'norm') and module.with_norm:
        # ConvModule of mmcv.
        yield 'conv', module.norm_name
    yield from getattr(module, 'conv_norm_pairs', ())


def _pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Puts packed layers in the places of plain ones, below a module."""
    child: Any
    behind_layers = dict(_activations(module))
    for name, child in module.named_children():
        if hasattr(child, 'packed_form') and _can_pack_all(child):
            setattr(module, name, child.packed_form(dtype).eval())
        elif can_pack(child) and name in getattr(module, 'halved_layers', ()):
            setattr(module, name, PackedHalves(child, dtype).eval())
        elif can_pack(child):
            behind = behind_layers.get(name)
            follows = activation_of(module.get_submodule(behind)) if behind else None
            setattr(module, name, packed(child, dtype, follows))
            if behind:
                setattr(module, behind, nn.Identity())
        else:
            _pack(child, dtype)


def _activations(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of layers of a plain sequence, and of the activation that each is followed by."""
    if type(module).forward is not nn.Sequential.forward:
        return
    kept = [name for name, child in module.named_children() if type(child) is not nn.Identity]
    for layer, behind in pairwise(kept):
        if activation_of(module.get_submodule(behind)):
            yield layer, behind


def _can_pack_all(module: nn.Module) -> bool:
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return all(map(can_pack, layers))


def _train(module: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        refuse_training()
    return module


def _refuse_saving(*_: Any) -> None:
    raise ValueError(
        'a model made ready for inference has no weights to save or load: use the one it was made '
        'from'
    )


@torch.inference_mode()
def _compare(model: nn.Module, ready: nn.Module, example: Tensor, tolerance: float) -> None:
    modes = {module: module.training for module in model.modules()}
    try:
        expected = list(tensors_in(model.eval()(example)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    for wanted, found in zip(expected, tensors_in(ready(example)), strict=True):
        error = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
        if not error <= tolerance:
            raise ValueError(
                f'the model made ready for inference differs from its original by {error:.1e} of '
                f'its largest output, more than {tolerance:.0e}'
            )
