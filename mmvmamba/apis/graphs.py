"""Evaluation on a GPU by CUDA graphs: all kernels of a forward pass in one launch."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mmvmamba.layers.evaluation import held_by_graph

__all__ = ['GraphedModel', 'graphed']

# Runs before a capture: kernels are compiled and tuned, libraries choose their algorithms.
WARMUPS = 3


class _Graph(NamedTuple):
    """A captured forward pass: where it reads images, where it writes, and what runs it."""

    images: Tensor
    outputs: Any
    replay: Callable[[], object]
    held: list[object]  # what else the kernels read, which must not be freed


class GraphedModel(nn.Module):
    """A model whose evaluation is replayed from CUDA graphs; see ``graphed``."""

    def __init__(self, model: nn.Module, most: int = 8) -> None:
        super().__init__()
        if most < 1:
            raise ValueError(f'most must be at least 1, got {most}')
        self.model = model
        self.most = most
        self.forget()

    def forward(self, images: Tensor) -> Any:
        if not images.is_cuda:
            raise ValueError(
                f'a CUDA graph takes images on a GPU, got a tensor on {images.device}; '
                'move it there, or call the model itself'
            )
        if torch.is_grad_enabled() or self.model.training:
            return self.model(images)
        graph = self._graph_for(images)
        graph.images.copy_(images)
        graph.replay()
        # The next replay writes into the same memory.
        return pytree.tree_map_only(Tensor, Tensor.clone, graph.outputs)

    def forget(self) -> None:
        """Drops all graphs, with the memory that they hold; due after weights were exchanged."""
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._weights = (*self.model.parameters(), *self.model.buffers())
        self._versions: list[int] = []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'GraphedModel':
        # Moved or cast weights lie elsewhere.
        super()._apply(fn, recurse)
        self.forget()
        return self

    def _graph_for(self, images: Tensor) -> _Graph:
        versions = [x._version for x in self._weights if not x.is_inference()]
        if versions != self._versions:
            self.forget()
            self._versions = versions
        autocast = torch.is_autocast_enabled('cuda') and torch.get_autocast_dtype('cuda')
        key = (images.shape, images.stride(), images.dtype, images.device, autocast)
        if key not in self._graphs:
            self._graphs[key] = _capture(self.model, images)
            if len(self._graphs) > self.most:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def __reduce__(self) -> tuple[type, tuple[nn.Module, int]]:
        # Graphs belong to a process and a device.
        return GraphedModel, (self.model, self.most)


def _capture(model: nn.Module, images: Tensor) -> _Graph:
    with torch.inference_mode(False), torch.no_grad():
        own = torch.empty_like(images).copy_(images)
    # Autocast's own store of cast weights would be filled inside of the graph and read outside.
    amp = torch.autocast(
        'cuda', torch.get_autocast_dtype('cuda'), torch.is_autocast_enabled('cuda'), False
    )
    current, beside = torch.cuda.current_stream(images.device), torch.cuda.Stream(images.device)
    beside.wait_stream(current)
    with torch.cuda.stream(beside), amp:
        for _ in range(WARMUPS):
            model(own)
    current.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with held_by_graph() as held, torch.cuda.graph(graph), amp:
        outputs = model(own)
    return _Graph(own, outputs, graph.replay, held)


def graphed(model: nn.Module, most: int = 8) -> GraphedModel:
    """Wraps a model on a GPU, so that the host launches a whole forward pass at once.

    For small batches a GPU waits for the host, which launches hundreds of kernels one by one; a
    CUDA graph is one launch. The first images of each shape and precision cost a capture. Weights
    may change in place, as by loading: the graphs are captured anew. With gradients, or in training
    mode, the model itself runs.

    Args:
        model: A classifier, backbone or other network from images to tensors, whose forward pass
            does not wait for values on the GPU (detectors do, where they choose boxes).
        most: Graphs that are kept, each with memory of its own; the oldest goes.

    Example:
        model = mmvmamba.graphed(mmvmamba.get_model('vim_tiny').eval().cuda())
        with torch.inference_mode(), torch.autocast('cuda', torch.bfloat16):
            logits = model(images)
    """
    return GraphedModel(model, most)
