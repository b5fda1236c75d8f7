"""``mmvmamba train --data`` with images and masks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.main import main, parse_args
from mmvmamba.cli.own_data import recognise, write_config
from mmvmamba.datasets.checks.segmentation import check_segmentation

CLASSES = ('sky', 'road', 'tree')


@pytest.fixture
def folder(tmp_path):
    """Ten images and masks with three labels and unlabelled pixels, not split."""
    generator = np.random.default_rng(0)
    root = tmp_path / 'mine'
    for name in ('images', 'masks'):
        (root / name).mkdir(parents=True)
    for i in range(10):
        image = generator.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(image).save(root / f'images/{i}.jpg')
        mask = generator.choice(np.uint8([0, 1, 2, 255]), (48, 64))
        Image.fromarray(mask).save(root / f'masks/{i}.png')
    return root


def split(folder):
    for name in ('images', 'masks'):
        for part, numbers in (('train', range(8)), ('val', range(8, 10))):
            (folder / name / part).mkdir()
            for file in (file for i in numbers for file in (folder / name).glob(f'{i}.*')):
                file.rename(folder / name / part / file.name)


def split_outside(folder):
    split(folder)
    for part in ('train', 'val'):
        for name in ('images', 'masks'):
            (folder / part).mkdir(exist_ok=True)
            (folder / name / part).rename(folder / part / name)
    for name in ('images', 'masks'):
        (folder / name).rmdir()


def in_the_manner_of_ade(folder):
    split(folder)
    (folder / 'masks').rename(folder / 'annotations')
    for name in ('images', 'annotations'):
        (folder / name / 'train').rename(folder / name / 'training')
        (folder / name / 'val').rename(folder / name / 'validation')


def with_a_suffix(folder):
    for file in list((folder / 'masks').iterdir()):
        file.rename(file.with_name(f'{file.stem}_mask.png'))


def unchanged(folder):
    """Leaves the images together."""


def written(folder, model='mambaout_femto'):
    given = ['--data', str(folder), '--model', model, '--weights', 'none']
    args = parse_args('train', [*given, '--work-dir', str(folder.parent / 'run')])
    return load_config(write_config(args))


@pytest.mark.parametrize(
    'change', [unchanged, with_a_suffix, split, split_outside, in_the_manner_of_ade]
)
def test_a_layout_is_recognised_and_every_pair_found(change, folder):
    from mmengine.registry import DATASETS, DefaultScope

    change(folder)
    found = recognise(str(folder))
    assert str(found) == 'images and masks, 3 classes, 8 images for training and 2 for validation'
    cfg = written(folder)
    seen = []
    for part, count in (('train', 8), ('val', 2)):
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
        assert len(dataset) == count
        seen += [dataset[i]['data_samples'].img_path for i in range(count)]
    assert len(set(seen)) == 10


def test_the_config_has_the_named_classes(folder):
    (folder / 'classes.txt').write_text('\n'.join(CLASSES))
    cfg = written(folder, 'mambaout_tiny')
    assert cfg.filename.endswith('/mambaout_t_upernet_160k_mine.py')
    assert cfg.train_dataloader.dataset.metainfo.classes == CLASSES
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    assert cfg.train_cfg.max_iters == 30 * 4 and not cfg.val_dataloader.dataset.reduce_zero_label


def test_one_name_less_than_labels_means_that_zero_is_no_class(folder):
    (folder / 'classes.txt').write_text('road\ntree\n')
    assert written(folder).train_dataloader.dataset.reduce_zero_label


def change_masks(folder, change):
    for file in (folder / 'masks').iterdir():
        Image.fromarray(change(np.asarray(Image.open(file))).astype(np.uint8)).save(file)


def black_and_white(folder):
    change_masks(folder, lambda mask: (mask == 1) * 255)


@pytest.mark.parametrize(
    ('lines', 'classes'),
    [
        ('', ('background', 'foreground')),
        ('crack\n', ('background', 'crack')),
        ('wall\ncrack\n', ('wall', 'crack')),
    ],
)
def test_masks_of_0_and_255_are_a_background_and_a_foreground(folder, lines, classes):
    from mmengine.registry import DATASETS, DefaultScope

    marked = np.asarray(Image.open(folder / 'masks/0.png')) == 1
    black_and_white(folder)
    (folder / 'classes.txt').write_text(lines)
    found = recognise(str(folder))
    assert str(found).endswith(f'; in the masks 0 is {classes[0]}, 255 {classes[1]}')
    cfg = written(folder)
    assert 'the masks hold 0 and 255, and 255 is the second class' in Path(cfg.filename).read_text()
    assert cfg.model.decode_head.num_classes == 2
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['classes'] == classes
    loaded = dataset.pipeline.transforms[1](dataset.get_data_info(0))['gt_seg_map']
    assert np.array_equal(loaded, marked)
    assert not check_segmentation(dataset, num_classes=2)


def no_masks(folder):
    shutil.rmtree(folder / 'masks')
    (folder / 'masks').mkdir()


def one_mask_less(folder):
    (folder / 'masks/7.png').unlink()


def no_images(folder):
    shutil.rmtree(folder / 'images')
    (folder / 'images').mkdir()


def in_colour(folder):
    Image.new('RGB', (64, 48)).save(folder / 'masks/3.png')


def torn(folder):
    (folder / 'masks/3.png').write_bytes((folder / 'masks/3.png').read_bytes()[:60])


def of_two_kinds(folder):
    (folder / 'images/0.jpg').rename(folder / 'images/0.png')


def all_black(folder):
    change_masks(folder, np.zeros_like)


def with_gaps(folder):
    change_masks(folder, lambda mask: (mask == 1) * 128)


def too_many_names_for_two(folder):
    black_and_white(folder)
    (folder / 'classes.txt').write_text('\n'.join(CLASSES))


def too_few_names(folder):
    (folder / 'classes.txt').write_text('sky')


def no_validation(folder):
    split(folder)
    for name in ('images', 'masks'):
        shutil.rmtree(folder / name / 'val')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (no_masks, r'images/0.jpg has no mask; looked for a PNG in masks whose name begins with 0'),
        (one_mask_less, r'mask \S+masks/7.png of the image of this name does not exist'),
        (no_images, 'images and masks, but images has no images; looked for DIR/images'),
        (all_black, 'the masks hold 0 alone: there is nothing to tell apart'),
        (with_gaps, 'hold 2 values, up to 128; .* name all classes, from 0 on, in classes.txt'),
        (too_many_names_for_two, 'names 3 classes, but the masks hold 0 and 255 alone'),
        (in_colour, r'masks/3.png must have one channel, .* got RGB of shape \(48, 64, 3\)'),
        (torn, r'mask \S+masks/3.png cannot be read'),
        (of_two_kinds, 'must all end alike, there are 9 in .jpg, 1 in .png'),
        (too_few_names, 'names 1 classes, but the masks hold labels up to 2'),
        (no_validation, 'images and masks, but none for validation; looked for'),
    ],
)
def test_what_does_not_do_is_named_and_nothing_written(change, message, folder):
    change(folder)
    with pytest.raises(UserError, match=message):
        written(folder)
    assert not (folder.parent / 'run').exists()


@pytest.mark.slow
def test_one_call_trains(folder, capfd):
    work_dir = folder.parent / 'run'
    given = ['--data', str(folder), '--model', 'mambaout_femto', '--weights', 'none']
    small = [
        *(
            'train_dataloader.dataset.pipeline.2.scale=(96,64)',
            'model.data_preprocessor.size=(64,64)',
        ),
        *('train_dataloader.dataset.pipeline.3.crop_size=(64,64)', 'model.decode_head.channels=16'),
        *('val_dataloader.dataset.pipeline.1.scale=(96,64)',),
    ]
    arguments = [*given, '--epochs', '1', '--seed', '0', '--work-dir', str(work_dir)]
    assert main(['train', *arguments, '--cfg-options', *small]) == 0
    text = capfd.readouterr().out
    assert 'data     images and masks, 3 classes' in text and 'mIoU' in text
    assert (work_dir / 'iter_4.pth').is_file()
