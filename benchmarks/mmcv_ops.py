"""nms and RoIAlign through mmcv with our stand-in, against torchvision called directly.

    python benchmarks/mmcv_ops.py [--device cuda] [--repeats 60]

The two take turns, so that a slower moment of the machine meets both. Printed are the medians, and
how many times longer torchvision takes than ours right beside it: median and quartiles. RoIAlign
goes through mmcv's autograd function, nms once without and once with what mmcv's Python adds.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torchvision
from common import machine, median, take_turns

import mmvmamba  # noqa: F401  before mmcv's operators
from mmvmamba.compat import mmcv_ops_status


def make_boxes(count: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes in an image of 1333 x 800, and scores."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([1200.0, 700.0])
    size = torch.rand(count, 2, generator=generator) * 200 + 8
    boxes = torch.cat([corner, corner + size], dim=1)
    return boxes.to(device), torch.rand(count, generator=generator).to(device)


def make_cases(device: str) -> dict[str, tuple[Callable, Callable]]:
    """Name to the call through mmcv and the call of torchvision."""
    from mmcv import _ext
    from mmcv.ops import nms, roi_align

    boxes, _ = make_boxes(512, device)
    maps = torch.randn(2, 256, 200, 336, device=device, requires_grad=True)
    rois = torch.cat([torch.arange(512, device=device)[:, None] % 2, boxes], dim=1)
    grad = torch.randn(512, 256, 7, 7, device=device)

    def through_mmcv() -> torch.Tensor:
        return roi_align(maps, rois, 7, 0.25, 0, 'avg', True)

    def direct() -> torch.Tensor:
        return torchvision.ops.roi_align(maps, rois, 7, 0.25, -1, True)

    def with_backward(forward: Callable) -> Callable:
        def run() -> None:
            maps.grad = None
            forward().backward(grad)

        return run

    def nms_cases(count: int) -> dict[str, tuple[Callable, Callable]]:
        boxes, scores = make_boxes(count, device)

        def direct_nms() -> torch.Tensor:
            return torchvision.ops.nms(boxes, scores, 0.7)

        stand_in = (lambda: _ext.nms(boxes, scores, iou_threshold=0.7, offset=0), direct_nms)
        whole = (lambda: nms(boxes, scores, 0.7), direct_nms)
        return {
            f'nms, {count} boxes': stand_in,
            f'mmcv.ops.nms, which also gathers the boxes, {count}': whole,
        }

    return {
        **nms_cases(1000),
        **nms_cases(2000),
        'RoIAlign 7x7, 512 boxes, 256 channels, forward': (through_mmcv, direct),
        'the same, forward and backward': (with_backward(through_mmcv), with_backward(direct)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--repeats', type=int, default=60, help='of nms; a sixth of it of RoIAlign')
    args = parser.parse_args()
    kind, reason = mmcv_ops_status()
    if kind != 'stand-in':
        raise SystemExit(f'mmcv runs with other operators than the stand-in: {kind}, {reason}')
    versions = f'torch {torch.__version__}, torchvision {torchvision.__version__}'
    print(f'{machine(args.device)}; {versions}.\n')
    print('| operator | torchvision, ms | ours, ms | torchvision : ours | quartiles |')
    print('|---|---|---|---|---|')
    for name, (ours, theirs) in make_cases(args.device).items():
        repeats = args.repeats if 'nms' in name else max(args.repeats // 6, 5)
        pair = take_turns([ours, theirs], args.device, least=repeats, warmups=2)
        mine, direct = map(median, pair)
        ratios = [theirs / ours for ours, theirs in zip(*pair, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f'| {name} | {1e3 * direct:.2f} | {1e3 * mine:.2f} | {middle:.2f}x '
            f'| {low:.2f}x to {high:.2f}x |'
        )


if __name__ == '__main__':
    main()
