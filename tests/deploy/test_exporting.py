"""Exported files give the model's numbers and say what they are; bad input leaves nothing."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

import mmvmamba
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.cli.commands import export as command
from mmvmamba.cli.main import main
from mmvmamba.deploy import FORMATS, export, exporting, formats
from mmvmamba.deploy.networks import network_of
from mmvmamba.testing import load_filled
from tests.models.test_backbone_contract import build

ROOT = Path(__file__).parents[2]
# Compiling takes minutes.
MARKS = {name: pytest.mark.full if name == 'aoti' else pytest.mark.slow for name in FORMATS}
# What users of a file read who give it images of 96 x 64 pixels in place of 64 x 64.
SIZE_ERRORS = {
    'torch': 'images.*64',
    'torchscript': r'images must be \[2, 3, 64, 64\], got \[2, 3, 96, 64\]',
    'onnx': 'Got: 96 Expected: 64',
    'openvino': r'(?s)64.*96|96.*64',
}
EACH = pytest.mark.parametrize(
    'name', [pytest.param(name, marks=mark) for name, mark in MARKS.items()]
)


@pytest.fixture(scope='module')
def classifier():
    arch = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    model = mmvmamba.get_model('mambaout_femto', num_classes=5, arch=arch)
    model._dataset_meta = dict(classes=('ant', 'bee', 'cow', 'dog', 'elk'))
    return load_filled(model)


def need(name):
    for package in FORMATS[name].packages:
        pytest.importorskip(package, reason=f'{package} is in the extras export and openvino')
    reason = FORMATS[name].missing()
    if reason:
        pytest.skip(reason)


@EACH
def test_a_file_gives_the_numbers_of_the_model(name, classifier, tmp_path):
    need(name)
    free = FORMATS[name].takes_free_batch
    path = tmp_path / f'model{FORMATS[name].endings[0]}'
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('default')
        # Python itself does not show these.
        warnings.simplefilter('ignore', DeprecationWarning)
        made = export(classifier, path, name, 64, 'dynamic' if free else 2, license='Apache-2.0')
    assert not [str(warning.message) for warning in said]
    assert made.path == path and made.error <= 1e-4
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {path.name} | ({'model.bin'} if name == 'openvino' else set())
    images = torch.randn(4 if free else 2, 3, 64, 64)
    with torch.no_grad():
        want = classifier(images)
    (got,) = FORMATS[name].load(path)(images)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    meta = FORMATS[name].metadata(path)
    assert meta == made.metadata
    assert meta['classes'] == ['ant', 'bee', 'cow', 'dog', 'elk']
    assert meta['size'] == [64, 64] and meta['license'] == 'Apache-2.0'
    assert meta['mean'] == pytest.approx([0.485, 0.456, 0.406], abs=1e-3)
    if name in SIZE_ERRORS:
        # Of classes that have no other base in common.
        with pytest.raises(Exception, match=SIZE_ERRORS[name]):
            FORMATS[name].load(path)(torch.zeros(2, 3, 96, 64))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_one_onnx_file_of_a_scan_takes_any_batch(tmp_path):
    need('onnx')
    model = load_filled(build('VisionMamba', arch=dict(embed_dims=24, num_layers=2))).eval()
    path = tmp_path / 'model.onnx'
    assert export(model, path, 'onnx', 32, 'dynamic').error <= 1e-4
    run = FORMATS['onnx'].load(path)
    for batch in (1, 3):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            want = model(images)
        for got, other in zip(run(images), want, strict=True):
            torch.testing.assert_close(got, other, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_a_file_with_other_numbers_is_not_written(classifier, tmp_path, monkeypatch):
    load = formats.TorchScript.load

    def wrong(self, path):
        return lambda images: [1.001 * x for x in load(self, path)(images)]

    monkeypatch.setattr(formats.TorchScript, 'load', wrong)
    kept = tmp_path / 'model.ts'
    kept.write_text('older')
    with pytest.raises(ValueError, match=r'relative error is 0\.001, allowed are 0\.0001'):
        export(classifier, kept, 'torchscript', 64)
    assert kept.read_text() == 'older' and list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(format='tensorrt'), r"format must be one of \['torch', .*got 'tensorrt'"),
        (dict(format='torchscript', batch='dynamic'), 'graphs of one size alone'),
        (dict(format='torch', batch=0), "batch must be 1 or more, or 'dynamic', got 0"),
        (dict(format='torch', shape=(64, 64, 3)), r'shape must be a height and a width'),
        (dict(format='torch', shape=0), r'shape must be a height and a width'),
    ],
)
def test_bad_arguments_are_refused(classifier, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export(classifier, tmp_path / 'model', **{'shape': 64, **arguments})
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_model_cannot_take_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match='images must have sides of 16 pixels or more'):
        export(build('VisionMamba'), tmp_path / 'model.pt2', 'torch', 8)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_command(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, 'find_spec', lambda name: None)
    for name, extra in (('onnx', r'mmvmamba\[export\]'), ('openvino', r'\[export,openvino\]')):
        with pytest.raises(ImportError, match=f'{name} needs onnx.*pip install "?.*{extra}'):
            export(classifier, tmp_path / 'model', name, 64)
    monkeypatch.setattr(formats.shutil, 'which', lambda name: None)
    with pytest.raises(ImportError, match=r'needs a C\+\+ compiler'):
        export(classifier, tmp_path / 'model', 'aoti', 64)


def test_a_model_of_another_kind_and_a_missing_folder_are_refused(classifier, tmp_path):
    with pytest.raises(ValueError, match=r'must be a backbone or one of .*got Linear'):
        export(torch.nn.Linear(2, 2), tmp_path / 'model', 'torch', 64)
    with pytest.raises(ValueError, match=r'folder .* does not exist'):
        export(classifier, tmp_path / 'none' / 'model', 'torch', 64)
    with pytest.raises(ValueError, match='none is known here'):
        export(build('MambaOut'), tmp_path / 'model', 'torch')


def test_a_model_that_a_format_cannot_take_is_one_sentence(classifier, tmp_path, monkeypatch):
    def refuse(self, *args):
        try:
            raise NotImplementedError('no operator for erfinv\nand much more')
        except NotImplementedError as error:
            raise RuntimeError('step 3 of 3 failed') from error

    monkeypatch.setattr(formats.TorchScript, 'write', refuse)
    with pytest.raises(ValueError, match=r'torchscript does not take .*: no operator for erfinv$'):
        export(classifier, tmp_path / 'model.ts', 'torchscript', 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('name', 'file', 'endings'),
    [('openvino', 'model.bin', '.xml'), ('onnx', 'model.xml', '.onnx'), ('aoti', 'a.so', '.pt2')],
)
def test_a_name_of_another_format_is_refused(
    name, file, endings, classifier, tmp_path, monkeypatch
):
    monkeypatch.setattr(FORMATS[name], 'missing', lambda: None)
    with pytest.raises(ValueError, match=rf'format {name} must end in .*\{endings}, got {file}'):
        export(classifier, tmp_path / file, name, 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['onnx', 'openvino'])
def test_weights_that_a_file_cannot_hold_are_refused(name, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS[name], 'missing', lambda: None)
    size = 4 * sum(x.numel() for x in classifier.parameters())
    assert FORMATS[name].largest == 2**31 - 1
    monkeypatch.setattr(FORMATS[name], 'largest', size - 1)
    message = rf'a file of the format {name} holds .* or choose torch, aoti, torchscript'
    with pytest.raises(ValueError, match=message):
        export(classifier, tmp_path / f'model{FORMATS[name].endings[0]}', name, 64)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def segmentor():
    config = Config.fromfile(ROOT / 'configs' / 'toy' / 'seg_mambaout.py')
    return load_filled(build_from_config(config)).eval()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_a_segmentor_gives_the_classes_that_the_model_predicts(segmentor, tmp_path):
    path = tmp_path / 'model.ts'
    made = export(segmentor, path, 'torchscript', (64, 96))
    assert made.error <= 1e-4 and made.metadata['outputs'] == ['logits', 'labels']
    images = torch.randn(1, 3, 64, 96)
    logits, labels = FORMATS['torchscript'].load(path)(images)
    with torch.no_grad():
        (want,) = segmentor.predict(images)
    assert (labels[0] != want.pred_sem_seg.data[0]).float().mean() < 1e-3
    torch.testing.assert_close(logits[0], want.seg_logits.data, rtol=1e-3, atol=1e-3)


def test_labels_that_do_not_follow_from_the_logits_are_no_match(segmentor):
    network = network_of(segmentor)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits, labels = network(images)
        assert exporting._error([logits, labels], network.wanted(images, (logits, labels))) == 0
        wrong = labels.roll(1, -1)
        assert exporting._error([logits, wrong], network.wanted(images, (logits, wrong))) > 0.1
        # Two classes may be equally likely.
        level = torch.zeros_like(logits)
        assert network.wanted(images, (level, wrong))[1].equal(wrong)


def test_two_classes_of_one_logit_are_told_apart_by_the_threshold(segmentor):
    network = network_of(segmentor)
    network.model = torch.nn.Module()
    network.model.decode_head = SimpleNamespace(threshold=0.3)
    logits = torch.tensor([-1.0, -0.5, 1.0]).view(1, 1, 1, 3)
    assert network._labels(logits).tolist() == [[[0, 1, 1]]]


@pytest.mark.parametrize('error', [float('nan'), 1.0])
def test_values_that_are_not_finite_or_misshapen_are_no_match(error):
    one = torch.ones(2)
    assert exporting._error([one * error], [one]) == (0 if error == 1 else float('inf'))
    assert exporting._error([one[:1]], [one]) == float('inf')


def test_the_command_knows_the_formats():
    assert tuple(FORMATS) == command.FORMAT_NAMES


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_the_command_writes_a_file_and_says_what_it_is(tmp_path, capsys):
    out = tmp_path / 'model.ts'
    code = main(['export', 'mambaout_test', '--format', 'torchscript', '--shape', '64', '64',
                 '--out', str(out)])  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0 and out.is_file()
    assert 'classification, outputs logits' in printed and 'the weights are random' in printed


def test_the_command_knows_the_classes_and_images_of_a_config(tmp_path):
    config = ROOT / 'configs' / 'toy' / 'cls_mambaout.py'
    weights = tmp_path / 'weights.pth'
    meta = dict(dataset_meta=dict(classes=('cross', 'disc')))
    torch.save(dict(state_dict=command._build(str(config), None).state_dict(), meta=meta), weights)
    assert command._build(str(config), str(weights))._dataset_meta == meta['dataset_meta']
    # The toy images are not cropped.
    assert not hasattr(command._build(str(config), None), 'preprocessing')
    full = command._build(str(ROOT / 'configs' / 'cls' / 'mambaout_femto_in1k.py'), None)
    assert full.preprocessing == mmvmamba.get_model('mambaout_femto').preprocessing


def test_the_command_refuses_a_folder(tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['export', 'mambaout_test', '--out', str(tmp_path)])
    assert '--out must be a file, got the folder' in capsys.readouterr().err
