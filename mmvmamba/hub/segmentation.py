"""mmseg's inferencer with our models."""

from mmvmamba.compat import require

from .named_models import NamedModels

require('mmseg')

from mmseg import apis  # noqa: E402  require says in one sentence what is missing

__all__ = ['MMSegInferencer']


class MMSegInferencer(NamedModels, apis.MMSegInferencer):
    """mmseg's ``MMSegInferencer`` that takes our names and loads our models strictly.

    The arguments are those of mmseg's. ``model`` is a name of ``mmvmamba.list_models``, one of
    mmseg, a config or the path of one; ``weights`` may be left out where there are official ones.
    Pictures show the classes of the model unless others are given; mmseg takes Cityscapes'.
    """

    task = 'segmentation'
    toolbox = 'mmseg'

    def __init__(
        self,
        model: str | dict,
        weights: str | None = None,
        classes: list[str] | None = None,
        palette: list | None = None,
        dataset_name: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(model, weights, **kwargs)
        if dataset_name is None:
            classes = classes or self.model.dataset_meta.get('classes')
            palette = palette or self.model.dataset_meta.get('palette')
        self.visualizer.set_dataset_meta(classes, palette, dataset_name)
