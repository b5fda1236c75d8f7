"""ImageNetLMDB in mmpretrain's pipelines, beside mmpretrain's own data set of the folder."""

import io
import os
import shutil

import lmdb
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from mmvmamba.datasets import close_environments
from mmvmamba.datasets.errors import (
    CorruptRecordError,
    KeyMissingError,
    LMDBDataError,
)
from mmvmamba.datasets.lmdb.backend import _readers
from mmvmamba.datasets.lmdb.shards import shard_path
from mmvmamba.datasets.lmdb.sources import list_source
from mmvmamba.datasets.lmdb.writer import BuildOptions, LMDBWriter, create_lmdb
from tests.datasets.lmdb_samples import encode, random_image

pytest.importorskip('mmpretrain')
PIPELINE = [dict(type='mmpretrain.LoadImageFromFile')]
# As PIL and torchvision decode.
PIL_LIKE = [
    dict(
        type='mmpretrain.LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    )
]


def build(path, **options):
    options = dict(pipeline=PIPELINE, **options)
    return DATASETS.build(dict(type='mmvmamba.ImageNetLMDB', data_root=str(path), **options))


def as_list(batch):
    return batch


def test_samples_are_those_of_the_folder(database, image_folder):
    config = dict(data_root=str(database.parent), data_prefix='train', pipeline=PIPELINE)
    stored = DATASETS.build(dict(type='mmvmamba.ImageNetLMDB', **config))
    config['data_root'] = str(image_folder.parent)
    plain = DATASETS.build(dict(type='mmpretrain.CustomDataset', **config))
    assert len(stored) == len(plain) == 30
    assert stored.CLASSES == plain.CLASSES == ('ant', 'bee', 'cat dog')
    assert stored.get_gt_labels().tolist() == plain.get_gt_labels().tolist()
    assert stored.get_cat_ids(29) == plain.get_cat_ids(29) == [2]
    for ours, theirs in zip(stored, plain, strict=True):
        assert np.array_equal(ours['img'], theirs['img'])
        assert ours['gt_label'] == theirs['gt_label'] and ours['sample_idx'] == theirs['sample_idx']
        assert ours['img_path'].endswith(theirs['img_path'].split('train/')[1])
    assert str(database) in repr(stored)


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_workers_read_what_the_main_process_reads(database, context):
    dataset = build(database)
    want = [sample['img'] for sample in dataset]  # open in the main process before the fork
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=2,
        multiprocessing_context=context,
        persistent_workers=True,
        collate_fn=as_list,
    )
    for _ in range(2):
        got = [sample['img'] for batch in loader for sample in batch]
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def test_shards_are_read_as_one_database(database, image_folder, tmp_path):
    listing = list_source(image_folder)
    for index in (1, 2, 3):
        path = shard_path(tmp_path / 'train.lmdb', index, 3)
        LMDBWriter(listing.share(index, 3), path, BuildOptions(workers=0)).run()
    joined, whole = build(tmp_path, split='train-*-of-00003'), build(database.parent, split='train')
    assert joined.CLASSES == whole.CLASSES
    assert joined.get_gt_labels().tolist() == whole.get_gt_labels().tolist()
    for ours, theirs in zip(joined, whole, strict=True):
        assert np.array_equal(ours['img'], theirs['img'])
        assert ours['gt_label'] == theirs['gt_label'] and ours['sample_idx'] == theirs['sample_idx']
    assert joined[29]['img_path'].endswith('train-00003-of-00003.lmdb/cat dog/more/é.png')
    loader = DataLoader(joined, batch_size=4, num_workers=2, collate_fn=as_list)
    got = [sample for batch in loader for sample in batch]
    assert [sample['gt_label'] for sample in got] == whole.get_gt_labels().tolist()
    (tmp_path / 'list.txt').write_text('cat dog/3 x.JPEG 0\nant/2 x.JPEG 1\n')
    picked = build(tmp_path, split='train-*-of-00003', ann_file='list.txt')
    names = [os.path.basename(os.path.dirname(os.path.dirname(s['img_path']))) for s in picked]
    assert names == ['train-00003-of-00003.lmdb', 'train-00001-of-00003.lmdb']


def test_lazy_data_sets_touch_nothing(tmp_path):
    dataset = build(tmp_path / 'none.lmdb', lazy_init=True)
    with pytest.raises(ValueError, match=r'there is no LMDB database .*none\.lmdb'):
        len(dataset)


