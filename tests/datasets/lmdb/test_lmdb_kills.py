"""Builds that are killed at random moments, again and again."""

import json
import random

import lmdb
import pytest

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.lmdb.maintenance import verify_lmdb
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
from tests.datasets.lmdb_samples import encode, random_image
from tests.kills import kill_count, run_and_kill, seconds_of

COUNT, BATCH = 300, 4


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    for i in range(COUNT):
        path = root / 'abc'[i % 3] / f'{i}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(random_image(i, (60, 60, 3)), 'PNG'))
    return root


def build(images, output, workers):
    options = BuildOptions(workers=workers, batch_images=BATCH, overwrite=True)
    create_lmdb(images, output, options=options)


def images_done(output):
    """Images that an interrupted build has, 0 without one."""
    file = output.with_name(f'{output.name}.partial') / 'data.mdb'
    if not file.exists() or file.stat().st_size < 8192:
        return 0
    env = lmdb.open(str(file.parent), readonly=True, lock=False)
    with env.begin() as txn:
        state = txn.get(b'__mmvmamba__/state')
    env.close()
    return json.loads(state)['done'] if state else 0


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_killed_builds_lose_nothing_and_go_on(images, tmp_path, workers):
    draw = random.Random(workers)
    longest = seconds_of(build, images, tmp_path / 'first.lmdb', workers)
    output = tmp_path / 'a.lmdb'
    want = {key: LMDBReader(tmp_path / 'first.lmdb').get(key) for key in keys_of(images)}
    kills = 0
    while kills < kill_count():
        before = images_done(output)
        kills += run_and_kill(draw, longest, build, images, output, workers)
        # Nothing if it was killed behind the last image.
        assert images_done(output) in (0, *range(before, COUNT + 1))
        # What bears the name is whole, that of the build before if this one was killed.
        if output.exists():
            assert len(LMDBReader(output)) == COUNT
    build(images, output, workers)
    assert verify_lmdb(output, decode=True) == []
    assert {key: LMDBReader(output).get(key) for key in keys_of(images)} == want
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.lmdb', 'first.lmdb']


def keys_of(images):
    return [f'{path.parent.name}/{path.name}' for path in images.glob('*/*.png')]
