"""``mmvmamba train --data`` with COCO's and YOLO's annotations."""

import json
import shutil

import pytest
import yaml

from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.main import main, parse_args
from mmvmamba.cli.own_data import recognise, write_config
from mmvmamba.datasets.errors import AnnotationError
from mmvmamba.datasets.toy import make_toy_data

CLASSES = ('disc', 'square', 'triangle')
SMALL = [
    *('--epochs', '1', '--seed', '0', '--weights', 'none', '--cfg-options'),
    *('train_dataloader.dataset.pipeline.2.scale=(96,96)', 'train_dataloader.num_workers=0'),
    *('val_dataloader.dataset.pipeline.1.scale=(96,96)', 'val_dataloader.num_workers=0'),
    *('val_dataloader.persistent_workers=False', 'model.neck.out_channels=16'),
]


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return make_toy_data(tmp_path_factory.mktemp('data'), 'coco', num_train=4, num_val=2)[0]


def as_coco(toy, folder):
    shutil.copytree(toy, folder)


def as_export(toy, folder):
    """As annotation tools write it: images and annotations side by side, a group of all classes."""
    for split, name in (('train', 'train2017'), ('valid', 'val2017')):
        shutil.copytree(toy / name, folder / split)
        content = json.loads((toy / f'annotations/instances_{name}.json').read_text())
        content['categories'].insert(0, dict(id=0, name='shapes', supercategory='none'))
        for record in content['annotations']:
            record['segmentation'] = []
        (folder / split / '_annotations.coco.json').write_text(json.dumps(content))


def as_yolo(toy, folder, outlines=False):
    for split in ('train', 'val'):
        content = json.loads((toy / f'annotations/instances_{split}2017.json').read_text())
        shutil.copytree(toy / f'{split}2017', folder / split / 'images')
        (folder / split / 'labels').mkdir()
        labels = [record['id'] for record in content['categories']]
        for image in content['images']:
            size = (image['width'], image['height'])
            lines = [
                f'{labels.index(record["category_id"])} {numbers(record, size, outlines)}\n'
                for record in content['annotations']
                if record['image_id'] == image['id'] and not record['iscrowd']
            ]
            name = image['file_name'].rpartition('.')[0]
            (folder / split / 'labels' / f'{name}.txt').write_text(''.join(lines))
    description = dict(train='../train/images', val='../val/images', names=list(CLASSES))
    (folder / 'data.yaml').write_text(yaml.safe_dump(description))


def numbers(record, size, outlines):
    x, y, w, h = record['bbox']
    points = [x, y, x + w, y, x + w, y + h, x, y + h] if outlines else [x + w / 2, y + h / 2, w, h]
    return ' '.join(f'{value / size[i % 2]:.6f}' for i, value in enumerate(points))


def as_yolo_outlines(toy, folder):
    as_yolo(toy, folder, outlines=True)


LAYOUTS = {
    'COCO annotations with boxes and masks': as_coco,
    'COCO annotations with boxes': as_export,
    'YOLO labels with boxes': as_yolo,
    'YOLO labels with boxes and masks': as_yolo_outlines,
}


@pytest.fixture(params=LAYOUTS)
def layout(request, toy, tmp_path):
    LAYOUTS[request.param](toy, tmp_path / 'mine')
    return request.param


def written(folder, model, *more):
    given = ['--data', str(folder), '--model', model, '--weights', 'none', *more]
    args = parse_args('train', [*given, '--work-dir', str(folder.parent / 'run')])
    return load_config(write_config(args))


def test_a_layout_is_recognised_and_said(layout, tmp_path):
    found = recognise(str(tmp_path / 'mine'))
    assert str(found) == f'{layout}, 3 classes, 4 images for training and 2 for validation'
    assert found.classes == CLASSES


def test_the_config_learns_masks_where_there_are_some(layout, tmp_path):
    with_masks = 'masks' in layout
    cfg = written(tmp_path / 'mine', 'mambaout_femto_maskrcnn_1x')
    heads = cfg.model.roi_head
    assert heads.bbox_head.num_classes == 3
    assert (heads.mask_head is not None) == with_masks
    assert cfg.val_evaluator.metric == (['bbox', 'segm'] if with_masks else ['bbox'])
    steps = [step for step in cfg.train_dataloader.dataset.pipeline if 'with_bbox' in step]
    assert [step.get('with_mask', False) for step in steps] == [with_masks]
    assert cfg.train_dataloader.dataset.metainfo.classes == CLASSES
    assert cfg.train_cfg.max_epochs == 30 and cfg.model.backbone.init_cfg is None