def test_subsets_and_indices(database):
    assert [item['gt_label'] for item in build(database, indices=[29, 0, 15])] == [2, 0, 1]
    dataset = build(database, indices=12)
    assert len(dataset) == 12
    subset = dataset.get_subset([11, 0])
    assert [item['sample_idx'] for item in subset] == [0, 1]
    assert subset.get_gt_labels().tolist() == [1, 0] and len(dataset) == 12
    assert len(dataset.get_subset(-3)) == 3
    assert dataset.get_data_info(-1)['gt_label'] == 1
    with pytest.raises(IndexError, match=r'index must be in \[-12, 12\), got 12'):
        dataset.get_data_info(12)


def foreign_database(folder, path):
    """What PlainMamba's converter writes: file names as keys, and their number."""
    env = lmdb.open(str(path), map_size=1 << 26)
    lines = []
    with env.begin(write=True) as txn:
        for label, name in enumerate(['n01', 'n02']):
            for i in range(3):
                txn.put(f'{name}_{i} a.JPEG'.encode(), encode(random_image(10 * label + i)))
                lines.append(f'{name}/{name}_{i} a.JPEG {label}\n')
        txn.put(b'total', b'6')
    env.close()
    (folder / 'meta').mkdir()
    (folder / 'meta' / 'train.txt').write_text(''.join(lines))


def test_plain_mambas_databases_are_read_with_their_list(tmp_path):
    foreign_database(tmp_path, tmp_path / 'train')
    found = build(tmp_path, split='train')
    named = build(tmp_path, data_prefix='train', ann_file='meta/train.txt', classes=['a', 'b'])
    for dataset in (found, named):
        assert len(dataset) == 6 and dataset.get_gt_labels().tolist() == [0] * 3 + [1] * 3
        assert dataset.get_data_info(4)['img_path'].endswith('/train/n02_1 a.JPEG')
        image = Image.open(io.BytesIO(encode(random_image(11)))).convert('RGB')
        assert dataset[4]['img'].shape == (image.height, image.width, 3)
    assert (found.CLASSES, named.CLASSES) == (('0', '1'), ('a', 'b'))
    loader = DataLoader(found, num_workers=2, collate_fn=as_list)
    assert sum(len(batch) for batch in loader) == 6


@pytest.mark.parametrize('root', ['/mnt/disk a/imagenet/train', 'imagenet/train'])
def test_mambavisions_databases_are_read_by_the_folders_in_their_keys(root, tmp_path):
    path = tmp_path / 'train_faster_imagefolder.lmdb'
    env = lmdb.open(str(path), map_size=1 << 26)
    images = {f'{root}/{n}/{n}_{i}.JPEG': 10 * k + i for k, n in enumerate('bac') for i in range(3)}
    with env.begin(write=True) as txn:
        for key, seed in images.items():
            txn.put(key.encode(), encode(random_image(seed)))
    env.close()
    dataset = build(tmp_path, data_prefix='train_faster_imagefolder.lmdb', num_classes=3)
    assert dataset.CLASSES == ('a', 'b', 'c')
    assert dataset.get_gt_labels().tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for i, key in enumerate(sorted(images)):
        close_environments()
        _readers.clear()  # the first look-up goes another way than the next ones
        for _ in range(2):
            want = np.asarray(Image.open(io.BytesIO(encode(random_image(images[key])))))
            assert dataset[i]['img_path'].endswith(f'.lmdb/{key}')
            assert np.array_equal(dataset[i]['img'][..., ::-1], want)
    loader = DataLoader(dataset, num_workers=2, collate_fn=as_list)
    assert sum(len(batch) for batch in loader) == 9


def test_lists_that_do_not_fit_are_refused(tmp_path):
    foreign_database(tmp_path, tmp_path / 'train')
    with pytest.raises(LMDBDataError, match=r'needs a list of labels .*ann_file'):
        build(tmp_path, data_prefix='train')
    with pytest.raises(LMDBDataError, match=r'no list of labels .*gone\.txt'):
        build(tmp_path, data_prefix='train', ann_file='gone.txt')
    lines = tmp_path / 'meta' / 'other.txt'
    for text, error, message in [
        ('n01/n09_9.JPEG 0\n', KeyMissingError, r'names an image that is not there .*n09_9'),
        ('n01/n01_0a.JPEG\n', LMDBDataError, 'must be "<path> <class index>"'),
        ('', LMDBDataError, 'must be "<path> <class index>"'),
    ]:
        lines.write_text(text)
        with pytest.raises(error, match=message):
            build(tmp_path, data_prefix='train', ann_file='meta/other.txt')


