"""Models by name."""

import pickle
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

import mmvmamba
from mmvmamba import create_model, get_feature_extractor, get_model, list_models
from mmvmamba.apis import MODEL_TABLE, FeatureExtractor, classifiers, find_model
from mmvmamba.apis.catalogue import find_entry
from mmvmamba.checkpoint import CheckpointError
from tests.official_files import golden, model_of, state_of, write_official

OFFICIAL_NAMES = {
    'mamba_vision_T': 'mambavision_t',
    'mamba_vision_L3_512_21k': 'mambavision_l3_512_21k',
    'mamba_vision_L2_512_21k': 'mambavision_l2_512_21k',
    'vim_tiny_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2': (
        'vim_tiny_plus'
    ),
    'vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_middle_cls_token_div2': (
        'vim_base'
    ),
    'mambaout_base_plus_rw.sw_e150_in12k_ft_in1k': 'mambaout_base_plus_rw',
    'test_mambaout': 'mambaout_test',
    'mambaout_base_plus_rw.sw_e150_r384_in12k_ft_in1k': 'mambaout_base_plus_rw_384',
    'nvidia/MambaVision-L2-512-21K': 'mambavision_l2_512_21k',
    'MambaVision-T': 'mambavision_t',
    'PlainMamba-L2': 'plain_mamba_l2',
    'VMamba-T': 'vmamba_tiny_s1l8',
    'vmamba_base': 'vmamba_base_s2l15',
    'vssm1_tiny_0230s': 'vmamba_tiny_s1l8',
    'vssmbase_dp06': 'vmamba_vanilla_base',
    'vanilla_vmamba_small': 'vmamba_vanilla_small',
    'mlla_tiny': 'mila_tiny',
    'Spatial-Mamba-B': 'spatial_mamba_base',
}
ADDRESSES = {
    'plain_mamba_l1': 'https://huggingface.co/ChenhongyiYang/PlainMamba/resolve/main/l1.pth',
    'vim_small_plus': 'https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/'
    'vim_s_midclstok_ft_81p6acc.pth',
    'vim_tiny_legacy': 'https://huggingface.co/hustvl/Vim-tiny/resolve/main/vim_tiny_73p1.pth',
    'mambavision_t2': 'https://huggingface.co/nvidia/MambaVision-T2-1K/resolve/main/'
    'mambavision_tiny2_1k.pth.tar',
    'mambavision_l3_256_21k': 'https://huggingface.co/nvidia/MambaVision-L3-256-21K/resolve/main/'
    'mambavision_L3_21k_740m_256.pth.tar',
    'mambaout_kobe': 'https://github.com/yuweihao/MambaOut/releases/download/model/'
    'mambaout_kobe.pth',
    'mambaout_small_rw': 'https://huggingface.co/timm/mambaout_small_rw.sw_e450_in1k/resolve/main/'
    'model.safetensors',
}


def test_list_models_selects():
    assert list_models('vim_tiny*') == ['vim_tiny', 'vim_tiny_plus', 'vim_tiny_legacy']
    classifiers = list_models(task='classification')
    assert classifiers == list(MODEL_TABLE)
    assert list_models(task='classification', pretrained=False) == [
        'mambaout_test',
        'vit_tiny_causal',
        'vit_small_causal',
        # Released on a drive that has no addresses for programs.
        'spatial_mamba_tiny',
        'spatial_mamba_small',
        'spatial_mamba_base',
    ]
    assert 'l1_maskrcnn_1x' in list_models(task='detection', pretrained=True)
    assert 'l1_upernet' in list_models(task='segmentation')
    assert set(classifiers) < set(list_models())
    with pytest.raises(ValueError, match=r"task must be one of .*'detection'.*got 'pose'"):
        list_models(task='pose')


@pytest.mark.parametrize(('official', 'ours'), OFFICIAL_NAMES.items())
def test_official_names_are_known(official, ours):
    assert find_model(official).name == ours
    assert find_model(official.upper()).name == ours
    assert find_entry(official).name == ours


