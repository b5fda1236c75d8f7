"""Registers our classes with transformers' Auto classes, once somebody imports those."""

import inspect
import types
from typing import Any

from mmvmamba.compat.late_import import when_imported

__all__ = ['follow_transformers']

AUTO_CLASSES = 'transformers.models.auto.modeling_auto'
# Older ones prefer a folder's remote code to registered classes, where one trusts it.
OLDEST = (5, 5)


def follow_transformers() -> None:
    """Has ``AutoModel`` and its like know our models; imports nothing, may be repeated."""
    when_imported(AUTO_CLASSES, _register)


def _register(module: types.ModuleType) -> None:
    import transformers

    if tuple(map(int, transformers.__version__.split('.')[:2])) < OLDEST:
        return
    from mmvmamba.checkpoint import FAMILIES

    from . import transformers_models as models
    from .transformers_images import VisionMambaImageProcessor

    official = [family.hub.model_type for family in FAMILIES.values() if family.hub]
    config_class: Any
    for config_class in (models.VisionMambaConfig, *map(models.official_config, official)):
        transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        for auto, model in (
            (module.AutoModel, models.VisionMambaModel),
            (module.AutoModelForImageClassification, models.VisionMambaForImageClassification),
            (module.AutoBackbone, models.VisionMambaBackbone),
        ):
            auto.register(config_class, model, exist_ok=True)
        processors = _processors(transformers.AutoImageProcessor, VisionMambaImageProcessor)
        transformers.AutoImageProcessor.register(config_class, **processors, exist_ok=True)


def _processors(auto: Any, processor: type) -> dict[str, Any]:
    if 'image_processor_classes' not in inspect.signature(auto.register).parameters:
        return dict(slow_image_processor_class=processor)
    # Newer ones ask for torchvision's and say that it is missing; the same one serves for both.
    return dict(image_processor_classes=dict(pil=processor, torchvision=processor))
