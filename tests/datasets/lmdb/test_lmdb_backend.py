"""Paths with the prefix lmdb://, in mmengine and in detection and segmentation data sets."""

import json
import multiprocessing
import shutil

import numpy as np
import pytest
from mmengine import fileio
from mmengine.registry import DATASETS

from mmvmamba.datasets.errors import KeyMissingError, LMDBDataError
from mmvmamba.datasets.lmdb.backend import split_uri
from mmvmamba.datasets.lmdb.sources import list_source
from mmvmamba.datasets.lmdb.writer import BuildOptions, LMDBWriter
from tests.datasets.lmdb_samples import encode, random_image

KEY = 'bee/3 x.JPEG'


def store(folder, path):
    listing = list_source(folder, 'tree', all_files=True)
    LMDBWriter(listing, path, BuildOptions(workers=0)).run()
    return path


def test_a_path_names_database_and_key(database, tmp_path, monkeypatch):
    reader, key = split_uri(f'lmdb://{database}/{KEY}')
    assert (reader.path, key) == (str(database), KEY)
    monkeypatch.chdir(database.parent)
    for uri in ('lmdb://train.lmdb/bee/', 'lmdb://./train.lmdb/bee'):
        reader, key = split_uri(uri)
        assert key == 'bee' and len(reader) == 30
    # PlainMamba's databases have no suffix.
    shutil.copytree(database, tmp_path / 'train')
    reader, key = split_uri(f'lmdb://{tmp_path}/train/{KEY}')
    assert (reader.path, key) == (f'{tmp_path}/train', KEY)
    with pytest.raises(LMDBDataError, match=r'no folder of this path .*nowhere\.lmdb'):
        split_uri('lmdb://nowhere.lmdb/a.jpg')


def test_mmengine_reads_files(database, image_folder):
    root = f'lmdb://{database}'
    assert fileio.get(f'{root}/{KEY}') == (image_folder / KEY).read_bytes()
    assert fileio.exists(f'{root}/{KEY}') and fileio.isfile(f'{root}/{KEY}')
    assert fileio.isdir(f'{root}/bee') and not fileio.isdir(f'{root}/be')
    assert not fileio.exists(f'{root}/bee/nothing.JPEG')
    with fileio.get_local_path(f'{root}/{KEY}') as path, open(path, 'rb') as file:
        assert file.read() == (image_folder / KEY).read_bytes()
    with pytest.raises(KeyMissingError, match=r'train\.lmdb, key: bee/nothing\.JPEG'):
        fileio.get(f'{root}/bee/nothing.JPEG')


@pytest.mark.parametrize('recursive', [False, True])
@pytest.mark.parametrize('folder', ['', 'bee'])
@pytest.mark.parametrize(
    'options', [{}, dict(list_file=False), dict(list_dir=False, suffix='.JPEG')]
)
def test_listing_is_that_of_the_folder(database, image_folder, folder, recursive, options):
    options = dict(recursive=recursive, **options)
    got = fileio.list_dir_or_file(f'lmdb://{database}/{folder}', **options)
    want = fileio.list_dir_or_file(str(image_folder / folder), **options)
    assert sorted(got) == sorted(want)


def test_a_folder_that_is_not_there_is_named(database):
    with pytest.raises(KeyMissingError, match=r'no file below this folder .*key: wasp/'):
        list(fileio.list_dir_or_file(f'lmdb://{database}/wasp'))


def test_backend_args_stand_for_a_folder(database, image_folder):
    args = dict(backend='mmvmamba_lmdb', db_path=str(database), root='data/imagenet/train/')
    assert fileio.get(f'data/imagenet/train/{KEY}', args) == (image_folder / KEY).read_bytes()
    with pytest.raises(KeyMissingError, match=r'stands for the folder .*transforms that read'):
        fileio.get('data/imagenet/annotations.json', args)
    with pytest.raises(ValueError, match="must begin with 'lmdb://' without db_path"):
        fileio.get('a.jpg', dict(backend='mmvmamba_lmdb'))


def _get(uri, queue):
    queue.put(fileio.get(uri))


def test_the_shared_backend_works_in_a_forked_process(database, image_folder):
    uri = f'lmdb://{database}/{KEY}'
    want = fileio.get(uri)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=_get, args=(uri, queue))
    process.start()
    assert queue.get(timeout=60) == want == (image_folder / KEY).read_bytes()
    process.join()


def test_coco_reads_images_and_annotations_from_a_database(tmp_path):
    pytest.importorskip('mmdet')
    root = tmp_path / 'coco'
    (root / 'train2017').mkdir(parents=True)
    (root / 'annotations').mkdir()
    (root / 'train2017' / '1.jpg').write_bytes(encode(random_image(0)))
    annotations = dict(
        images=[dict(id=1, file_name='1.jpg', width=32, height=24)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[2, 3, 9, 9], area=81, iscrowd=0)],
        categories=[dict(id=1, name='person')],
    )
    (root / 'annotations' / 'train.json').write_text(json.dumps(annotations))
    store(root, tmp_path / 'coco.lmdb')
    samples = []
    for data_root in (str(root), f'lmdb://{tmp_path}/coco.lmdb'):
        dataset = DATASETS.build(
            dict(
                type='mmdet.CocoDataset',
                data_root=data_root,
                ann_file='annotations/train.json',
                data_prefix=dict(img='train2017/'),
                pipeline=[
                    dict(type='mmdet.LoadImageFromFile'),
                    dict(type='mmdet.LoadAnnotations', with_bbox=True),
                ],
            )
        )
        samples.append(dataset[0])
    plain, stored = samples
    assert np.array_equal(plain['img'], stored['img'])
    assert plain['gt_bboxes'].tensor.tolist() == stored['gt_bboxes'].tensor.tolist()
    assert stored['img_path'] == f'lmdb://{tmp_path}/coco.lmdb/train2017/1.jpg'


def test_ade20k_lists_and_reads_from_a_database(tmp_path):
    pytest.importorskip('mmseg')
    root = tmp_path / 'ade'
    for folder, name in (('images/training', 'b.jpg'), ('annotations/training', 'b.png')):
        (root / folder).mkdir(parents=True)
        array = random_image(1) if name.endswith('jpg') else random_image(1, (24, 32)) % 150
        data = encode(array, 'JPEG' if name.endswith('jpg') else 'PNG')
        (root / folder / name).write_bytes(data)
    store(root, tmp_path / 'ade.lmdb')
    samples = []
    for data_root in (str(root), f'lmdb://{tmp_path}/ade.lmdb'):
        dataset = DATASETS.build(
            dict(
                type='mmseg.ADE20KDataset',
                data_root=data_root,
                data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
                pipeline=[
                    dict(type='mmseg.LoadImageFromFile'),
                    dict(type='mmseg.LoadAnnotations', reduce_zero_label=True),
                ],
            )
        )
        samples.append(dataset[0])
    plain, stored = samples
    assert np.array_equal(plain['img'], stored['img'])
    assert np.array_equal(plain['gt_seg_map'], stored['gt_seg_map'])
