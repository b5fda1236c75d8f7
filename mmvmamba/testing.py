"""What tests and benchmarks share: tolerances, random inputs, weights filled by name, and
comparison with golden numbers.

Weights are filled from the names and shapes of the state dict alone, so that two implementations of
one network can be compared without shipping weights.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    'TOLERANCES',
    'GoldenCase',
    'allowed_half_error',
    'assert_close',
    'assert_half_close',
    'fill_state_dict',
    'load_filled',
    'make_input',
    'max_relative_error',
    'sample_positions',
]

# Largest allowed difference, relative to the largest magnitude of the expected value.
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}


def fill_state_dict(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Float64 values that depend on a tensor's name, shape and seed; counters are left out."""
    return {
        name: torch.from_numpy(_fill(name, tuple(int(size) for size in shape), seed))
        for name, shape in shapes.items()
        if not name.endswith('num_batches_tracked')
    }


def make_input(shape: Sequence[int], seed: int = 0) -> Tensor:
    """A float64 batch of images, roughly normalised."""
    shape = tuple(int(size) for size in shape)
    return torch.from_numpy(_generator(f'input:{seed}:{shape}').standard_normal(shape))


def sample_positions(size: int, count: int = 64) -> np.ndarray:
    """Fixed positions, spread over a flattened array, at which golden numbers are stored."""
    return _generator(f'sample:{size}:{count}').integers(0, size, size=count)


def max_relative_error(actual: Tensor, expected: Tensor | np.ndarray) -> float:
    """The largest absolute difference relative to the largest expected magnitude."""
    actual = torch.as_tensor(actual, dtype=torch.float64).detach().cpu()
    expected = torch.as_tensor(expected, dtype=torch.float64).detach().cpu()
    if actual.shape != expected.shape:
        raise AssertionError(f'expected shape {tuple(expected.shape)}, got {tuple(actual.shape)}')
    if not torch.isfinite(actual).all():
        raise AssertionError('the output has values that are not finite')
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def assert_close(
    actual: Tensor, expected: Tensor | np.ndarray, name: str, tolerance: float | None = None
) -> None:
    """Fails on a difference above the tolerance, relative to the largest expected magnitude."""
    tolerance = TOLERANCES[actual.dtype] if tolerance is None else tolerance
    error = max_relative_error(actual, expected)
    if error > tolerance:
        raise AssertionError(f'{name}: relative error {error:.3g} is above {tolerance:.3g}')


def allowed_half_error(plain: Tensor, expected: Tensor) -> float:
    """Twice the largest error of plain PyTorch in the same precision."""
    allowed = 2 * (plain.double() - expected.double()).abs().max()
    if plain.dtype == torch.float32:
        # It has no rounding to half to be compared with.
        allowed = allowed + TOLERANCES[torch.float32] * expected.abs().max()
    return allowed.item()


def assert_half_close(actual: Tensor, plain: Tensor, expected: Tensor, name: str) -> None:
    """Fails where half precision errs more than twice as much as plain PyTorch in it does."""
    if (actual.dtype, actual.shape) != (plain.dtype, expected.shape):
        raise AssertionError(
            f'{name}: expected {plain.dtype} of shape {tuple(expected.shape)}, '
            f'got {actual.dtype} of shape {tuple(actual.shape)}'
        )
    error = (actual.double() - expected.double()).abs().max().item()
    allowed = allowed_half_error(plain, expected)
    if not error <= allowed:
        raise AssertionError(
            f'{name}: error {error:.3g} is above {allowed:.3g}, twice that of plain PyTorch'
        )


class GoldenCase:
    """Reference numbers: ``<case>.json`` says what was built, ``<case>.npz`` holds its outputs."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.name = path.with_suffix('').name
        self.spec = json.loads(path.with_suffix('.json').read_text())
        arrays = path.with_suffix('.npz')
        self.arrays = dict(np.load(arrays)) if arrays.exists() else {}

    def state_dict(self) -> dict[str, Tensor]:
        """The filled weights by their official names, without what the constructor computes."""
        computed = tuple(self.spec.get('not_filled', ()))
        shapes = {
            name: shape for name, shape in self.spec['keys'].items() if not name.endswith(computed)
        }
        state = fill_state_dict(shapes, self.spec['seed'])
        for ending, factor in self.spec.get('multiply', {}).items():
            state |= {name: factor * x for name, x in state.items() if name.endswith(ending)}
        return state

    def input(self) -> Tensor:
        return make_input(self.spec['input_shape'], self.spec['seed'])

    def check(self, name: str, actual: Tensor, tolerance: float | None = None) -> None:
        """Compares with an array stored in full, or as samples, mean and standard deviation."""
        actual = actual.detach().cpu()
        tolerance = TOLERANCES[actual.dtype] if tolerance is None else tolerance
        if name in self.arrays:
            return assert_close(actual, self.arrays[name], f'{self.name} {name}', tolerance)
        shape = tuple(int(size) for size in self.arrays[f'{name}.shape'])
        if tuple(actual.shape) != shape:
            raise AssertionError(
                f'{self.name} {name}: expected shape {shape}, got {tuple(actual.shape)}'
            )
        flat = actual.double().reshape(-1)
        samples = self.arrays[f'{name}.sample']
        assert_close(
            flat[sample_positions(flat.numel(), len(samples))],
            samples,
            f'{self.name} {name}',
            tolerance,
        )
        for statistic, value in (('mean', flat.mean()), ('std', flat.std(correction=0))):
            # Judged on the scale of the map: a mean may be close to zero.
            error = (
                abs(value.item() - float(self.arrays[f'{name}.{statistic}']))
                / np.abs(samples).max()
            )
            if error > tolerance:
                raise AssertionError(
                    f'{self.name} {name} {statistic}: error {error:.3g} is above {tolerance:.3g}'
                )
        return None


def load_filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fills a module's own state dict by the names it uses and loads it."""
    state = module.state_dict()
    filled = fill_state_dict({name: tensor.shape for name, tensor in state.items()}, seed)
    module.load_state_dict(
        {**state, **{name: x.to(state[name].dtype) for name, x in filled.items()}}
    )
    return module


def _generator(text: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'little')
    return np.random.Generator(np.random.Philox(key=key))


def _fill(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = np.asarray(_generator(f'{seed}:{name}:{shape}').standard_normal(shape))
    leaf = name.rsplit('.', 1)[-1]
    if leaf == 'running_var':
        return 0.75 + 0.25 * np.abs(noise)
    if leaf in ('A_log', 'A_b_log', 'A_logs'):
        return np.log(np.arange(1, shape[-1] + 1)) + 0.05 * noise
    if leaf in ('D', 'D_b', 'Ds'):
        return 1.0 + 0.1 * noise
    if leaf.startswith(('gamma', 'layer_scale')):
        return 0.5 + 0.1 * noise
    if ('dt_proj' in name and leaf == 'bias') or leaf == 'dt_projs_bias':
        return -3.0 + 0.5 * noise
    if len(shape) >= 2 and leaf in ('weight', 'in_proj_weight', 'x_proj_weight', 'dt_projs_weight'):
        return noise / math.sqrt(math.prod(shape[1:]))
    if leaf == 'weight':
        return 1.0 + 0.1 * noise
    return 0.1 * noise
