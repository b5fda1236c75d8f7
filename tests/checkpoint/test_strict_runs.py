"""What training and test runs load: the file of their own model, whole, or a sentence."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel, MMDistributedDataParallel
from torch import nn

from mmvmamba.apis.task_models import build_from_config
from mmvmamba.checkpoint import CheckpointError, state_dict_of_run

TOY = Path(__file__).parents[2] / 'configs/toy'
NAMES = sorted(path.stem for path in TOY.glob('*.py'))
ONE_OF_EACH_TASK = ['cls_vim', 'det_plain_mamba_maskrcnn', 'seg_mambaout']
LAST_LAYER = dict(cls='head.fc.weight', det='roi_head.bbox_head.fc_cls.weight', seg='conv_seg')


@pytest.fixture(scope='module')
def models():
    """Every toy model by its name, without memory for its weights."""
    with torch.device('meta'):
        return {name: build_from_config(Config.fromfile(TOY / f'{name}.py')) for name in NAMES}


def checkpoint_of(model, **changes):
    """What a training run of a model writes."""
    meta = dict(epoch=1, iter=50, seed=0, mmengine_version='0.10.7')
    state = OrderedDict(model.state_dict())
    return dict(meta=meta, state_dict=state, message_hub={}) | changes


def without_last_keys(state):
    last = [key for key in state if not key.endswith('num_batches_tracked')][-3:]
    return {key: tensor for key, tensor in state.items() if key not in last}


def with_more_keys(state):
    return dict(state, **{'neck.extra.weight': torch.zeros(2)})


def with_other_classes(state):
    key = next(key for key in state if any(name in key for name in LAST_LAYER.values()))
    return dict(state, **{key: torch.zeros(1000, *state[key].shape[1:])})


WRONG = {
    without_last_keys: r'does not fit \w+: 3 missing in the file: ',
    with_more_keys: r'does not fit \w+: 1 not in the model: neck\.extra\.weight',
    with_other_classes: r'does not fit \w+: 1 of another shape: \S+ \(1000, .*in the file, \(\d,',
}


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_a_run_takes_the_file_of_its_own_model_alone(name, resume, models):
    for other in NAMES:
        checkpoint = checkpoint_of(models[other])
        if other == name:
            state = state_dict_of_run(models[name], checkpoint, 'a.pth', resume=resume)
            assert set(state) == set(models[name].state_dict())
            continue
        with pytest.raises(CheckpointError, match=r'^a\.pth ') as error:
            state_dict_of_run(models[name], checkpoint, 'a.pth', resume=resume)
        assert len(str(error.value)) < 2000


def test_another_family_is_named(models):
    message = r'a\.pth holds plain_mamba weights, VimAdapter takes those of vim'
    checkpoint = checkpoint_of(models['det_plain_mamba_maskrcnn'])
    for how in (dict(), dict(resume=True), dict(allow_partial=True)):
        with pytest.raises(CheckpointError, match=message):
            state_dict_of_run(models['det_vim_maskrcnn'], checkpoint, 'a.pth', **how)


@pytest.mark.parametrize('change', WRONG)
@pytest.mark.parametrize('name', ONE_OF_EACH_TASK)
def test_what_does_not_fit_is_named_with_the_way_out(name, change, models):
    model = models[name]
    checkpoint = checkpoint_of(model, state_dict=change(model.state_dict()))
    with pytest.raises(CheckpointError, match=WRONG[change]) as error:
        state_dict_of_run(model, checkpoint, 'a.pth')
    assert '--allow-partial' in str(error.value)
    with pytest.raises(CheckpointError, match='of a run with another model than this') as error:
        state_dict_of_run(model, checkpoint, 'a.pth', resume=True)
    assert '--allow-partial' not in str(error.value)


@pytest.mark.parametrize('change', WRONG)
def test_a_part_is_loaded_on_request_and_the_rest_is_listed(change, models, log):
    model = models['det_plain_mamba_maskrcnn']
    state = change(model.state_dict())
    checkpoint = checkpoint_of(model, state_dict=state)
    fitting = state_dict_of_run(model, checkpoint, 'a.pth', allow_partial=True)
    own = model.state_dict()
    assert set(fitting) == {
        key for key in state if key in own and state[key].shape == own[key].shape
    }
    for key in {*state, *own} - set(fitting):
        assert any(key in line for line in log)


def test_a_part_without_the_backbone_is_refused(models):
    model = models['det_mambaout_maskrcnn']
    state = {k: v for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    with pytest.raises(CheckpointError, match=r'a\.pth has nothing for the backbone, MambaOut'):
        state_dict_of_run(model, dict(state_dict=state), 'a.pth', allow_partial=True)


@pytest.mark.parametrize(
    ('lost', 'named'),
    [
        (dict(meta={}), 'meta.epoch, meta.iter'),
        (dict(meta=None), 'meta.epoch, meta.iter'),
        (dict(message_hub=None), 'message_hub'),
    ],
)
def test_weights_alone_are_nothing_to_resume(lost, named, models):
    model = models['cls_vim']
    checkpoint = {k: v for k, v in checkpoint_of(model, **lost).items() if v is not None}
    message = rf'a\.pth is no checkpoint of a training run: it has no {named}. To start from its'
    with pytest.raises(CheckpointError, match=message):
        state_dict_of_run(model, checkpoint, 'a.pth', resume=True)


def test_wrappers_are_looked_through(models):
    model = models['det_mambaout_retinanet']

    class Flipped(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return data_samples_list

    class Parallel(MMDistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    checkpoint = checkpoint_of(model)
    for wrapped in (Flipped(model), Parallel(model), Parallel(Flipped(model))):
        for resume in (False, True):
            state = state_dict_of_run(wrapped, checkpoint, 'a.pth', resume=resume)
            assert set(state) == set(model.state_dict())


def test_names_written_by_wrappers_are_understood(models):
    model = models['seg_plain_mamba']
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    fitting = state_dict_of_run(model, dict(state_dict=state), 'a.pth')
    assert set(fitting) == set(model.state_dict())


def test_a_detector_may_have_what_its_backbone_has_from_classification(models):
    model = models['det_mambavision_retinanet']
    state = dict(model.state_dict(), **{'backbone.norm.weight': torch.zeros(4)})
    fitting = state_dict_of_run(model, dict(state_dict=state), 'a.pth')
    assert 'backbone.norm.weight' not in fitting
