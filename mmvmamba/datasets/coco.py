"""mmdet's COCO data set, with errors that name the file and the record."""

import logging

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from mmvmamba.registry import DATASETS

from .checked_loading import check_loading
from .coco_annotations import check_annotations, missing_images, read_annotations
from .errors import SourceError

__all__ = ['CocoDataset', 'local_image_folder', 'needs_masks']


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """Objects of COCO and of files in its form; arguments and samples are mmdet's.

    What mmdet leaves out of training is left out: annotations without an area inside their image
    and those of categories that are not among the classes. Crowds are ignored. All else that COCO's
    tools would trip over, and images that are not there, end in an error when the file is read.
    """

    def full_init(self) -> None:
        """Reads the annotations, and has every image checked when it is loaded."""
        check_loading(self)
        super().full_init()

    def load_data_list(self) -> list[dict]:
        """Reads and checks the annotation file.

        Raises:
            AnnotationError: The file, the record and what is wrong with it.
            SourceError: An image is not there.
        """
        content = read_annotations(self.ann_file, self.backend_args)
        notes = check_annotations(
            content,
            self.ann_file,
            self.metainfo['classes'],
            with_masks=needs_masks(self),
            with_files=True,
        )
        folder = local_image_folder(self)
        images = content['images']
        missing = {} if folder is None else missing_images(images, self.ann_file, folder)
        for fault in missing.values():
            raise SourceError(
                f'{fault}; {len(missing)} of {len(images)} images of the file are missing'
            )
        if notes:
            more = f' (and {len(notes) - 1} more notes)' if len(notes) > 1 else ''
            print_log(f'{notes[0]}{more}', 'current', logging.WARNING)
        # The base class reads the file through this attribute.
        self.COCOAPI = lambda _: _index(content)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI


def needs_masks(dataset: MMDetCocoDataset) -> bool:
    """Whether the pipeline of a data set loads masks."""
    return any(getattr(step, 'with_mask', False) for step in dataset.pipeline.transforms)


def local_image_folder(dataset: MMDetCocoDataset) -> str | None:
    """The folder of the images, or None if it is not one of this machine."""
    folder = dataset.data_prefix.get('img') or ''
    return None if dataset.backend_args is not None or '://' in folder else folder


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
