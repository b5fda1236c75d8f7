"""What tools/train.py makes of its arguments, and how it refuses bad input. Nothing is trained."""

import os

import pytest
import torch
from mmengine.config import Config

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.training import set_resume, set_seed_of_run

from .conftest import ROOT

TOY = dict(
    default_scope='mmdet',
    model=dict(type='MaskRCNN'),
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4)),
    auto_scale_lr=dict(enable=False, base_batch_size=16),
)


def merge(tool, *arguments, **changes):
    args = tool.parse_args(['configs/det/some_model.py', *arguments])
    return tool.merge_args(Config({**TOY, **changes}), args)


@pytest.fixture
def refused(train_tool, toy_config, toy_options, tmp_path, capsys, monkeypatch):
    """Runs the tool in-process and returns its message; it must fail and write nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, config=toy_config, options=()):
        before = set(tmp_path.rglob('*'))
        with pytest.raises(SystemExit) as end:
            train_tool.main([config, *arguments, '--cfg-options', *toy_options, *options])
        assert end.value.code == 2
        assert set(tmp_path.rglob('*')) == before, 'nothing is half-written'
        message = capsys.readouterr().err
        assert 'Traceback' not in message
        return message

    return run


def test_the_config_is_not_changed(train_tool):
    cfg = Config(TOY)
    train_tool.merge_args(cfg, train_tool.parse_args(['a.py', '--seed', '3', '--auto-scale-lr']))
    assert cfg.to_dict() == Config(TOY).to_dict()


def test_work_dir_follows_argument_then_config_then_name(train_tool):
    assert merge(train_tool).work_dir == 'work_dirs/some_model'
    assert merge(train_tool, work_dir='mine').work_dir == 'mine'
    assert merge(train_tool, '--work-dir', 'other', work_dir='mine').work_dir == 'other'


def test_seed_and_determinism(train_tool):
    assert merge(train_tool).randomness == dict(seed=None)
    assert merge(train_tool, randomness=dict(seed=5)).randomness == dict(seed=5)
    cfg = merge(train_tool, '--seed', '3', '--deterministic', randomness=dict(seed=5))
    assert cfg.randomness == dict(seed=3, deterministic=True)


def test_auto_scale_lr_is_switched_on(train_tool):
    cfg = merge(train_tool, '--auto-scale-lr')
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    with pytest.raises(UserError, match='base_batch_size=N'):
        merge(train_tool, '--auto-scale-lr', auto_scale_lr=None)


def test_amp_needs_a_gpu(train_tool, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(UserError, match='--amp needs a GPU'):
        merge(train_tool, '--amp')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    changed = merge(train_tool, '--amp').optim_wrapper
    assert changed.type == 'mmvmamba.FiniteAmpOptimWrapper'
    assert changed.dtype == 'auto_float16'
    kept = merge(train_tool, '--amp', optim_wrapper=dict(type='AmpOptimWrapper')).optim_wrapper
    assert kept.type == 'AmpOptimWrapper'
    with pytest.raises(UserError, match='but the config uses MyWrapper'):
        merge(train_tool, '--amp', optim_wrapper=dict(type='MyWrapper'))


def test_merging_reads_no_files(train_tool, tmp_path):
    cfg = merge(train_tool, '--resume', '--work-dir', str(tmp_path / 'nowhere'), load_from='a.pth')
    assert cfg.load_from == 'a.pth'
    assert merge(train_tool, '--resume', 'b.pth', load_from='a.pth').load_from == 'a.pth'


def test_resume_names_the_checkpoint(train_tool, tmp_path):
    for epoch in (1, 2):
        torch.save(dict(meta=dict(epoch=epoch)), tmp_path / f'epoch_{epoch}.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    cfg = merge(train_tool, '--work-dir', str(tmp_path))
    assert set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'epoch_2.pth'))
    assert set_resume(cfg, str(tmp_path / 'epoch_1.pth'))
    assert cfg.load_from == str(tmp_path / 'epoch_1.pth')


def test_resume_without_a_checkpoint_starts_anew(train_tool, tmp_path):
    cfg = merge(train_tool, '--work-dir', str(tmp_path), load_from='a.pth')
    assert not set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'a.pth')


def test_resume_takes_the_seed_of_the_run(train_tool):
    resumed = merge(train_tool, resume=True)
    set_seed_of_run(resumed, dict(seed=12))
    assert resumed.randomness.seed == 12
    given = merge(train_tool, '--seed', '4', resume=True)
    set_seed_of_run(given, dict(seed=12))
    assert given.randomness.seed == 4
    fine_tuned = merge(train_tool, load_from='a.pth')
    set_seed_of_run(fine_tuned, dict(seed=12))
    assert fine_tuned.randomness.seed is None


def test_missing_config(refused):
    message = refused(config='configs/det/l1_maskrcn_1x.py')
    assert 'config file configs/det/l1_maskrcn_1x.py does not exist' in message


def test_similar_config_is_suggested(refused, toy_config):
    message = refused(config=toy_config.replace('maskrcnn', 'maskrcn'))
    assert 'did you mean' in message
    assert 'det_plain_mamba_maskrcnn.py' in message


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('model = dict(', 'SyntaxError'),
        ('model = unknown', 'NameError'),
        ("_base_ = 'a.py'", 'a.py'),
    ],
)
def test_config_that_does_not_parse(refused, tmp_path, text, reason):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    message = refused(config=str(path))
    assert f'{path} does not parse' in message
    assert reason in message


def test_override_that_does_not_fit(refused):
    assert 'does not fit' in refused(options=['train_dataloader.dataset.pipeline.99.type=Resize'])


def test_unknown_arch(refused):
    message = refused(options=['model.backbone.arch=L9'])
    assert "one of 'L1', 'L2', 'L3'" in message
    assert "got 'L9'" in message


def test_unknown_model_type(refused):
    message = refused(options=['model.backbone.type=mmvmamba.PlainMumba'])
    assert 'mmvmamba.PlainMumba is not in the' in message


def test_unknown_model_argument(refused):
    assert 'conv_inplan' in refused(options=['model.backbone.conv_inplan=16'])


def test_missing_data_root(refused):
    message = refused(options=['train_dataloader.dataset.data_root=data/nowhere'])
    assert 'data root data/nowhere does not exist' in message
    assert '--cfg-options train_dataloader.dataset.data_root=PATH' in message


def test_missing_annotation_file(refused, toy_coco):
    message = refused(options=['val_dataloader.dataset.ann_file=annotations/none.json'])
    assert f'annotation file {toy_coco}/annotations/none.json does not exist' in message
    assert '--cfg-options val_dataloader.dataset.ann_file=PATH' in message


def test_missing_annotation_file_of_the_evaluator(refused):
    message = refused(options=['val_evaluator.ann_file=none.json'])
    assert 'annotation file none.json does not exist' in message


def test_missing_image_folder(refused, toy_coco):
    message = refused(options=['train_dataloader.dataset.data_prefix.img=train2014/'])
    assert f'folder {toy_coco}/train2014/ does not exist' in message


def test_missing_checkpoint_to_resume_from(refused, tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes(b'')
    message = refused('--resume', str(tmp_path / 'epoch_9.pth'))
    assert 'epoch_9.pth does not exist' in message
    assert 'holds epoch_1.pth' in message


def test_missing_pretrained_weights(refused, toy_config, tmp_path):
    path = tmp_path / 'pretrained.py'
    weights = dict(_delete_=True, type='Pretrained', checkpoint='a.pth')
    path.write_text(f'_base_ = {toy_config!r}\nmodel = dict(backbone=dict(init_cfg={weights}))\n')
    assert 'checkpoint a.pth does not exist' in refused(config=str(path))


def test_unwritable_work_dir(refused, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    message = refused('--work-dir', str(tmp_path / 'file' / 'run'))
    assert f'work dir {tmp_path}/file/run cannot be written' in message
    assert '--work-dir' in message


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_read_only_work_dir(refused, tmp_path):
    folder = tmp_path / 'locked'
    folder.mkdir(mode=0o500)
    assert 'Permission denied' in refused('--work-dir', str(folder))


def test_launcher_that_did_not_start_the_process(refused, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    (tmp_path / 'run').mkdir()
    assert 'torchrun' in refused('--launcher', 'pytorch', '--work-dir', str(tmp_path / 'run'))


def test_config_of_another_toolbox(refused):
    assert "got 'mmpose'" in refused(options=['default_scope=mmpose'])


def classifier(num_classes, topk=(1, 5)):
    return dict(
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier', head=dict(num_classes=num_classes)),
        val_evaluator=dict(type='Accuracy', topk=topk),
    )


def test_the_best_five_of_three_classes_are_not_counted(train_tool):
    assert merge(train_tool, **classifier(5)).val_evaluator.topk == (1, 5)
    assert merge(train_tool, **classifier(3)).val_evaluator.topk == (1,)
    assert merge(train_tool, **classifier(3, topk=2)).val_evaluator.topk == 2
    with pytest.raises(UserError, match=r'val_evaluator\.topk must be at most 3, .* got 5'):
        merge(train_tool, **classifier(3, topk=(5,)))


def test_fine_tuning_for_two_epochs_is_possible(tmp_path):
    example = (ROOT / 'configs/cls/finetune_example.py').read_text()
    path = ROOT / 'configs/cls/finetune_example.py'
    assert 'epochs = 30' in example
    copy = tmp_path / 'two.py'
    copy.write_text(
        example.replace('epochs = 30', 'epochs = 2').replace("'./mamba", f"'{path.parent}/mamba")
    )
    assert Config.fromfile(copy).param_scheduler.warmup == 2
