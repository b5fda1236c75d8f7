"""nms, nms_match and soft_nms of mmcv, as mmcv calls the stand-in, against loops over boxes."""

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms

pytestmark = pytest.mark.usefixtures('stand_ins')


def random_boxes(count, seed=0, size=60.0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, size, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, size / 2, (count, 2))], axis=1)
    return torch.tensor(boxes), torch.tensor(rng.permutation(count) / max(count, 1) + 0.01)


def overlap(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def nms_by_loop(boxes, scores, threshold, offset):
    kept = []
    for index in np.argsort(-scores):
        if all(overlap(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(index)
    return kept


def soft_nms_by_loop(boxes, scores, threshold, sigma, min_score, method, offset):
    left, scores, taken = list(range(len(boxes))), scores.copy(), []
    while left:
        best = max(left, key=lambda index: scores[index])
        left.remove(best)
        taken.append((best, scores[best]))
        for index in left:
            iou = overlap(boxes[best], boxes[index], offset)
            if method == 'gaussian':
                scores[index] *= np.exp(-(iou**2) / sigma)
            elif iou >= threshold:
                scores[index] *= 1 - iou if method == 'linear' else 0
        left = [index for index in left if scores[index] >= min_score]
    return taken


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_nms_keeps_what_the_loop_keeps(threshold, offset):
    boxes, scores = random_boxes(60)
    dets, kept = nms(boxes, scores, threshold, offset=offset)
    expected = nms_by_loop(boxes.numpy(), scores.numpy(), threshold, offset)
    assert kept.tolist() == [int(index) for index in expected]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_offset_changes_which_boxes_nms_keeps():
    # Overlap 1/3 between the areas, 4/8 between the pixels.
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]])
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes, scores, 0.4, offset=0)[1]) == 2
    assert len(nms(boxes, scores, 0.4, offset=1)[1]) == 1


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms_lowers_scores_as_the_loop_does(method, offset):
    boxes, scores = random_boxes(40, seed=1)
    settings = dict(sigma=0.4, min_score=0.05, method=method, offset=offset)
    dets, kept = soft_nms(boxes, scores, 0.3, **settings)
    expected = soft_nms_by_loop(boxes.numpy(), scores.numpy(), 0.3, **settings)
    assert kept.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))


def test_soft_nms_leaves_its_arguments_alone():
    boxes, scores = random_boxes(10)
    before = boxes.clone(), scores.clone()
    soft_nms(boxes, scores, 0.3, min_score=0.1)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.parametrize('suppress', [nms, soft_nms])
def test_no_boxes_give_no_boxes(suppress):
    dets, kept = suppress(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)


def test_batched_nms_keeps_classes_apart():
    boxes, scores = random_boxes(1)
    boxes, scores = boxes.repeat(3, 1), torch.tensor([0.9, 0.8, 0.7])
    dets, kept = batched_nms(
        boxes, scores, torch.tensor([0, 1, 0]), dict(type='nms', iou_threshold=0.5)
    )
    assert kept.tolist() == [0, 1]
    assert len(dets) == 2


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_nms_takes_the_mixed_types_of_autocast(dtype):
    boxes, scores = random_boxes(20)
    kept = nms(boxes.to(dtype), scores.float(), 0.3)[1]
    assert torch.equal(kept, nms(boxes.to(dtype).double(), scores.float().double(), 0.3)[1])


@pytest.mark.parametrize('count', [0, 1, 40])
@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_groups_are_those_of_the_loop(count, threshold):
    boxes, scores = random_boxes(count)
    left, expected = list(np.argsort(-scores.numpy())), []
    while left:
        best, others = left[0], left[1:]
        joined = [i for i in others if overlap(boxes[best], boxes[i], 0) >= threshold]
        expected.append([best, *joined])
        left = [i for i in others if i not in joined]
    got = nms_match(torch.cat([boxes, scores[:, None]], dim=1), threshold)
    assert [group.tolist() for group in got] == expected
    assert count < 40 or 1 < len(got) < 40