def test_a_list_picks_from_our_databases(database, tmp_path):
    (tmp_path / 'few.txt').write_text('cat dog/0 x.JPEG 0\nant/1 x.JPEG 2\n')
    dataset = build(database, ann_file=str(tmp_path / 'few.txt'))
    assert [item['gt_label'] for item in dataset] == [0, 2]


def test_classes_must_fit_database_and_model(database):
    with pytest.raises(LMDBDataError, match=r'expects 1000 classes, the data set has 3 .*head'):
        build(database, num_classes=1000)
    with pytest.raises(LMDBDataError, match='got one that is 2 in number'):
        build(database, classes=['ant', 'bee'])
    with pytest.raises(LMDBDataError, match='got one that is in another order'):
        build(database, classes=['bee', 'ant', 'cat dog'])
    renamed = build(database, classes=['Ameise', 'Biene', 'Katze'], num_classes=3)
    assert renamed.CLASSES == ('Ameise', 'Biene', 'Katze')


def test_databases_without_labels_are_refused(image_folder, tmp_path):
    create_lmdb(image_folder, tmp_path / 'a.lmdb', 'tree', options=BuildOptions(workers=0))
    with pytest.raises(LMDBDataError, match=r'has no labels .*a\.lmdb'):
        build(tmp_path / 'a.lmdb')


@pytest.fixture
def corrupt(database, tmp_path):
    """A copy of the database in which one JPEG is rubbish and one is cut short."""
    path = tmp_path / 'bad.lmdb'
    shutil.copytree(database, path)
    env = lmdb.open(str(path), map_size=1 << 28)
    with env.begin(write=True) as txn:
        txn.put(b'ant/0 x.JPEG', b'rubbish')
        data = txn.get(b'ant/1 x.JPEG')
        txn.put(b'ant/1 x.JPEG', data[: len(data) // 2])
    env.close()
    os.remove(path / 'lock.mdb')
    return path


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_corrupt_record_is_named(corrupt, num_workers):
    loader = DataLoader(build(corrupt), num_workers=num_workers, collate_fn=as_list)
    with pytest.raises(CorruptRecordError, match=r'bad\.lmdb, key: ant/0 x\.JPEG\).*verify'):
        list(loader)


def test_a_corrupt_record_is_replaced_in_training_only(corrupt):
    dataset = build(corrupt, replace_corrupt=True)
    np.random.seed(0)  # noqa: NPY002 - mmengine draws the other sample from it
    assert [sample['img'].shape for sample in dataset] == [(24, 32, 3)] * 30
    with pytest.raises(CorruptRecordError, match='ant/0'):
        build(corrupt, replace_corrupt=True, test_mode=True)[0]


def test_a_truncated_jpeg_is_an_error_for_pillow(corrupt):
    dataset = DATASETS.build(
        dict(type='mmvmamba.ImageNetLMDB', data_root=str(corrupt), pipeline=PIL_LIKE)
    )
    with pytest.raises(CorruptRecordError, match=r'ant/1 x\.JPEG'):
        dataset[1]


def test_errors_of_the_pipeline_are_not_blamed_on_the_record(database):
    def fail(results):
        raise RuntimeError('a bug in a transform')

    dataset = DATASETS.build(
        dict(type='mmvmamba.ImageNetLMDB', data_root=str(database), pipeline=[fail])
    )
    dataset.replace_corrupt = True
    with pytest.raises(RuntimeError, match='a bug in a transform'):
        dataset[0]


def test_unusual_images_decode_as_in_pil(tmp_path):
    folder = tmp_path / 'images' / 'a'
    folder.mkdir(parents=True)
    image = Image.fromarray(random_image(0))
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = np.random.default_rng(0).integers(0, 65536, (24, 32)).astype(np.uint16)
    files = {
        'cmyk.jpg': encode(image.convert('CMYK')),
        'exif.jpg': encode(image, exif=exif),
        'gray.jpg': encode(image.convert('L')),
        'palette.png': encode(image.quantize(16), 'PNG'),
        'rgba.png': encode(image.convert('RGBA'), 'PNG'),
        'sixteen.png': encode(Image.fromarray(sixteen), 'PNG'),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    report = create_lmdb(tmp_path / 'images', tmp_path / 'a.lmdb', options=BuildOptions(workers=0))
    assert report.skipped == []
    dataset = DATASETS.build(
        dict(type='mmvmamba.ImageNetLMDB', data_root=str(tmp_path / 'a.lmdb'), pipeline=PIL_LIKE)
    )
    for sample, (name, data) in zip(dataset, sorted(files.items()), strict=True):
        want = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
        assert np.array_equal(sample['img'][..., ::-1], want), name
