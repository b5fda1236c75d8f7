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

# Of MambaVision's training: its weights are given relative to this one.
SCALE = 50.0
TEMPERATURE = 3.0

FORMS = ('divergence', 'cross_entropy')


@MODELS.register_module()
class MesaClassifier(ImageClassifier):
    """An ``ImageClassifier`` with a second loss: to be close to a teacher.

    ``MesaEMAHook`` sets the teacher.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck.
        head: Config of the head.
        mesa_weight: Weight of the second loss.
        mesa_loss: 'divergence' from the teacher's softened predictions, as MambaVision was trained;
            or 'cross_entropy' with its predictions as they are, as Spatial-Mamba and MILA were.
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
        mesa_loss: str = 'divergence',
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
        if mesa_loss not in FORMS:
            raise ValueError(f'mesa_loss must be one of {FORMS}, got {mesa_loss!r}')
        self.mesa_weight, self.mesa_form = mesa_weight, mesa_loss
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
        """How far the predictions are from the teacher's on the same, mixed images."""
        teacher = self._teacher[0]
        was_training = teacher.training
        teacher.eval()
        with torch.no_grad():
            target = teacher(inputs, mode='tensor')
        teacher.train(was_training)
        if self.mesa_form == 'cross_entropy':
            return self.mesa_weight * F.cross_entropy(logits, target.softmax(dim=-1))
        return SCALE * self.mesa_weight * _softened_divergence(logits, target)


def _softened_divergence(logits: Tensor, target: Tensor) -> Tensor:
    prediction = F.log_softmax(logits / TEMPERATURE, dim=-1)
    return F.kl_div(prediction, F.softmax(target / TEMPERATURE, dim=-1), reduction='batchmean')
