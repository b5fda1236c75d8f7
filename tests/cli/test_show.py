"""Pictures of what goes on inside models: written, then read back."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis import browse
from mmvmamba.apis.bare_models import bare_config, build_bare
from mmvmamba.apis.inside import draw_curves
from mmvmamba.cli.main import main
from mmvmamba.datasets.toy import make_toy_data
from mmvmamba.visualization.charts import name_points, new_figure
from mmvmamba.visualization.heatmaps import (
    class_activation,
    draw_heat,
    draw_paths,
    feature_colours,
    receptive_field,
)
from mmvmamba.visualization.panels import HEADER
from mmvmamba.visualization.results import MISSED, RIGHT

CONFIGS = Path(__file__).parents[2] / 'configs' / 'toy'
TOY = str(CONFIGS / 'cls_{}.py')


@pytest.fixture(autouse=True)
def _plain_scans(monkeypatch):
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')


def show(tmp_path, *arguments):
    """The picture, blue first."""
    out = tmp_path / 'picture.png'
    assert main(['show', *arguments, '--out', str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture.std() > 5, 'it is not blank'
    return picture


@pytest.mark.parametrize(
    ('kind', 'family', 'columns'),
    [
        ('scan', 'plain_mamba', 4),
        ('decay', 'vim', 3),
        ('attention', 'mambavision', 1),
        ('cam', 'mila', 2),
        ('features', 'vmamba', 5),
        ('field', 'spatial_mamba', 1),
    ],
)
def test_kinds(kind, family, columns, tmp_path):
    picture = show(tmp_path, kind, '--model', TOY.format(family))
    assert picture.shape[1] >= columns * 170
    assert picture.shape[0] > 150


def test_the_image_keeps_its_proportions(tmp_path):
    cv2.imwrite(str(tmp_path / 'wide.png'), np.full((50, 100, 3), 200, np.uint8))
    arguments = 'cam', '--model', TOY.format('mambaout'), '--image', str(tmp_path / 'wide.png')
    picture = show(tmp_path, *arguments)
    assert picture.shape == (320 + HEADER, 2 * (2 * 320 + 4), 3)


def test_of_the_maps_of_a_pyramid_one_that_has_a_path_is_drawn(tmp_path):
    # The last map of so small an image is a single token.
    picture = show(tmp_path, 'scan', '--model', TOY.format('vmamba'))
    assert picture.shape[0] == 4 * 40 + HEADER


@pytest.mark.parametrize('task', ['det_mambaout_retinanet', 'seg_mambaout'])
def test_features_of_other_tasks(task, tmp_path):
    show(tmp_path, 'features', '--model', str(CONFIGS / f'{task}.py'))


@pytest.mark.parametrize('name', ['coco', 'ade20k'])
def test_browse_shows_what_the_model_is_fed(name, tmp_path, monkeypatch):
    make_toy_data(tmp_path / 'data' / 'toy', name, 4, 1)
    config = {'coco': 'det_mambaout_maskrcnn', 'ade20k': 'seg_mambaout'}[name]
    path = str(CONFIGS / f'{config}.py')
    monkeypatch.chdir(tmp_path)
    picture = show(tmp_path, 'browse', '--model', path, '--limit', '3')
    more = show(tmp_path, 'browse', '--model', path, '--limit', '4')
    assert more.shape[1] > picture.shape[1]


def test_browse_shows_every_class_of_sorted_images(tmp_path, monkeypatch):
    folder, _ = make_toy_data(tmp_path, 'imagenet', 12, 6)
    titles = []
    monkeypatch.setattr(browse, 'grid_of_pictures', lambda found, _: titles.extend(found))
    dataset = dict(type='CustomDataset', data_root=str(folder), data_prefix='train')
    dataset['pipeline'] = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    preprocessor = dict(to_rgb=True)
    config = Config(dict(default_scope='mmpretrain', data_preprocessor=preprocessor, model={}))
    config.train_dataloader = dict(dataset=dataset)
    browse.draw_samples(config, 6)
    names = [title.partition(' ')[2] for title in titles]
    assert len(set(names)) == 6 and names == sorted(names)


def test_a_path_goes_from_blue_to_red():
    picture = draw_paths(torch.tensor([[0, 1, 2, 3]]), (2, 2))
    # The first place is blue, the last one red; the header is 26 pixels high.
    first, last = picture[26 + 20, 20], picture[26 + 60, 60]
    assert first[2] > first[0] and last[0] > last[2]


def test_heat_is_yellow_where_it_is_high():
    picture = draw_heat(np.zeros((40, 40, 3), np.uint8), np.array([[0.0, 1.0]]), 1.0)
    assert picture[20, 38, 0] > 200 and picture[20, 38, 2] < 80
    assert picture[20, 2, 0] < 100 and picture[20, 2, 2] > 60


def test_three_directions_become_three_colours():
    features = torch.zeros(5, 2, 6)
    features[0, :, :2], features[3, :, 2:4], features[4, :, 4:] = 3.0, 2.0, 1.0
    colours = feature_colours(features)
    assert len({tuple(row) for row in colours[0].tolist()}) == 3
    assert np.array_equal(colours[0], colours[1])


def test_the_field_of_a_convolution_is_its_window():
    model = build_bare(bare_config(TOY.format('mambaout')))
    field = receptive_field(model.backbone, torch.randn(1, 3, 64, 64), stage=0)
    middle = field[20:44, 20:44].sum()
    assert 0.9 < middle / field.sum() <= 1


FAMILIES = ('mambaout', 'vim', 'vmamba', 'plain_mamba', 'mambavision', 'spatial_mamba', 'mila')


def uneven(family):
    """A classifier whose norms do more than nothing, as trained ones do."""
    torch.manual_seed(0)
    model = build_bare(bare_config(TOY.format(family)))
    for name, parameter in model.named_parameters():
        if 'norm' in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize('family', FAMILIES)
def test_activation_of_the_best_class(family):
    model = uneven(family)
    image = torch.randn(1, 3, 64, 64)
    heat, label = class_activation(model, image)
    with torch.no_grad():
        assert label == int(model(image, mode='tensor').argmax())
    assert heat.ndim == 2 and heat.min() >= 0


@pytest.mark.parametrize('family', sorted({*FAMILIES} - {'vim', 'mambaout'}))
def test_activation_is_what_each_place_adds_to_the_score(family):
    model = uneven(family)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        (features,) = model.backbone(image)
        logits = model(image, mode='tensor')[0]
    for label in range(2):
        linear = model.head.fc
        parts = torch.einsum('c,nchw->hw', linear.weight[label], features).detach()
        assert torch.allclose(parts.mean() + linear.bias[label], logits[label], atol=1e-5)
        heat, _ = class_activation(model, image, label)
        assert np.allclose(heat, parts.clamp(min=0), atol=1e-5)


@pytest.mark.parametrize('family', FAMILIES)
def test_the_field_is_where_a_change_is_seen(family):
    backbone = uneven(family).backbone.double()
    image = torch.randn(1, 3, 64, 64).double()
    # Twice: of one image torch 2.11 goes wrongly back through a BatchNorm in evaluation mode.
    field = receptive_field(backbone, image.repeat(2, 1, 1, 1))

    def middle(images):
        _, (maps,) = backbone.feature_maps(images, (len(backbone.stage_channels) - 1,))
        return maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].clamp(min=0).sum()

    # The change that a little more of one pixel makes.
    row, column = np.unravel_index(field.argmax(), field.shape)
    with torch.no_grad():
        before = middle(image)
        slopes = []
        for channel in range(3):
            changed = image.clone()
            changed[0, channel, row, column] += 1e-5
            slopes.append(abs(middle(changed) - before) / 1e-5)
    assert float(sum(slopes)) / 3 == pytest.approx(float(field.max()), rel=0.02)


@pytest.mark.parametrize('names', [('first', 'second'), ('first/run', 'second/run')])
def test_curves_of_two_trainings(names, tmp_path):
    for name in names:
        folder = tmp_path / name / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        records = [dict(step=i, loss=1 / (i + 1), lr=0.1) for i in range(5)]
        records.append({'coco/bbox_mAP': 0.4, 'step': 5})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
    picture = show(tmp_path, 'curves', *(str(tmp_path / name) for name in names))
    # Loss, learning rate and the figure of validation.
    assert picture.shape[1] > 3 * 500
    # Each training has its colour, in every panel.
    assert share_of(picture, (31, 119, 180)) > 0 and share_of(picture, (255, 127, 14)) > 0


def test_many_figures_stand_in_rows_and_those_that_do_not_occur_are_left_out(tmp_path):
    record = {f'coco/{i}': 0.5 for i in range(6)} | {'coco/none': -1, 'step': 1}
    log = tmp_path / 'run' / 'now' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps(record))
    assert draw_curves([log], tmp_path / 'curves.png') == [f'coco/{i}' for i in range(6)]
    height, width = cv2.imread(str(tmp_path / 'curves.png')).shape[:2]
    assert width == pytest.approx(2392, abs=2) and height == pytest.approx(936, abs=2)


def test_no_name_of_a_chart_lies_on_another():
    figure, (axes,) = new_figure(1, 4, 4)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = [(f'point number {i}', 5 + 0.01 * i, 5.0, 'black') for i in range(6)]
    name_points(axes, points)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_index_over_parameters_and_speeds(tmp_path):
    table = tmp_path / 'speed.csv'
    table.write_text('model,images/s,ms\nvim_tiny,50,20\nvim_base,out of memory,\n')
    assert show(tmp_path, 'index').shape == show(tmp_path, 'index', str(table)).shape


def share_of(picture, colour):
    """How much of a picture, blue first, has about an RGB colour."""
    return (abs(picture[..., ::-1].astype(int) - colour).max(axis=-1) < 12).mean()


def results_of(path, guesses, classes):
    images = [dict(image='a.png', truth=t, labels=[p], scores=[0.5]) for t, p in guesses]
    path.write_text(json.dumps(dict(task='classification', classes=classes, images=images)))
    return str(path)


def test_confusion_is_dark_where_the_classes_are_taken_for_each_other(tmp_path, capsys):
    dark, bar = (8, 48, 107), (200, 85, 61)
    right = [(i, i) for i in range(3)] * 4
    file, classes = tmp_path / 'found.json', ['disc', 'square', 'star']
    perfect = show(tmp_path, 'confusion', results_of(file, right, classes))
    assert share_of(perfect, bar) == 0
    mixed = show(tmp_path, 'confusion', results_of(file, [*right, (0, 2), (0, 2)], classes))
    assert share_of(mixed, bar) > 0.005
    # Two cells of three are still entirely right.
    assert share_of(mixed, dark) == pytest.approx(2 / 3 * share_of(perfect, dark), rel=0.1)
    rows = capsys.readouterr().out.splitlines()[-5:-1]
    assert rows[0].split() == ['class', 'images', 'precision', 'recall', 'F1', 'taken', 'for']
    assert rows[1].split() == ['disc', '6', '1.0', '0.6667', '0.8', 'star', '(2)']
    table = (tmp_path / 'picture.csv').read_text().splitlines()
    assert table[1] == 'disc,6,1.0,0.6667,0.8,star (2)'


def test_confusion_of_many_classes_prints_the_worst(tmp_path, capsys):
    classes = [f'a class of many with a long name {i}' for i in range(300)]
    guesses = [(i, i if i % 10 else (i + 7) % 300) for i in range(300)]
    show(tmp_path, 'confusion', results_of(tmp_path / 'found.json', guesses, classes))
    first, _, *rows, _ = capsys.readouterr().out.splitlines()
    assert first.startswith('the 30 classes of the lowest F1; ') and first.endswith('has all 300')
    assert len(rows) == 30
    assert rows[0].startswith(f'{classes[0]}    1       -          0.0     0.0  {classes[7]} (1)')
    assert len((tmp_path / 'picture.csv').read_text().splitlines()) == 301


def test_the_worst_and_the_best_images_of_a_test(tmp_path):
    images = []
    for i, score in enumerate((0.9, 0.1)):
        path = tmp_path / f'{i}.png'
        cv2.imwrite(str(path), np.full((160, 200, 3), 90, np.uint8))
        box = [0, 40, 40, 160, 120]
        record = dict(truth=[box], found=[[*box, score]], ignored=[])
        images.append(dict(image=str(path), **record))
    file = tmp_path / 'found.json'
    file.write_text(json.dumps(dict(task='detection', classes=['disc'], images=images)))
    worst, best = (show(tmp_path, kind, str(file), '--limit', '1') for kind in ('worst', 'best'))
    green, yellow = RIGHT, MISSED
    assert share_of(worst, yellow) > 0.01 and share_of(worst, green) == 0
    assert share_of(best, green) > 0.01 and share_of(best, yellow) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['scan'], 'show scan needs --model'),
        (['scan', '--model', TOY.format('mambaout')], 'no selective scan'),
        (['cam', '--model', str(CONFIGS / 'det_mambaout_retinanet.py')], 'that of a classifier'),
        (['scan', '--model', TOY.format('vim'), '--image', 'none.png'], 'there is no image none'),
        (['browse', '--model', str(CONFIGS / 'seg_vim.py')], 'training data are not there'),
        (['curves'], 'name a work dir'),
        (['curves', 'no_such_log.json'], 'there is no log no_such_log.json'),
        (['curves', 'empty.json'], 'empty.json is empty'),
        (['curves', 'torn.json'], 'torn.json, line 2 is torn'),
        (['index', 'torn.json'], 'is no table'),
        (['index', 'head.csv'], 'head.csv is no table'),
        (['confusion'], 'show confusion takes one file, of mmvmamba test --out FILE.json'),
        (['worst', 'gone.json'], 'there is no file gone.json'),
        (['best', 'torn.json'], 'torn.json is no result file'),
        (['confusion', 'boxes.json'], 'that of a classification, not of detection'),
        (['index', '--out', 'x.pdf'], 'must end in .png'),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    (tmp_path / 'empty.json').write_text('')
    (tmp_path / 'head.csv').write_text('{"loss": 1}')
    image = dict(image='a.png', truth=[], found=[], ignored=[])
    boxes = dict(task='detection', classes=['disc'], images=[image])
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    (tmp_path / 'torn.json').write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        main(['show', *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
