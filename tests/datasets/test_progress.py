"""A bar on a terminal, plain lines elsewhere."""

import contextlib
import io

import pytest

from mmvmamba.datasets import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def count_to(total, stream, **settings):
    """What is written while so many are counted."""
    with (
        contextlib.redirect_stderr(stream),
        progress.progress_bar(total, 'image', 'verify', **settings) as bar,
    ):
        for _ in range(total):
            bar.update()
    return stream.getvalue()


def test_a_terminal_has_a_bar():
    text = count_to(4, Terminal())
    assert '\r' in text and '| 4/4 [' in text


def test_a_file_has_lines(monkeypatch):
    monkeypatch.setattr(progress, 'SECONDS', 0)
    text = count_to(4, io.StringIO())
    lines = text.splitlines()
    assert '\r' not in text
    assert [line.partition(',')[0] for line in lines] == [
        f'verify: {i} of 4 images' for i in range(5)
    ]
    assert lines[-1].endswith(' left')


def test_a_file_has_few_lines():
    first, last = count_to(1000, io.StringIO()).splitlines()
    assert first.startswith('verify: 0 of 1000 images') and last.startswith(
        'verify: 1000 of 1000 images'
    )


@pytest.mark.parametrize('stream', [io.StringIO, Terminal])
def test_nothing_is_shown_on_request(stream):
    assert count_to(4, stream(), shown=False) == ''
