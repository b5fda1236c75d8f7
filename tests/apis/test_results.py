"""What a test found: judged, counted, ranked and drawn."""

import json

import cv2
import numpy as np
import pytest

from mmvmamba.apis.results import Results, class_rows, draw_ranked, judge, read_results
from mmvmamba.visualization.results import MISSED, RIGHT, WRONG

CLASSES = ['disc', 'square', 'star']
DISC, SQUARE = [0, 10, 10, 50, 50], [1, 60, 10, 90, 40]


def boxes(truth=(), found=(), ignored=(), image='a.png'):
    return dict(image=str(image), truth=list(truth), found=list(found), ignored=list(ignored))


def guess(truth, *labels, score=0.9, image='a.png'):
    scores = [score, *(0.01 for _ in labels[1:])]
    return dict(image=str(image), truth=truth, labels=list(labels), scores=scores)


def test_boxes_are_right_wrong_or_missing():
    near, elsewhere, faint = [0, 12, 12, 50, 50, 0.8], [0, 80, 60, 99, 99, 0.9], [*SQUARE, 0.29]
    found = judge(boxes([DISC, SQUARE], [elsewhere, near, faint]))
    assert (found.right, found.wrong, found.missed) == ([near], [elsewhere], [SQUARE])
    assert found.f1 == 0.5


@pytest.mark.parametrize(
    ('box', 'counts'),
    [
        ([1, *DISC[1:], 0.9], (0, 1, 1)),
        ([0, 10, 10, 50, 30, 0.9], (1, 0, 0)),
        ([0, 10, 10, 50, 29, 0.9], (0, 1, 1)),
    ],
    ids=['another class', 'half of it', 'less than half'],
)
def test_a_box_finds_its_class_from_half_of_it_on(box, counts):
    found = judge(boxes([DISC], [box]))
    assert (len(found.right), len(found.wrong), len(found.missed)) == counts


def test_an_object_is_found_once_and_by_the_surest_box():
    sure, second = [*DISC, 0.9], [*DISC, 0.8]
    found = judge(boxes([DISC], [second, sure]))
    assert (found.right, found.wrong) == ([sure], [second])


def test_a_box_in_a_crowd_does_not_count():
    found = judge(boxes([DISC], [[2, 60, 60, 80, 80, 0.9]], ignored=[[70, 50, 99, 99]]))
    assert (found.right, found.wrong, found.missed) == ([], [], [DISC])


def test_figures_of_each_class():
    matrix = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    disc, square, star = class_rows(matrix, CLASSES)
    assert list(disc.values()) == ['disc', 4, 1.0, 0.75, 0.8571, 'square (1)']
    assert list(square.values()) == ['square', 2, 0.6667, 1.0, 0.8, '']
    assert list(star.values()) == ['star', 0, None, None, None, '']


def test_a_confusion_matrix_has_the_true_class_in_its_rows():
    images = [guess(0, 0, 1), guess(0, 1, 0), guess(1, 1), guess(0, 0)]
    matrix = Results('classification', CLASSES, images).confusion()
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match='that of a classification, not of detection'):
        Results('detection', CLASSES, [boxes()]).confusion()


def test_the_worst_detections_come_first():
    full = boxes([DISC, SQUARE], [[*DISC, 0.9], [*SQUARE, 0.9]], image='full')
    half = boxes([DISC, SQUARE], [[*DISC, 0.9]], image='half')
    lost = boxes([DISC, SQUARE], image='lost')
    empty = boxes(image='empty')
    results = Results('detection', CLASSES, [full, empty, half, lost])
    assert [item['image'] for item in results.ranked(3)] == ['lost', 'half', 'empty']
    assert [item['image'] for item in results.ranked(4, best=True)][::3] == ['full', 'empty']


def test_the_worst_classification_is_the_surest_mistake():
    images = [guess(0, 0, score=0.9), guess(0, 1, score=0.6), guess(0, 1, score=0.8)]
    ranked = Results('classification', CLASSES, images).ranked(3)
    assert [images.index(item) for item in ranked] == [2, 1, 0]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'scene.png'
    cv2.imwrite(str(path), np.full((160, 240, 3), 90, np.uint8))
    return path


def test_what_is_right_is_green_what_is_wrong_red_and_what_is_missed_yellow(image):
    wrong = [2, 120, 80, 200, 140, 0.7]
    record = boxes([DISC, SQUARE], [[*DISC, 0.9], wrong], image=image)
    picture = draw_ranked(Results('detection', CLASSES, [record]))
    # Twice as large, below a title of 26 pixels; the lower edges, which no name covers.
    for box, colour in ((DISC, RIGHT), (wrong, WRONG), (SQUARE, MISSED)):
        x, y = (box[1] + box[3]), 2 * box[4] + 26
        assert tuple(picture[y, x]) == colour


def test_images_of_any_shape_stand_in_rows(tmp_path):
    records = []
    for i, size in enumerate([(40, 60), (700, 90), (90, 700), (64, 64), (30, 30)]):
        path = tmp_path / f'{i}.png'
        cv2.imwrite(str(path), np.full((*size, 3), 200, np.uint8))
        records.append(guess(i % 2, 0, 1, 2, image=path))
    rows = [draw_ranked(Results('classification', CLASSES, records[:n])) for n in (1, 4, 5)]
    assert [len(picture) // len(rows[0]) for picture in rows] == [1, 1, 2]
    # A narrow one leaves room for its title.
    narrow = draw_ranked(Results('classification', CLASSES, records[1:2]))
    assert narrow.shape[1] >= 290


@pytest.mark.parametrize(
    ('name', 'message'), [('gone.png', 'is not there any more'), ('no.png', 'cannot be decoded')]
)
def test_an_image_that_is_gone_is_named(name, message, tmp_path):
    (tmp_path / 'no.png').write_text('no image')
    results = Results('detection', CLASSES, [boxes(image=tmp_path / name)])
    with pytest.raises(ValueError, match=f'{name} {message}'):
        draw_ranked(results)


SOUND = dict(task='detection', classes=CLASSES, images=[boxes([DISC], [[*DISC, 0.9]])])


@pytest.mark.parametrize(
    'content',
    [
        '',
        '[]',
        '{"images": []',
        json.dumps({**SOUND, 'task': 'classification'}),
        json.dumps({**SOUND, 'task': 'segmentation'}),
        json.dumps({**SOUND, 'classes': []}),
        json.dumps({**SOUND, 'images': [boxes([DISC], [DISC])]}),
        json.dumps({**SOUND, 'images': [dict(image='a.png')]}),
        json.dumps(dict(SOUND, task='classification', images=[guess(0, 3)])),
        json.dumps(dict(SOUND, task='classification', images=[guess(-1, 0)])),
        json.dumps(dict(SOUND, task='classification', images=[dict(guess(0), scores=[])])),
    ],
)
def test_what_is_no_result_file_is_refused(content, tmp_path):
    path = tmp_path / 'found.json'
    path.write_text(json.dumps(SOUND))
    assert read_results(path) == Results(**SOUND)
    path.write_text(content)
    with pytest.raises(ValueError, match=r'found\.json is no result file: mmvmamba test'):
        read_results(path)


def test_a_file_that_is_missing_or_has_no_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'there is no file .*gone\.json'):
        read_results(tmp_path / 'gone.json')
    (tmp_path / 'none.json').write_text(json.dumps({**SOUND, 'images': []}))
    with pytest.raises(ValueError, match=r'none\.json has the results of no image'):
        read_results(tmp_path / 'none.json')