@pytest.mark.parametrize(('name', 'address'), ADDRESSES.items())
def test_official_weights_are_at_their_address(name, address, monkeypatch):
    asked = []
    monkeypatch.setattr(classifiers, 'load_converted', lambda source, *args: asked.append(source))
    monkeypatch.setattr(classifiers, 'build_classifier', lambda config: torch.nn.Identity())
    with pytest.raises(AttributeError):  # nothing was loaded to go on with
        get_model(name, pretrained=True)
    assert asked == [address]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('vim_tinny', "'vim_tiny'"),
        ('mambavision_t1', "'mambavision_t'"),
        ('mambaout', "'mambaout_"),
        ('mambaout_femto.pth', "'mambaout_femto'"),
        ('resnet50', 'list_models'),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name, message):
    with pytest.raises(ValueError, match=f'there is no model {name!r}.*{message}'):
        get_model(name)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"MambaOut takes .*drop_path_rate.*got \['drop_paht'\]"):
        get_model('mambaout_test', drop_paht=0.1)
    with pytest.raises(ValueError, match='no official weights of mambaout_test'):
        get_model('mambaout_test', pretrained=True)
    with pytest.raises(ValueError, match='no official weights of mambaout_t_upernet_160k'):
        get_model('mambaout_t_upernet_160k', pretrained=True)
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth'):
        get_model('mambaout_test', pretrained='nothing.pth')
    with pytest.raises(ValueError, match=r"arch must be one of .*'femto'.*got 'fento'"):
        get_model('mambaout_test', arch='fento')


def test_backbone_arguments_and_classes_are_taken():
    model = get_model('mambaout_test', num_classes=7, drop_path_rate=0.3, in_channels=1)
    assert not model.training
    assert model.backbone.stages[3][0].drop_path.p == 0.3
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


def test_new_model_is_initialised_without_logging(capfd):
    torch.manual_seed(0)
    model = get_model('mambaout_test')
    assert abs(model.head.fc.weight.std() - 0.02) < 0.002
    assert 'init' not in capfd.readouterr().out


def test_another_number_of_classes_starts_the_head_anew(tmp_path):
    case = golden('mambaout', 'timm_test_mambaout_64x64')
    path = write_official(tmp_path / 'official', 'mambaout', state_of(case))
    assert get_model('mambaout_test', pretrained=path).head.num_classes == 10
    model = get_model('mambaout_test', pretrained=path, num_classes=4)
    assert model.head.fc.weight.shape[0] == 4
    assert torch.equal(model.neck.fc1.weight, state_of(case)['head.pre_logits.fc.weight'])


def test_model_survives_pickle():
    model = create_model('mambaout_test', num_classes=3)
    copied = pickle.loads(pickle.dumps(model.eval()))
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(copied(images), model(images))
    assert torch.equal(copied.forward_features(images), model.forward_features(images))


