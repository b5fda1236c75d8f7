"""Small image folders and the databases made of them."""

import pytest

from mmvmamba.datasets import close_environments
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
from tests.datasets.lmdb_samples import encode, random_image


@pytest.fixture(scope='session')
def image_folder(tmp_path_factory):
    """Three class folders of ten images; names with spaces, deeper folders and other extensions."""
    root = tmp_path_factory.mktemp('images') / 'train'
    for label, name in enumerate(['ant', 'bee', 'cat dog']):
        (root / name / 'more').mkdir(parents=True)
        for i in range(9):
            (root / name / f'{i} x.JPEG').write_bytes(encode(random_image(10 * label + i)))
        data = encode(random_image(10 * label + 9), 'PNG')
        (root / name / 'more' / 'é.png').write_bytes(data)
    return root


@pytest.fixture(scope='session')
def database(image_folder, tmp_path_factory):
    """The database of `image_folder`; not to be changed."""
    path = tmp_path_factory.mktemp('lmdb') / 'train.lmdb'
    create_lmdb(image_folder, path, options=BuildOptions(workers=0))
    return path


@pytest.fixture(autouse=True)
def _close():
    yield
    close_environments()
