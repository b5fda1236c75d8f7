"""What is said of pip-audit's report."""

import json

import pytest

from tests.tools.conftest import load_tool

FINE = dict(name='fine', version='1.0', vulns=[])
HOLES = [dict(id='CVE-1', fix_versions=['2.1']), dict(id='CVE-2', fix_versions=[])]
WEAK = dict(name='weak', version='2.0', vulns=HOLES)
UNKNOWN = dict(name='ours', skip_reason='not found')


def summary(*packages):
    return load_tool('misc/audit').summary(json.dumps(dict(dependencies=packages, fixes=[])))


def test_weaknesses_are_listed_and_counted():
    text, is_weak = summary(FINE, WEAK, UNKNOWN)
    assert is_weak
    assert text.splitlines() == [
        'weak 2.0: CVE-1, mended in 2.1',
        'weak 2.0: CVE-2, mended in no version',
        'audit: 2 known weaknesses in 2 packages',
        'audit: not checked, since the list does not have them: ours',
    ]


def test_it_is_said_how_many_packages_are_fine():
    assert summary(FINE) == ('audit: no known weaknesses in 1 packages', False)


# A mirror of the index without a list of weaknesses answers that it knows no package.
@pytest.mark.parametrize('packages', [(), (UNKNOWN, UNKNOWN)])
def test_what_could_not_be_asked_is_not_called_fine(packages):
    text, is_weak = summary(*packages)
    assert 'NOTHING WAS CHECKED' in text and not is_weak


@pytest.mark.parametrize('report', ['', 'no network', '[]'])
def test_no_report_is_not_called_fine(report):
    text, is_weak = load_tool('misc/audit').summary(report)
    assert 'NOTHING WAS CHECKED' in text and not is_weak
