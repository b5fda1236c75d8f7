"""``mmvmamba train --data`` with images and masks."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.main import main, parse_args
from mmvmamba.cli.own_data import recognise, write_config

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


def no_masks(folder):
    shutil.rmtree(folder / 'masks')
    (folder / 'masks').mkdir()


def one_mask_less(folder):
    (folder / 'masks/7.png').unlink()


def no_images(folder):
    shutil.rmtree(folder / 'images')
    (folder / 'images').mkdir()


def black_and_white(folder):
    for file in (folder / 'masks').iterdir():
        mask = np.asarray(Image.open(file)) % 2 * 255
        Image.fromarray(mask.astype(np.uint8)).save(file)


def in_colour(folder):
    Image.new('RGB', (64, 48)).save(folder / 'masks/3.png')


def torn(folder):
    (folder / 'masks/3.png').write_bytes((folder / 'masks/3.png').read_bytes()[:60])


def of_two_kinds(folder):
    (folder / 'images/0.jpg').rename(folder / 'images/0.png')


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
        (black_and_white, 'hold 0 and 255 alone, and 255 means .* write them again with 1'),
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
