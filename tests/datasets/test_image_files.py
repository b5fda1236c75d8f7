"""Images that declare more than they hold, and bytes that are no images."""

import io
import warnings
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmvmamba.datasets.image_files import (
    DECODE_ERRORS,
    MAX_PIXELS,
    find_defect,
    open_header,
    size_problem,
)


def png(width, height):
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data).to_bytes(4, 'big')
        return len(data).to_bytes(4, 'big') + kind + data + check

    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(3 * min(width, 300_000) + 1), 9)
    return b''.join(
        [b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header), chunk(b'IDAT', pixels), chunk(b'IEND', b'')]
    )


@pytest.mark.parametrize('size', [(300_000, 1), (1, 300_000), (20_000, 20_000), (60_000, 60_000)])
@pytest.mark.parametrize('decode', [False, True])
def test_images_that_declare_too_many_pixels_are_not_decoded(size, decode):
    data = png(*size)
    assert len(data) < 1500
    for action in ('ignore', 'error'):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            defect = find_defect(data, decode)
        assert defect.lower().endswith('set mmvmamba_max_image_pixels to allow more')
        if min(size) == 1:
            assert f'declares {size[0]} x {size[1]} pixels, too many' in defect


def test_the_variable_raises_the_limit(monkeypatch):
    data = png(300_000, 1)
    monkeypatch.setenv('MMVMAMBA_MAX_IMAGE_PIXELS', str(10**11))
    assert find_defect(data, decode=True) == ''
    monkeypatch.setenv('MMVMAMBA_MAX_IMAGE_PIXELS', 'many')
    with pytest.raises(ValueError, match="MAX_IMAGE_PIXELS must be a whole number above 0, got 'm"):
        size_problem(1, 1)


@pytest.mark.parametrize(
    ('size', 'fits'),
    [((13_000, 13_000), True), ((14_000, 13_000), False), ((1, 2730), True), ((1, 2731), False)],
)
def test_the_limit_counts_pixels_and_those_of_a_line_made_256_high(size, fits):
    assert MAX_PIXELS == 178_956_970
    assert (size_problem(*size) == '') is fits


@given(st.binary(max_size=300), st.sampled_from(['PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', '']))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_image_or_have_a_defect(tail, kind):
    start = io.BytesIO()
    if kind:
        Image.new('RGB', (9, 7), (200, 30, 99)).save(start, kind)
    whole = start.getvalue()
    data = whole[: len(whole) // 2] + tail
    defect = find_defect(data, decode=True)
    try:
        with open_header(data) as image:
            image.load()
    except DECODE_ERRORS:
        assert defect
    else:
        assert defect == ''
