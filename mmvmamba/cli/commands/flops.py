"""``mmvmamba flops``."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmvmamba.cli.arguments import positive
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.tables import format_columns

if TYPE_CHECKING:
    from mmvmamba.apis.counting import Count
    from mmvmamba.apis.token_mixing import TokenMixing

__all__ = ['EXAMPLE', 'SUMMARY', 'add_arguments', 'run']

SUMMARY = 'count parameters and operations; judge if sequences are long'
EXAMPLE = """mmvmamba flops vim_tiny --by-module
  mmvmamba flops mambaout_tiny --token-mixing --shape 800 1280"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model and what is asked about it."""
    parser.add_argument('model', help='a name of mmvmamba list, or a config file')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help="of the image; default: a classifier's own, 800 1280, 512 2048",
    )
    parser.add_argument('--by-module', action='store_true', help='list the parts of the model')
    parser.add_argument(
        '--depth',
        type=positive,
        default=2,
        metavar='N',
        help='levels of parts with --by-module (default: %(default)s)',
    )
    parser.add_argument(
        '--token-mixing',
        action='store_true',
        help='long sequences? The criterion of the MambaOut paper, stage by stage',
    )
    parser.add_argument('--causal', action='store_true', help='judge causal attention')
    parser.add_argument(
        '--mlp-ratio',
        type=float,
        default=4.0,
        metavar='R',
        help='of the Transformer block that is judged (default: %(default)g)',
    )


def run(args: argparse.Namespace) -> None:
    """Prints the counts, or the judgement."""
    from mmvmamba.apis.bare_models import bare_config, default_shape
    from mmvmamba.apis.counting import count_config
    from mmvmamba.apis.token_mixing import stage_mixing

    if args.mlp_ratio <= 0:
        raise UserError(f'--mlp-ratio must be above 0, got {args.mlp_ratio:g}')
    config = bare_config(args.model)
    shape = tuple(args.shape or default_shape(config))
    if args.token_mixing:
        stages = stage_mixing(config, shape, args.mlp_ratio, args.causal)
        print(_mixing_table(args.model, shape, stages))
        return
    count = count_config(config, shape)
    print(_count_table(args.model, count))
    if args.by_module:
        print(f'\n{_module_table(count, args.depth)}')


def _count_table(model: str, count: 'Count') -> str:
    height, width = count.shape
    rows = [
        ('model', model),
        ('image', f'{height} x {width}'),
        ('parameters', f'{count.parameters:,}'),
        ('FLOPs', f'{_giga(count.flops)}, each multiplication and each addition'),
        ('MACs', f'{_giga(count.macs)}, as papers count (a multiply-add is one)'),
    ]
    rows += [(f'  {kind}', f'{_giga(n)} of the FLOPs') for kind, n in count.operations.items()]
    calls = ', '.join(f'{name} {number}x' for name, number in count.uncounted.items())
    rows.append(('not counted', f'element-wise operations; {calls or "nothing else"}'))
    return format_columns(rows)


def _module_table(count: 'Count', depth: int) -> str:
    rows = [('part', 'GFLOPs', 'share')]
    for name, flops in count.modules.items():
        level = name.count('.') + 1 if name else 0
        if level <= depth and flops:
            share = f'{100 * flops / max(count.flops, 1):.1f} %'
            label = f'{"  " * level}{name or "the model"}'
            rows.append((label, f'{flops / 1e9:.3f}', share))
    return format_columns(rows)


def _mixing_table(model: str, shape: Sequence[int], stages: Sequence['TokenMixing']) -> str:
    rows = [('stage', 'L', 'D', 'linear', 'quadratic', 'long if', 'ratio', 'verdict')]
    for number, stage in enumerate(stages, start=1):
        rows.append(
            (
                str(number),
                f'{stage.tokens:,}',
                str(stage.width),
                _giga(stage.linear),
                _giga(stage.quadratic),
                f'L > {stage.threshold:,.0f}',
                f'{stage.ratio:.3f}',
                stage.verdict,
            )
        )
    kind = 'causal ' if stages[0].causal else ''
    head = (
        f'{model} at {shape[0]} x {shape[1]}: L tokens of width D in each stage, and the FLOPs\n'
        f'that a Transformer block with {kind}attention would take for them'
    )
    return f'{head}\n\n{format_columns(rows)}'


def _giga(number: float) -> str:
    return f'{number / 1e9:.3f} G'