def test_create_model_finds_or_fetches_the_file_at_model_path(tmp_path, monkeypatch):
    case = golden('mambavision', 'small_a_64x64')
    source = write_official(tmp_path / 'official', 'mambavision', state_of(case))
    _, overrides = model_of(case)
    fetched = []

    def download(url, path, progress):
        fetched.append(url)
        Path(path).write_bytes(source.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    model_path = tmp_path / 'cache' / 'T.pth.tar'
    for _ in range(2):
        model = create_model('mamba_vision_T', pretrained=True, model_path=model_path, **overrides)
    assert fetched == [MODEL_TABLE['mambavision_t'].weights]
    assert model.training
    model.eval()
    with torch.no_grad():
        case.check('logits', model(case.input().float()))
        case.check('pooled', model.forward_features(case.input().float()))
    assert model.num_classes == 10
    assert model.default_cfg['crop_pct'] == 1.0
    local = create_model('mamba_vision_T', checkpoint_path=source, **overrides)
    assert torch.equal(local.head.fc.weight, model.head.fc.weight)


def test_a_failed_download_to_model_path_says_what_to_do(tmp_path, monkeypatch):
    def download(url, path, progress):
        Path(path).write_bytes(b'half')
        raise URLError('Name or service not known')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    path = tmp_path / 'cache' / 'T.pth.tar'
    with pytest.raises(
        CheckpointError, match=r'not be downloaded \(Name.*or put it at .*T\.pth\.tar'
    ):
        create_model('mamba_vision_T', pretrained=True, model_path=path)
    assert not list(path.parent.iterdir())


def test_stale_file_of_another_variant_is_refused(tmp_path):
    """The mambavision package keeps all variants in one file and loads what does not fit."""
    case = golden('mambavision', 'small_a_64x64')
    path = write_official(tmp_path / 'official', 'mambavision', state_of(case))
    with pytest.raises(CheckpointError, match='does not fit'):
        create_model('mamba_vision_S', pretrained=True, model_path=path)


@pytest.mark.parametrize(
    ('name', 'channels'),
    [
        ('mambaout_test', (16, 32, 48, 64)),
        ('mambavision_t', (80, 160, 320, 640)),
        ('vim_tiny', (192,) * 4),
        ('plain_mamba_l1', (192,) * 4),
        ('vit_tiny_causal', (192,) * 4),
    ],
)
def test_feature_extractor_gives_a_vector_and_maps(name, channels):
    extractor = get_feature_extractor(name)
    with torch.no_grad():
        pooled, maps = extractor(torch.randn(1, 3, 64, 64))
        last, some = get_feature_extractor(name, out_indices=[1])(torch.randn(1, 3, 64, 64))
    assert pooled.shape == last.shape == (1, channels[-1])
    assert [value.shape[1] for value in maps] == list(channels)
    assert len(some) == 1
    strides = (4, 8, 16, 32) if channels[0] != channels[1] else (16,) * 4
    assert [value.shape[2] for value in maps] == [64 // stride for stride in strides]


def test_feature_extractor_refuses_a_stage_there_is_not():
    with pytest.raises(ValueError, match='out_indices'):
        get_feature_extractor('mambaout_test', out_indices=(0, 4))


@pytest.mark.parametrize('name', ['mambaout_test', 'vim_tiny'])
def test_feature_extractor_leaves_the_model_as_it_is(name):
    model, images = get_model(name), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        want = model(images)
        FeatureExtractor(model, out_indices=(0, 1))(images)
        assert torch.equal(model(images), want)


def test_detector_is_built_by_its_config_name():
    model = get_model('l1_retinanet_1x', drop_path_rate=0.0)
    assert type(model).__name__ == 'RetinaNet'
    assert not any(isinstance(part, torch.nn.SyncBatchNorm) for part in model.modules())
    with pytest.raises(ValueError, match='num_classes is for classifiers'):
        get_model('l1_retinanet_1x', num_classes=3)


@pytest.mark.parametrize(
    ('name', 'case_name'),
    [
        ('l1_retinanet_1x', 'l1_retinanet'),
        pytest.param('l1_maskrcnn_1x', 'l1_mask_rcnn_64x96', marks=pytest.mark.slow),
        pytest.param('l1_upernet', 'l1_upernet_96x160', marks=pytest.mark.slow),
    ],
)
def test_official_detector_file_is_loaded(name, case_name, tmp_path):
    state = state_of(golden('plain_mamba', case_name))
    path = write_official(tmp_path / 'official', 'plain_mamba', state)
    own = get_model(name, pretrained=path).state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items())


def test_import_is_light():
    """The public names are there without the packages that they need."""
    code = (
        'import sys, mmvmamba; assert "get_model" in dir(mmvmamba); '
        'heavy = {"mmpretrain", "mmdet", "mmseg", "mmcv", "mmvmamba.models", "mmengine.runner"}; '
        'print(sorted(heavy & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
    with pytest.raises(AttributeError, match="no attribute 'get_modle'"):
        mmvmamba.get_modle  # noqa: B018


def test_features_of_a_detector_are_pointed_to():
    with pytest.raises(
        ValueError, match=r"maps of l1_maskrcnn_1x are get_model\('l1_maskrcnn_1x'\)"
    ):
        mmvmamba.get_feature_extractor('l1_maskrcnn_1x')


def test_weights_of_another_model_are_named(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(get_model('mambaout_test', num_classes=3).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"not fit .*These are weights of 'mambaout_test'"):
        get_model('mambaout_femto', pretrained=path)
    torch.save({**get_model('mambaout_test').state_dict(), 'neck.more': torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r'1 not in the model: neck\.more$'):
        get_model('mambaout_test', pretrained=path)