@pytest.mark.parametrize(
    'model',
    ['mambavision_t_cascade_maskrcnn_3x', 'vim_t_cascade_maskrcnn_vitdet', 'l1_retinanet_1x'],
)
def test_every_kind_of_detector_gets_the_classes(model, toy):
    cfg = written(toy, model)
    found = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    heads = found if isinstance(found, list) else [found]
    assert [head.num_classes for head in heads] == [3] * len(heads)
    base = load_config(model)
    base_heads = base.model.get('bbox_head') or base.model.roi_head.bbox_head
    base_heads = base_heads if isinstance(base_heads, list) else [base_heads]
    assert [{**head, 'num_classes': 80} for head in heads] == base_heads
    assert cfg.train_cfg.type == 'EpochBasedTrainLoop' and cfg.log_processor.by_epoch
    assert cfg.train_dataloader.sampler.type == 'DefaultSampler'


@pytest.mark.parametrize(
    ('make', 'model', 'meant'),
    [
        (as_coco, 'mambaout_tiny', 'mambaout_t_maskrcnn_1x'),
        (as_export, 'mambaout_tiny', 'mambaout_t_retinanet_1x'),
        (as_export, 'mambaout_femto', 'mambaout_femto_maskrcnn_1x'),
        (as_export, 'vim_tiny', 'vim_t_retinanet_1x'),
        (as_coco, 'spatial_mamba_base', 'spatial_mamba_base_maskrcnn_1x'),
    ],
)
def test_a_classifier_stands_for_a_detector_that_begins_with_it(make, model, meant, toy, tmp_path):
    make(toy, tmp_path / 'mine')
    cfg = written(tmp_path / 'mine', model)
    assert cfg.filename.endswith(f'/{meant}_mine.py')


def no_validation(folder):
    (folder / 'annotations/instances_val2017.json').unlink()


def other_names(folder):
    for split in ('train', 'val'):
        file = folder / f'annotations/instances_{split}2017.json'
        file.rename(file.with_name(f'{"a" if split == "train" else "b"}.json'))


def no_images(folder):
    (folder / 'train2017').rename(folder / 'photos')


def no_annotations(folder):
    file = folder / 'annotations/instances_train2017.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(annotations=[])))


def torn(folder):
    file = folder / 'annotations/instances_train2017.json'
    file.write_text(file.read_text()[:-20])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            no_validation,
            'holds COCO annotations, but none for validation; looked for DIR/train/_ann',
        ),
        (other_names, 'COCO annotations, but none for training and validation; looked for'),
        (no_images, r'image \S+ of annotations/instances_train2017.json is in none of the folders'),
        (no_annotations, 'instances_train2017.json has no annotations: there is nothing to learn'),
        (torn, 'instances_train2017.json: the file is not JSON'),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(change, message, toy, tmp_path):
    as_coco(toy, tmp_path / 'mine')
    change(tmp_path / 'mine')
    with pytest.raises((UserError, AnnotationError), match=message):
        written(tmp_path / 'mine', 'mambaout_femto')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('mambaout_femot', 'must be a detector or the classifier .* did you mean mambaout_femto'),
        (
            'l1_upernet',
            "must be a detector or the classifier that it begins with, got 'l1_upernet'",
        ),
        ('mambaout_kobe', 'no detector begins with the weights of mambaout_kobe; mmvmamba list'),
    ],
)
def test_another_model_is_refused(model, message, toy):
    with pytest.raises(UserError, match=message):
        written(toy, model)


@pytest.mark.slow
def test_one_call_trains_on_labels_of_yolo(toy, tmp_path, capfd):
    as_yolo(toy, tmp_path / 'mine')
    work_dir = tmp_path / 'run'
    given = ['--data', str(tmp_path / 'mine'), '--model', 'mambaout_femto']
    heads = [
        *('model.rpn_head.in_channels=16', 'model.rpn_head.feat_channels=16'),
        *('model.roi_head.bbox_head.in_channels=16', 'model.roi_head.bbox_head.fc_out_channels=16'),
        *('model.roi_head.bbox_roi_extractor.out_channels=16',),
    ]
    assert main(['train', *given, '--work-dir', str(work_dir), *SMALL, *heads]) == 0
    text = capfd.readouterr().out
    assert 'data     YOLO labels with boxes, 3 classes' in text and 'coco/bbox_mAP' in text
    assert (work_dir / 'epoch_1.pth').is_file()
