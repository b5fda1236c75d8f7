"""Who searches the questions for the message that a program printed finds it there."""

import re

import pytest

from tests.docs.pages import ROOT

# As other projects' users report them, cut to what does not differ from machine to machine.
MESSAGES = (
    "NameError: name 'bare_metal_version' is not defined",
    'undefined symbol',
    "No module named 'mmcv._ext'",
    'MMCV==2.2.0 is used but incompatible',
    "No module named 'pkg_resources'",
    "No module named 'ftfy'",
    'Adafactor is already registered in optimizer',
    'compiled using NumPy 1.x cannot be run in NumPy 2',
    "module 'numpy' has no attribute 'bool'",
    "name 'selective_scan_cuda' is not defined",
    'selective_scan_cuda_core',
    'selective_scan_cuda_oflex',
    'Expected u.is_cuda() to be true, but got false',
    "got an unexpected keyword argument 'bimamba_type'",
    "'bimamba'",
    "'if_devide_out'",
    'causal_conv1d_fwd(): incompatible function arguments',
    'Weights only load failed',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'Unsupported global: argparse.Namespace',
    '_IncompatibleKeys',
    'certificate verify failed',
    'trust_remote_code',
    'is not in the mmdet::model registry',
    'Unknown model (mamba_vision_T)',
    "FormatCode() got an unexpected keyword argument 'verify'",
    'MDB_BAD_RSLOT',
    "cannot pickle 'Environment' object",
    'MDB_MAP_FULL',
    'mdb_txn_begin',
    'InstanceData',
)


@pytest.mark.parametrize('message', MESSAGES)
def test_message_is_found(message):
    text = re.sub(r'[`\s]+', ' ', (ROOT / 'docs/faq.md').read_text())
    assert re.sub(r'[`\s]+', ' ', message) in text


def test_every_question_has_an_answer():
    questions = re.split(r'^### ', (ROOT / 'docs/faq.md').read_text(), flags=re.MULTILINE)[1:]
    for question in questions:
        title, _, answer = question.partition('\n')
        assert re.sub(r'^## .*', '', answer, flags=re.MULTILINE).strip(), title
    assert len({question.partition('\n')[0] for question in questions}) == len(questions)
