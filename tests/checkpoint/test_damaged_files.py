"""Whatever happened to the bytes of a checkpoint, it is read as it was or refused in a sentence."""

import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer

from mmvmamba.checkpoint import CheckpointError, convert, read_checkpoint
from tests.fuzz import mutate, run_mutated

STATE = {f'layers.{i}.weight': torch.arange(64.0).view(8, 8) + i for i in range(6)}
GENEROUS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def torch_bytes(zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    content = dict(
        state_dict=STATE,
        meta=dict(epoch=3, classes=('a', 'b')),
        message_hub=dict(log_scalars={'loss': HistoryBuffer([1.0, 2.0], [1, 1])}),
    )
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def safetensors_bytes() -> bytes:
    from safetensors.torch import save

    return save(STATE, metadata={'format': 'pt'})


def read(path: Path) -> str:
    """Reads and converts a file as the tools do; tells whether its weights are as they were."""
    try:
        state = convert(read_checkpoint(path), str(path)).state_dict
    except CheckpointError as error:
        if not str(error).isprintable() or path.name not in str(error):
            raise AssertionError(f'a message that is no sentence on the file: {error!r}') from error
        raise
    same = state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)
    return 'as it was' if same else 'other weights'


@pytest.mark.slow
def test_damaged_zip_is_refused_or_read_as_it_was():
    report = run_mutated(read, torch_bytes(), 'a.pth', (CheckpointError,))
    assert not report.failures, report
    assert {outcome.detail for outcome in report.outcomes if outcome.kind == 'returned'} <= {
        'as it was'
    }
    assert report.counts['refused'] > 0.5 * report.counts.total()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('content', 'name'),
    [(torch_bytes(zipped=False), 'a.pth'), (safetensors_bytes(), 'a.safetensors')],
    ids=['legacy', 'safetensors'],
)
def test_damage_where_there_is_no_checksum_is_survived_and_found_by_a_hash(content, name):
    report = run_mutated(read, content, name, (CheckpointError,))
    assert not report.failures, report
    digest = hashlib.sha256(content).hexdigest()[:8]
    report = run_mutated(read, content, name.replace('a.', f'a-{digest}.'), (CheckpointError,), 200)
    assert not report.failures, report
    assert {outcome.detail for outcome in report.outcomes if outcome.kind == 'returned'} <= {
        'as it was'
    }


@GENEROUS
@given(seed=st.integers(0, 2**32), zipped=st.booleans())
def test_any_damage_is_refused_with_the_documented_error(seed, zipped, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(mutate(torch_bytes(zipped), seed))
    try:
        outcome = read(path)
    except CheckpointError:
        return
    assert outcome == 'as it was' or not zipped


@GENEROUS
@given(data=st.binary(max_size=600), start=st.sampled_from([b'', b'PK\3\4', b'\x80\2', b'\x80\2}']))
def test_any_bytes_are_refused(data, start, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(start + data)
    with pytest.raises(CheckpointError, match=r'a\.pth'):
        read(path)


@GENEROUS
@given(
    header=st.dictionaries(
        st.text(max_size=8),
        st.fixed_dictionaries(
            dict(
                dtype=st.sampled_from(['F32', 'I64', 'BOOL', 'X']),
                shape=st.lists(st.integers(-2, 2**63), max_size=3),
                data_offsets=st.lists(st.integers(0, 2**63), min_size=2, max_size=2),
            )
        ),
        max_size=3,
    )
)
def test_any_header_of_safetensors_is_refused_or_true(header, tmp_path):
    text = json.dumps(header).encode()
    path = tmp_path / 'a.safetensors'
    path.write_bytes(len(text).to_bytes(8, 'little') + text + bytes(16))
    try:
        tensors = read_checkpoint(path)
    except CheckpointError:
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) == 16


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text('ab.é'), inner),
    max_leaves=20,
)


@GENEROUS
@given(meta=plain, zipped=st.booleans())
def test_any_plain_data_is_read_as_it_was_written(meta, zipped, tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(meta=meta), path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path) == dict(meta=meta)
