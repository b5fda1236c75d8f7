"""Every fault of classification data is found, and whole data have none."""

import shutil

import lmdb
import pytest
from mmpretrain.datasets import CustomDataset
from mmpretrain.utils import register_all_modules

from mmvmamba.datasets.checks.classification import check_classification
from mmvmamba.datasets.imagenet_lmdb import ImageNetLMDB


@pytest.fixture
def folder(image_folder, tmp_path):
    """A copy of the three class folders, to be changed."""
    return shutil.copytree(image_folder, tmp_path / 'images')


def faults(dataset, root, num_classes=3):
    found = check_classification(dataset, num_classes)
    return [str(fault).replace(f'{root}/', '').replace(str(root), '') for fault in found]


def files(folder, **settings):
    register_all_modules()
    return CustomDataset(
        data_prefix=str(folder),
        extensions=('.jpeg', '.png'),
        lazy_init=True,
        **settings,
    )


def test_sound_files_have_no_fault(folder):
    assert faults(files(folder), folder) == []


def test_unreadable_image(folder):
    path = folder / 'bee/3 x.JPEG'
    path.write_bytes(path.read_bytes()[:300])
    (found,) = faults(files(folder), folder)
    assert found.startswith('bee/3 x.JPEG: the image cannot be read: ')


def test_empty_class(folder):
    shutil.rmtree(folder / 'bee')
    (folder / 'bee').mkdir()
    assert faults(files(folder), folder) == [": class 1, 'bee', has no image"]


def test_folder_without_images(tmp_path):
    (tmp_path / 'ant').mkdir()
    (found,) = faults(files(tmp_path), tmp_path, num_classes=1)
    assert 'Found 0 files' in found


def test_classes_that_do_not_fit_the_model(folder):
    found = faults(files(folder), folder, num_classes=1000)
    assert found == [': the data set must have the 1000 classes of the model, got 3']


def test_folders_that_do_not_fit_the_classes(folder):
    (found,) = faults(files(folder, metainfo=dict(classes=('ant', 'bee'))), folder)
    assert "subfolders (3) doesn't match" in found


def test_labels_out_of_range(folder, tmp_path):
    listing = tmp_path / 'list.txt'
    listing.write_text('ant/0 x.JPEG 0\nbee/0 x.JPEG 1\nant/1 x.JPEG 3\nant/2 x.JPEG 3\n')
    dataset = files(folder, ann_file=str(listing), metainfo=dict(classes=('ant', 'bee', 'cat')))
    assert faults(dataset, folder) == [
        'ant/1 x.JPEG: labels must be 0 to 2, got 3 (2 images)',
        ": class 2, 'cat', has no image",
    ]


def test_sound_database_has_no_fault(database):
    assert faults(ImageNetLMDB(str(database), lazy_init=True), database) == []


def test_corrupt_record_of_a_database(database, tmp_path):
    path = shutil.copytree(database, tmp_path / 'broken.lmdb')
    key = next(ImageNetLMDB(str(database)).reader.sample_keys())
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        stored = transaction.get(key.encode())
        transaction.put(key.encode(), stored[:-9] + b'elsewhere')
    (found,) = faults(ImageNetLMDB(str(path), lazy_init=True), path)
    assert found.startswith(f': {key}: the SHA-256 must be ')


def test_database_without_the_classes_of_the_model(database):
    (found,) = faults(ImageNetLMDB(str(database), lazy_init=True), database, num_classes=7)
    assert found == ': the data set must have the 7 classes of the model, got 3'
