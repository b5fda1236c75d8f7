"""The layout as such: keys, checksums, header and manifest, for whatever text and bytes."""

import dataclasses
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.lmdb.format import (
    KEY_LIMIT,
    RESERVED,
    TABLES,
    Header,
    checksum,
    decode_key,
    encode_key,
    manifest,
)

texts = st.text(max_size=40)
numbers = st.integers(0, 2**40)
headers = st.builds(
    Header,
    layout=texts,
    num_records=numbers,
    num_classes=numbers,
    num_bytes=numbers,
    manifest=texts,
    max_size=numbers,
    num_resized=numbers,
    num_skipped=numbers,
    creator=texts,
)
tables = st.dictionaries(st.sampled_from(TABLES), st.binary(max_size=30))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.binary(min_size=1, max_size=KEY_LIMIT + 20))
def test_a_key_is_refused_or_comes_back_byte_for_byte(data):
    """File names are bytes; those that are not UTF-8 are carried as well."""
    key = decode_key(data)
    try:
        encoded = encode_key(key)
    except LMDBDataError:
        parts = data.split(b'/')
        assert (
            len(data) > KEY_LIMIT
            or data.startswith(RESERVED.encode())
            or any(part in (b'', b'.', b'..') for part in parts)
            or any(byte in data for byte in (b'\0', b'\n', b'\r'))
        )
    else:
        assert encoded == data


@given(texts)
def test_no_key_leads_out_of_a_folder(key):
    try:
        encode_key(key)
    except LMDBDataError:
        return
    assert not key.startswith('/') and '..' not in key.split('/') and '\n' not in key


@given(headers)
def test_a_header_is_read_as_it_was_written(header):
    assert Header.loads(header.dumps(), 'a.lmdb') == header


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_header_is_refused_in_words(data):
    with pytest.raises(LMDBDataError, match=r'a\.lmdb'):
        Header.loads(data, 'a.lmdb')


@given(headers, st.sampled_from([field.name for field in dataclasses.fields(Header)]), json_values)
def test_a_field_of_another_type_is_refused(header, name, value):
    assume(type(value) is not type(getattr(header, name)))
    values = dataclasses.asdict(header) | {name: value}
    with pytest.raises(LMDBDataError, match=r'a\.lmdb'):
        Header.loads(json.dumps(values).encode(), 'a.lmdb')


@given(headers, tables, tables)
def test_the_manifest_tells_tables_apart(header, first, second):
    assume(first != second)
    assert manifest(first, header) != manifest(second, header)


@given(tables, headers, headers)
def test_the_manifest_tells_headers_apart_but_for_itself(tables, first, second):
    changed = dataclasses.replace(first, manifest=second.manifest)
    assert manifest(tables, changed) == manifest(tables, first)
    assume(changed != second)
    assert manifest(tables, second) != manifest(tables, first)


@given(st.binary(min_size=1), st.binary(min_size=1), st.data())
def test_the_checksum_tells_a_changed_byte_of_key_or_record(key, record, data):
    for which, value in enumerate((key, record)):
        at = data.draw(st.integers(0, len(value) - 1))
        mask = data.draw(st.integers(1, 255))
        changed = bytearray(value)
        changed[at] ^= mask
        pair = [key, record]
        pair[which] = bytes(changed)
        assert checksum(*pair) != checksum(key, record)
    assert 0 <= checksum(key, record) < 1 << 64
