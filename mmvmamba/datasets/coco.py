"""mmdet's COCO data set, with errors that name the file and the record."""

from collections import defaultdict
from pathlib import Path

import cv2
from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.fileio import get_local_path

from mmvmamba.registry import DATASETS

from .checks.faults import read_size
from .coco_annotations import check_annotations, read_annotations
from .errors import AnnotationError, SourceError

__all__ = ['CocoDataset']


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """Objects of COCO and of files in its form; arguments and samples are mmdet's.

    What mmdet leaves out of training is left out: annotations without an area inside their image
    and those of categories that are not among the classes. Crowds are ignored. All else that COCO's
    tools would trip over, and images that are not there, end in an error when the file is read.
    """

    def load_data_list(self) -> list[dict]:
        """Reads and checks the annotation file.

        Raises:
            AnnotationError: The file, the record and what is wrong with it.
            SourceError: An image is not there.
        """
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            content = read_annotations(Path(path).read_text(), self.ann_file)
        transforms = self.pipeline.transforms
        with_masks = any(getattr(step, 'with_mask', False) for step in transforms)
        check_annotations(content, self.ann_file, self.metainfo['classes'], with_masks)
        self._check_order(content['categories'])
        self._check_files(content['images'])
        # The base class reads the file through this attribute.
        self.COCOAPI = lambda _: _index(content)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI

    def prepare_data(self, idx: int) -> dict | None:
        """Runs the pipeline on a sample.

        Raises:
            SourceError: Its image cannot be read.
        """
        try:
            return super().prepare_data(idx)
        # What reading and decoding raise in mmengine, mmcv and OpenCV.
        except (OSError, AssertionError, cv2.error) as error:
            sample = self.get_data_info(idx)
            _, faults = read_size(sample['img_path'])
            if not faults:
                raise
            raise SourceError(f'{self._name(sample["img_id"])}: {faults[0]}') from error

    def _name(self, image_id: int) -> str:
        return f'{self.ann_file}: image {image_id}'

    def _check_order(self, categories: list[dict]) -> None:
        """mmdet counts the labels in the order of the file and names them in that of the config."""
        classes = list(self.metainfo['classes'])
        names = [item['name'] for item in categories if item['name'] in classes]
        if names != classes:
            raise AnnotationError(
                f'{self.ann_file} must have the categories in the order of the classes of the '
                f'config, {classes}, got {names}'
            )

    def _check_files(self, images: list[dict]) -> None:
        """Each folder is listed once: asking for every file is slow on a network."""
        folder = self.data_prefix.get('img') or ''
        if self.backend_args is not None or '://' in folder:
            return
        wanted = defaultdict(list)
        for image in images:
            if 'file_name' not in image:
                raise AnnotationError(f'{self._name(image["id"])} lacks file_name')
            path = Path(folder, image['file_name'])
            wanted[path.parent].append((path.name, image['id']))
        missing = []
        for parent, files in wanted.items():
            found = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
            missing += [(image_id, parent / name) for name, image_id in files if name not in found]
        if missing:
            image_id, path = missing[0]
            raise SourceError(
                f'{self._name(image_id)} is not there: {path}; {len(missing)} of {len(images)} '
                'images of the file are missing'
            )


def _index(content: dict) -> COCO:
    """What the base class makes of a file, without the lines that it prints."""
    coco = COCO()
    coco.dataset = content
    coco.anns = {item['id']: item for item in content.get('annotations', [])}
    coco.imgs = {item['id']: item for item in content['images']}
    coco.cats = {item['id']: item for item in content['categories']}
    for item in coco.anns.values():
        coco.imgToAnns[item['image_id']].append(item)
        coco.catToImgs[item['category_id']].append(item['image_id'])
    return coco
