"""Computes anew the golden numbers that an installed package can give: MambaOut's, by timm.

python -m tests.golden.regenerate          compares with the stored numbers
python -m tests.golden.regenerate --write  replaces them
"""

import argparse
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from mmvmamba.testing import GoldenCase, load_filled, sample_positions

FOLDER = Path(__file__).parent / 'mambaout'
CASES = sorted(path.stem for path in FOLDER.glob('timm_*.json'))
# The last linear layer's input and output; maps are stored as digests.
STORED_IN_FULL = ('pre_logits', 'logits')


def build(case: GoldenCase) -> nn.Module:
    """timm's model of a case, with the weights of the filling rule, in float64."""
    settings = case.spec['kwargs']
    model = timm.create_model(
        case.spec['variant'],
        depths=settings['depths'],
        dims=settings['dims'],
        num_classes=settings.get('num_classes', 1000),
    ).double()
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    if shapes != case.spec['keys']:
        raise ValueError(f'{case.name}: timm {timm.__version__} has other keys or shapes')
    return load_filled(model.eval(), case.spec['seed'])


@torch.no_grad()
def compute(case: GoldenCase) -> dict[str, Tensor]:
    """The outputs of a case by the names under which they are stored, maps as (N, C, H, W)."""
    model, outputs = build(case), {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            outputs[name] = output.permute(0, 3, 1, 2)

        return hook

    model.stem.register_forward_hook(keep('stem'))
    for i, stage in enumerate(model.stages, start=1):
        stage.register_forward_hook(keep(f'stage{i}'))
    features = model.forward_features(case.input())
    outputs['pre_logits'] = model.forward_head(features, pre_logits=True)
    outputs['logits'] = model.forward_head(features)
    return outputs


def stored_form(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The arrays of the .npz file."""
    arrays = {}
    for name, output in outputs.items():
        values = output.numpy()
        if name in STORED_IN_FULL:
            arrays[name] = values
            continue
        flat = values.reshape(-1)
        arrays |= {
            f'{name}.shape': np.array(values.shape),
            f'{name}.mean': flat.mean(),
            f'{name}.std': flat.std(),
            f'{name}.sample': flat[sample_positions(flat.size)],
        }
    return arrays


def main() -> None:
    """Compares, or replaces, every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--write', action='store_true', help='replace the stored numbers')
    write = parser.parse_args().write
    for name in CASES:
        case = GoldenCase(FOLDER / name)
        outputs = compute(case)
        if write:
            np.savez_compressed(FOLDER / f'{name}.npz', **stored_form(outputs))
        else:
            for key, output in outputs.items():
                case.check(key, output)
        print(f'{name}: {"written" if write else "equal"}')  # noqa: T201


if __name__ == '__main__':
    main()
