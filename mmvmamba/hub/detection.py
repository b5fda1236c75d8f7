"""mmdet's inferencer with our models."""

from mmvmamba.compat import require

from .named_models import NamedModels

require('mmdet')

from mmdet import apis  # noqa: E402  require says in one sentence what is missing

__all__ = ['DetInferencer']


class DetInferencer(NamedModels, apis.DetInferencer):
    """mmdet's ``DetInferencer`` that takes our names and loads our models strictly.

    The arguments are those of mmdet's. ``model`` is a name of ``mmvmamba.list_models``, one of
    mmdet, a config or the path of one; ``weights`` may be left out where there are official ones.
    """

    task = 'detection'
    toolbox = 'mmdet'
