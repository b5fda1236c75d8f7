"""Mixed precision that takes no step from numbers that are not finite."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from mmvmamba.registry import OPTIM_WRAPPERS

from .sharded import local_part

__all__ = ['FiniteAmpOptimWrapper']

DTYPES = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}


@OPTIM_WRAPPERS.register_module()
class FiniteAmpOptimWrapper(OptimWrapper):
    """An optimizer wrapper that skips a step whose loss or gradients are not finite.

    Such a step changes neither weights nor optimizer state nor the statistics of BatchNorm layers,
    which the forward pass has already updated; it is logged and counted, and too many in a row end
    the run instead of wasting it. All processes skip together. Unlike mmengine's
    wrapper for mixed precision it also works on the CPU.

    Args:
        optimizer: the optimizer.
        dtype: 'bfloat16', 'float16' (with dynamic loss scaling), 'float32', or one that looks at
            the device: 'auto' takes bfloat16 on a GPU that has it and float16 on another,
            'auto_float16' float16 on any GPU, and both float32 on the CPU. Detectors with regions
            need the latter: mmdet casts corners to the type of the features, and bfloat16 rounds
            them to 8 pixels above 1024.
        max_skips_in_a_row: this many skipped steps without a good one between them end the run.
            A loss scale that is much too high needs up to 16 steps to come down.
        init_scale: first loss scale of float16.
        accumulative_counts: batches whose gradients make one step.
        clip_grad: options of gradient clipping, as mmengine's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'auto',
        max_skips_in_a_row: int = 20,
        init_scale: float = 2.0**16,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ):
        super().__init__(optimizer, accumulative_counts, clip_grad)
        choices = [*DTYPES, 'auto', 'auto_float16']
        if dtype not in choices:
            raise ValueError(f'dtype must be one of {choices}, got {dtype!r}')
        if max_skips_in_a_row < 1:
            raise ValueError(f'max_skips_in_a_row must be at least 1, got {max_skips_in_a_row}')
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.dtype = DTYPES.get(dtype) or _best_dtype(self.device_type, dtype == 'auto')
        self.max_skips_in_a_row = max_skips_in_a_row
        self.skipped = 0
        self.skipped_in_a_row = 0
        self._loss_is_finite: Tensor | None = None
        # Buffers of the norms, and their values before the step that is being computed.
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self.scaler = torch.amp.GradScaler(
            self.device_type, init_scale=init_scale, enabled=self.dtype == torch.float16
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in ``dtype``."""
        if not self._statistics:
            norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
            self._statistics = [(b, b.clone()) for norm in norms for b in norm.buffers()]
        enabled = self.dtype != torch.float32
        with (
            super().optim_context(model),
            torch.autocast(self.device_type, self.dtype if enabled else None, enabled=enabled),
        ):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Back-propagate; a loss that is not finite is remembered, for all processes must go on."""
        finite = torch.isfinite(loss.detach()).all()
        seen = self._loss_is_finite
        self._loss_is_finite = finite if seen is None else seen & finite
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        """Take the step if everything is finite, else skip it.

        Raises:
            FloatingPointError: after ``max_skips_in_a_row`` skipped steps without a good one.
        """
        self.scaler.unscale_(self.optimizer)
        if self._all_finite():
            if self.clip_grad_kwargs:
                self._clip_grad()
            self.scaler.step(self.optimizer, **kwargs)
            self.skipped_in_a_row = 0
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
            for buffer, before in self._statistics:
                buffer.copy_(before)
        self._statistics = []
        self.scaler.update()
        if self.skipped_in_a_row:
            self._report()

    def state_dict(self) -> dict:
        """The optimizer's state, the loss scale and the number of skipped steps."""
        state = super().state_dict()
        state['loss_scaler'] = self.scaler.state_dict()
        state['skipped_steps'] = self.skipped
        state['skipped_in_a_row'] = self.skipped_in_a_row
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up the state of this wrapper, or of another that lacks the loss scale."""
        state = dict(state_dict)
        scaler = state.pop('loss_scaler', None)
        self.skipped = state.pop('skipped_steps', 0)
        self.skipped_in_a_row = state.pop('skipped_in_a_row', 0)
        if scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state)

    def _all_finite(self) -> bool:
        """Whether losses and gradients of all processes are finite; exchanges one number."""
        grads = [
            local_part(parameter.grad)
            for group in self.optimizer.param_groups
            for parameter in group['params']
            # A process may have none of a small parameter that is spread over many.
            if parameter.grad is not None and local_part(parameter.grad).numel()
        ]
        finite = self._loss_is_finite
        if finite is None:
            raise RuntimeError('a step needs a backward before it')
        device = grads[0].device if grads else finite.device
        finite = finite.to(device)
        # A norm in float32 overflows where every entry is still finite.
        sums = [torch.isfinite(norm) for norm in torch._foreach_norm(grads, float('inf'))]
        finite = torch.stack([finite, *(flag.to(device) for flag in sums)]).all().float()
        self._loss_is_finite = None
        all_reduce(finite, 'min')
        return bool(finite.item())

    def _report(self) -> None:
        scale = f', loss scale now {self.scaler.get_scale():g}' if self.scaler.is_enabled() else ''
        text = (
            f'a loss or gradients were not finite in {str(self.dtype).removeprefix("torch.")}: '
            f'step skipped ({self.skipped_in_a_row} in a row, {self.skipped} in all{scale})'
        )
        MMLogger.get_current_instance().warning(text)
        if self.skipped_in_a_row >= self.max_skips_in_a_row:
            raise FloatingPointError(
                f'{self.skipped_in_a_row} steps in a row had a loss or gradients that are not '
                'finite; go on from an earlier checkpoint with a lower learning rate, with '
                "clip_grad, or with dtype='float32'"
            )


def _best_dtype(device_type: str, allow_bfloat16: bool) -> torch.dtype:
    if device_type != 'cuda':
        return torch.float32
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if allow_bfloat16 and has_bfloat16 else torch.float16
