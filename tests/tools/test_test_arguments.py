"""What tools/test.py makes of its arguments, and how it refuses bad input. Nothing is tested."""

import pytest
from mmengine.config import Config

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.evaluation import format_table
from mmvmamba.engine.metrics.coco_figures import FIGURES

DATA = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))
DETECTOR = dict(
    default_scope='mmdet',
    model=dict(type='MaskRCNN', roi_head=dict(mask_head=dict(type='FCNMaskHead'))),
    test_dataloader=DATA,
    test_evaluator=dict(type='CocoMetric', metric=['bbox', 'segm']),
    tta_model=dict(type='DetTTAModel'),
    tta_pipeline=[dict(type='TestTimeAug')],
)
BOXES = {**DETECTOR, 'model': dict(type='RetinaNet')}
SEGMENTOR = dict(
    default_scope='mmseg',
    model=dict(type='EncoderDecoder'),
    test_dataloader=DATA,
    test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
)
CLASSIFIER = dict(
    default_scope='mmpretrain',
    model=dict(type='ImageClassifier'),
    test_dataloader=DATA,
    test_evaluator=dict(type='Accuracy', topk=(1, 3)),
)


@pytest.fixture
def merge(test_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(cfg, *arguments):
        args = test_tool.parse_args(['configs/det/some_model.py', 'epoch_1.pth', *arguments])
        return test_tool.merge_args(Config(cfg), args)

    return run


def test_the_config_decides_without_eval(merge):
    cfg = merge(DETECTOR)
    # All twelve figures of COCO, where the config does not choose.
    assert cfg.test_evaluator == {**DETECTOR['test_evaluator'], 'metric_items': list(FIGURES)}
    chosen = dict(DETECTOR['test_evaluator'], metric_items=['mAP'])
    assert merge({**DETECTOR, 'test_evaluator': chosen}).test_evaluator == chosen
    assert cfg.load_from == 'epoch_1.pth'
    assert cfg.work_dir == 'work_dirs/some_model'


def test_results_are_of_a_checkpoint_and_a_config(merge):
    cfg = merge(CLASSIFIER, '--results', 'out/results.jsonl')
    assert cfg.test_cfg.results == 'out/results.jsonl'
    assert cfg.test_cfg.origin.checkpoint == 'epoch_1.pth'
    other = merge(CLASSIFIER, '--results', 'out/results.jsonl', '--eval', 'precision')
    assert other.test_cfg.origin.config != cfg.test_cfg.origin.config
    assert merge(CLASSIFIER, '--results', 'r').test_cfg.origin == cfg.test_cfg.origin


def test_results_are_refused_where_processes_need_each_other(merge):
    sharded = {**CLASSIFIER, 'strategy': dict(type='mmvmamba.FSDPStrategy')}
    with pytest.raises(UserError, match=r'FSDPStrategy needs all of them .* without a strategy'):
        merge(sharded, '--results', 'r.jsonl')


def test_figures_of_each_class_are_for_detection(merge):
    assert merge(DETECTOR, '--classwise', '--eval', 'bbox').test_evaluator.classwise is True
    with pytest.raises(UserError, match='--classwise is for detection'):
        merge(SEGMENTOR, '--classwise')


@pytest.mark.parametrize(
    ('cfg', 'metrics', 'key'),
    [
        (DETECTOR, ['bbox'], 'metric'),
        (DETECTOR, ['segm', 'proposal'], 'metric'),
        (BOXES, ['bbox'], 'metric'),
        (SEGMENTOR, ['mIoU', 'mDice', 'mFscore'], 'iou_metrics'),
    ],
    ids=['bbox', 'segm', 'retinanet', 'segmentation'],
)
def test_eval_sets_the_metrics(merge, cfg, metrics, key):
    assert merge(cfg, '--eval', *metrics).test_evaluator[key] == metrics


def test_eval_accuracy(merge):
    assert merge(CLASSIFIER, '--eval', 'accuracy').test_evaluator == [
        dict(type='Accuracy', topk=(1, 3))
    ]
    cfg = merge(CLASSIFIER, '--eval', 'accuracy', 'f1-score', '--topk', '1', '2')
    assert cfg.test_evaluator == [
        dict(type='Accuracy', topk=(1, 2)),
        dict(type='SingleLabelMetric', items=('f1-score',)),
    ]


def test_accuracies_among_more_classes_than_there_are_are_left_out_unless_asked_for(merge):
    model = dict(type='ImageClassifier', head=dict(num_classes=2))
    small = dict(CLASSIFIER, model=model)
    assert merge(small).test_evaluator.topk == (1,)
    assert merge(small, '--eval', 'accuracy').test_evaluator[0].topk == (1,)
    with pytest.raises(UserError, match=r'--topk must be at most 2, the number .* got 5'):
        merge(small, '--eval', 'accuracy', '--topk', '1', '5')


@pytest.mark.parametrize(
    ('cfg', 'metric', 'fitting'),
    [
        (DETECTOR, 'mIoU', 'bbox, segm, proposal'),
        (BOXES, 'segm', 'bbox, proposal'),
        (SEGMENTOR, 'bbox', 'mIoU, mDice, mFscore'),
        (CLASSIFIER, 'mIoU', 'accuracy, precision, recall, f1-score'),
    ],
    ids=['detection', 'no masks', 'segmentation', 'classification'],
)
def test_metrics_that_do_not_fit_are_refused(merge, cfg, metric, fitting):
    with pytest.raises(UserError, match=f'{metric!r} does not fit .*those that fit: {fitting}$'):
        merge(cfg, '--eval', metric)


@pytest.mark.parametrize(
    ('cfg', 'wrong', 'right'),
    [(DETECTOR, 'bbx', 'bbox'), (SEGMENTOR, 'miou', 'mIoU'), (CLASSIFIER, 'acuracy', 'accuracy')],
    ids=['detection', 'segmentation', 'classification'],
)
def test_misspelt_metrics_are_corrected(merge, cfg, wrong, right):
    with pytest.raises(UserError, match=f'did you mean {right!r}'):
        merge(cfg, '--eval', wrong)


def test_an_evaluator_of_ours_counts_too(merge):
    cfg = {**DETECTOR, 'test_evaluator': [dict(type='mmvmamba.CocoMetric', metric='bbox')]}
    assert merge(cfg, '--eval', 'segm').test_evaluator[0].metric == ['segm']


def test_a_config_without_a_fitting_evaluator_is_refused(merge):
    with pytest.raises(UserError, match='must hold one of CocoMetric'):
        merge({**DETECTOR, 'test_evaluator': dict(type='VOCMetric')}, '--eval', 'bbox')


def test_tta_wraps_model_and_data(merge):
    cfg = merge(DETECTOR, '--tta', '--eval', 'bbox')
    assert cfg.model.type == 'DetTTAModel'
    assert cfg.model.module.type == 'MaskRCNN'
    assert cfg.test_dataloader.dataset.pipeline[0].type == 'TestTimeAug'


def test_tta_cannot_merge_masks(merge):
    with pytest.raises(UserError, match='--tta merges boxes only; ask for --eval bbox'):
        merge(DETECTOR, '--tta')


def test_tta_needs_a_description(merge):
    with pytest.raises(UserError, match='needs tta_model and tta_pipeline'):
        merge(SEGMENTOR, '--tta')


@pytest.mark.parametrize(
    ('cfg', 'dump'), [(DETECTOR, 'DumpDetResults'), (SEGMENTOR, 'DumpResults')], ids=['det', 'seg']
)
def test_out_adds_a_dump(merge, cfg, dump):
    merged = merge(cfg, '--out', 'results/all.pkl')
    assert [e.type for e in merged.test_evaluator] == [cfg['test_evaluator']['type'], dump]
    assert merged.test_evaluator[1].out_file_path == 'results/all.pkl'


@pytest.mark.parametrize('cfg', [DETECTOR, CLASSIFIER], ids=['det', 'cls'])
def test_out_as_json_adds_our_result_file(merge, cfg):
    merged = merge(cfg, '--out', 'results/all.json')
    own, ours = merged.test_evaluator
    assert own['type'] == cfg['test_evaluator']['type']
    assert ours == dict(type='mmvmamba.ResultFile', path='results/all.json')


@pytest.mark.parametrize(
    ('cfg', 'path', 'message'),
    [
        (DETECTOR, 'all.csv', r'must end in \.json, \.pkl or \.pickle, got all\.csv'),
        (SEGMENTOR, 'all.json', r'FILE\.json is for classification and detection'),
    ],
)
def test_out_of_another_kind_is_refused(merge, cfg, path, message):
    with pytest.raises(UserError, match=message):
        merge(cfg, '--out', path)


def test_format_only(merge):
    cfg = merge(DETECTOR, '--format-only', 'out/coco')
    assert (cfg.test_evaluator.format_only, cfg.test_evaluator.outfile_prefix) == (True, 'out/coco')
    cfg = merge(SEGMENTOR, '--format-only', 'out/labels')
    assert (cfg.test_evaluator.format_only, cfg.test_evaluator.output_dir) == (True, 'out/labels')
    with pytest.raises(UserError, match=r'use --out FILE\.pkl'):
        merge(CLASSIFIER, '--format-only', 'out')


def test_format_only_and_eval_exclude_each_other(test_tool, capsys):
    with pytest.raises(SystemExit):
        test_tool.parse_args(['a.py', 'a.pth', '--eval', 'bbox', '--format-only', 'out'])
    assert 'argument --format-only: not allowed with argument --eval' in capsys.readouterr().err


@pytest.mark.parametrize(('flag', 'value'), [('--show-limit', '3'), ('--opacity', '0.3')])
def test_what_is_said_of_pictures_needs_a_folder(flag, value, test_tool, capsys):
    with pytest.raises(SystemExit):
        test_tool.main(['a.py', 'a.pth', flag, value])
    assert f'{flag} needs --show-dir DIR' in capsys.readouterr().err


def test_opacity_is_a_fraction_and_reaches_the_hook(merge, test_tool, capsys):
    (hook,) = merge(DETECTOR, '--show-dir', 'pictures', '--opacity', '0.3').custom_hooks
    assert hook['opacity'] == 0.3
    with pytest.raises(SystemExit):
        test_tool.parse_args(['a.py', 'a.pth', '--opacity', '1.3'])
    assert 'argument --opacity: must be from 0 to 1, got 1.3' in capsys.readouterr().err


def test_show_dir_adds_the_hook(merge):
    cfg = merge(DETECTOR, '--show-dir', 'pictures', '--show-limit', '3')
    assert cfg.custom_hooks == [
        dict(type='mmvmamba.PredictionPicturesHook', out_dir='pictures', limit=3)
    ]


def test_missing_checkpoint_is_named(
    test_tool, toy_config, toy_options, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'epoch_3.pth').write_bytes(b'')
    with pytest.raises(SystemExit) as end:
        test_tool.main([toy_config, 'epoch_4.pth', '--cfg-options', *toy_options])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert 'error: checkpoint epoch_4.pth does not exist; . holds epoch_3.pth' in message
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_3.pth']


def test_the_table_is_readable():
    assert format_table({'coco/bbox_mAP': 0.41234, 'images': 80}) == (
        '+---------------+--------+\n'
        '| metric        |  value |\n'
        '+---------------+--------+\n'
        '| coco/bbox_mAP | 0.4123 |\n'
        '| images        |     80 |\n'
        '+---------------+--------+'
    )
