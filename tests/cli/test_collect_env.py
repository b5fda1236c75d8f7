"""The report of ``python -m mmvmamba.collect_env``."""

import importlib.util

import pytest

import mmvmamba
from mmvmamba.cli import collect_env as module


def rows(title):
    sections = module.collect_env()
    return dict(next(value for key, value in sections.items() if key.startswith(title)))


def test_versions_of_the_package_and_torch():
    system = rows('System')
    assert system['mmvmamba'] == mmvmamba.__version__
    assert system['torch'].startswith(module.torch.__version__)


@pytest.mark.parametrize(
    ('title', 'backends'),
    [('Selective scan', module.SCAN), ('Deformable attention', module.DEFORM_ATTN)],
    ids=['scan', 'deform_attn'],
)
def test_one_backend_is_in_use_and_the_others_say_why_not(title, backends):
    sections = module.collect_env()
    rows = next(value for key, value in sections.items() if key.startswith(title))
    on_cpu = [text for _, text in rows if 'cpu' in text]
    assert len(on_cpu) == len(backends.modules)
    assert sum(text == 'in use on cpu' for text in on_cpu) == 1
    assert all(text.startswith(('in use', 'usable', 'not on cpu: ')) for text in on_cpu)


def test_ops_of_mmcv_are_accounted_for():
    ops = rows('Operators of mmcv')
    assert 'all' in ops or {'nms', 'roi_align', 'all others'} <= set(ops)


def test_a_missing_library_is_reported(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        'find_spec',
        lambda name, *rest: None if name == 'lmdb' else find_spec(name, *rest),
    )
    assert rows('Libraries')['lmdb'] == 'not installed'


def test_a_package_that_cannot_be_used_does_not_stop_the_report(monkeypatch):
    def refuse(name):
        raise ImportError(f'{name} refuses an installed package')

    monkeypatch.setattr(module, 'require', refuse)
    assert rows('OpenMMLab')['mmdet'] == 'mmdet refuses an installed package'


def test_text_has_one_column_of_names():
    text = module.format_env({'A': [('x', '1'), ('long', '2')], 'B': [('y', '3')]})
    assert text == 'A\n  x     1\n  long  2\n\nB\n  y     3'
