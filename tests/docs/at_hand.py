"""What a reader has at hand as a page begins: photographs, a video, files of weights.

The weights are random ones in the places of official ones, so that nothing is downloaded.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from mmvmamba.apis import find_model, get_model
from mmvmamba.apis.task_models import TASK_WEIGHTS

SIZE = (96, 128)
# The model whose weights a file is said to hold.
WEIGHTS = {
    'l1_1x.pth': 'l1_maskrcnn_1x',
    'l1_upernet.pth': 'l1_upernet',
    'mambaout_femto.pth': 'mambaout_femto',
    'mambaout_tiny.pth': 'mambaout_tiny',
    'retinanet.pth': 'l1_retinanet_1x',
    'vim_tiny.pth': 'vim_tiny',
    'work_dirs/l1_maskrcnn_1x/epoch_12.pth': 'l1_maskrcnn_1x',
}
HUB_FILE = ('hustvl/Vim-tiny-midclstok', 'vim_t_midclstok_76p1acc.pth')
COMMIT = '0' * 40


def put(path: Path, name: str) -> None:
    """Makes the file of a name that a page uses.

    Args:
        path: Where it goes.
        name: The name, of a picture, a video, or one of ``WEIGHTS``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if name in WEIGHTS:
        save_weights(path, WEIGHTS[name])
    elif path.suffix == '.mp4':
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, SIZE[::-1])
        for frame in range(2):
            writer.write(photograph(frame))
        writer.release()
    else:
        assert cv2.imwrite(str(path), photograph(0))


def photograph(seed: int) -> np.ndarray:
    """Blurred noise: an image that is neither flat nor larger than it need be."""
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def save_weights(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save(get_model(name).state_dict(), path)


def put_downloads(torch_home: Path, hub_cache: Path, names: tuple[str, ...]) -> None:
    """Fills the caches of downloads with what pages ask for by name or from the hub."""
    for name in names:
        address = TASK_WEIGHTS.get(name) or find_model(name).weights
        save_weights(torch_home / 'hub/checkpoints/mmvmamba' / address.partition('://')[2], name)
    repository, file = HUB_FILE
    folder = hub_cache / f'models--{repository.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs/main').write_text(COMMIT)
    save_weights(folder / 'snapshots' / COMMIT / file, 'vim_tiny')
