"""MESA: a classifier learns from the average of its own weights, https://arxiv.org/abs/2205.14083.

This module imports mmpretrain; configs that use it name it in ``custom_imports``.
"""

import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmvmamba.registry import MODELS

__all__ = ['MesaClassifier']

# Of the official training code: its weights are given relative to this one.
SCALE = 50.0
TEMPERATURE = 3.0


@MODELS.register_module()
class MesaClassifier(ImageClassifier):
    """An ``ImageClassifier`` with a second loss: to be close to a teacher.

    ``MesaEMAHook`` sets the teacher.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck.
        head: Config of the head.
        mesa_weight: Weight of the second loss.
        train_cfg: Training settings, such as batch augmentations.
        data_preprocessor: Config of the preprocessor.
        init_cfg: Initialisation config of mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        mesa_weight: float = 1.0,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone,
            neck,
            head,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.mesa_weight = mesa_weight
        # In a tuple, so that the teacher is no submodule and has no keys in checkpoints.
        self._teacher: tuple[nn.Module, ...] = ()

    def set_teacher(self, teacher: nn.Module | None) -> None:
        self._teacher = () if teacher is None else (teacher,)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        if not self._teacher:
            return super().loss(inputs, data_samples)
        features = self.extract_feat(inputs)
        losses = self.head.loss(features, data_samples)
        losses['loss_mesa'] = self.mesa_loss(inputs, self.head(features))
        return losses

    def mesa_loss(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Divergence of the softened predictions from the teacher's on the same, mixed images."""
        teacher = self._teacher[0]
        was_training = teacher.training
        teacher.eval()
        with torch.no_grad():
            target = F.softmax(teacher(inputs, mode='tensor') / TEMPERATURE, dim=-1)
        teacher.train(was_training)
        prediction = F.log_softmax(logits / TEMPERATURE, dim=-1)
        divergence = F.kl_div(prediction, target, reduction='batchmean')
        return SCALE * self.mesa_weight * divergence
