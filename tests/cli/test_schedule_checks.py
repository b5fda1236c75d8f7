import pytest
from mmengine.config import Config

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.schedule_checks import check_schedule, unreached_schedules

LINEAR = dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=True)


def schedule(*schedulers, train_cfg=None, **settings):
    return Config(
        dict(
            default_scope='mmengine',
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            param_scheduler=list(schedulers),
            train_cfg=train_cfg or dict(by_epoch=True, max_epochs=12),
            **settings,
        )
    )


@pytest.mark.parametrize(
    ('scheduler', 'message'),
    [
        (
            dict(type='mmvmamba.WarmupCosineLR', length=2, warmup=5),
            r'param_scheduler\.1\.warmup must be at most its length, 2, got 5',
        ),
        (
            dict(type='PolyLR', begin=30, end=20, by_epoch=False),
            r'param_scheduler\.1\.end must be larger than its begin, 30, got 20',
        ),
        (dict(type='PolyLR', begin=3, end=3), r'param_scheduler\.1\.end must be larger than'),
        (
            dict(type='mmvmamba.WarmupCosineLR', length=0, convert_to_iter_based=True),
            r'param_scheduler\.1 cannot be used: 0 <= warmup <= length is needed, got 0 and 0 '
            r'\(it has param_scheduler\.1\.length=0\)',
        ),
        (
            dict(type='MultiStepLR', milestone=[8]),
            r"param_scheduler\.1 cannot be used: .*unexpected keyword argument 'milestone'",
        ),
        (
            dict(type='MultiStepsLR', milestones=[8]),
            r'param_scheduler\.1 cannot be used: MultiStepsLR is not in the .* registry',
        ),
        (
            dict(type='CosineAnnealingLR', by_epoch=False, convert_to_iter_based=True),
            r'param_scheduler\.1 cannot be used: Only epoch-based .* converted',
        ),
    ],
)
def test_schedules_that_would_end_the_run_are_named(scheduler, message):
    with pytest.raises(UserError, match=message):
        check_schedule(schedule(LINEAR, scheduler))


def test_an_optimizer_that_cannot_be_built_is_named():
    cfg = schedule(LINEAR)
    cfg.optim_wrapper.optimizer = dict(type='AdamW', lrr=1)
    with pytest.raises(UserError, match=r"optim_wrapper\.optimizer cannot be used: .*'lrr'"):
        check_schedule(cfg)


def test_a_hook_that_begins_after_the_end_is_named():
    cfg = schedule(LINEAR, custom_hooks=[dict(type='EMAHook', begin_epoch=13)])
    message = r'custom_hooks\.0\.begin_epoch must be at most train_cfg\.max_epochs, 12, got 13'
    with pytest.raises(UserError, match=message):
        check_schedule(cfg)
    cfg.custom_hooks[0].begin_epoch = 12
    check_schedule(cfg)


def test_one_scheduler_needs_no_list():
    cfg = schedule()
    cfg.param_scheduler = dict(type='mmvmamba.WarmupCosineLR', length=2, warmup=5)
    with pytest.raises(UserError, match=r'param_scheduler\.warmup must be at most'):
        check_schedule(cfg)
    cfg.param_scheduler = None
    check_schedule(cfg)


def test_schedulers_of_momentum_and_the_first_end_are_fine():
    check_schedule(schedule(LINEAR, dict(type='CosineAnnealingMomentum', begin=3, T_max=9)))


@pytest.mark.parametrize(
    ('scheduler', 'sentence'),
    [
        (
            dict(type='MultiStepLR', milestones=[8, 14]),
            'param_scheduler.0.milestones=[8, 14] is not reached: train_cfg.max_epochs is 12',
        ),
        (
            dict(type='CosineAnnealingLR', begin=12, end=20),
            'param_scheduler.0.begin=12 is not reached: train_cfg.max_epochs is 12',
        ),
    ],
)
def test_parts_that_are_not_reached_are_told(scheduler, sentence):
    cfg = schedule(scheduler)
    check_schedule(cfg)
    assert unreached_schedules(cfg)[0] == sentence


def test_a_schedule_that_fits_is_silent():
    warmup = dict(type='LinearLR', start_factor=0.1, end=500, by_epoch=False)
    steps = dict(type='MultiStepLR', begin=0, end=12, milestones=[8, 11])
    assert unreached_schedules(schedule(warmup, steps)) == []
    assert unreached_schedules(schedule(steps, train_cfg=dict(type='Other'))) == []


def test_epochs_of_training_by_steps_are_told():
    cfg = schedule(LINEAR, train_cfg=dict(type='IterBasedTrainLoop', max_iters=80))
    assert 'param_scheduler.0 counts epochs' in unreached_schedules(cfg)[0]
    cfg.param_scheduler[0].by_epoch = False
    assert unreached_schedules(cfg) == []
