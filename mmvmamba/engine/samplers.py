"""Batches that can be taken up anywhere, and whose augmentations depend on their place alone."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, DataLoader, Sampler

from .seeding import SAMPLE, seed_from, seed_generators

__all__ = ['ExactBatchSampler', 'SeededBatch', 'make_exact']


class SeededBatch:
    """The indices of a batch; handing one out fixes what the transforms of its sample will draw.

    A data loader takes the indices one by one and reads the sample of each before it takes the
    next, in a worker as in the main process. So the draws of a sample depend neither on the worker
    that reads it nor on the samples that were read before.

    Args:
        indices: Indices of samples.
        key: Numbers that tell this batch from all others.
    """

    def __init__(self, indices: list[int], key: tuple[int, ...]) -> None:
        self.indices, self.key = indices, key

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for slot, index in enumerate(self.indices):
            seed_generators(seed_from(*self.key, slot), devices=False)
            yield index


class ExactBatchSampler(Sampler[SeededBatch]):
    """Seeds the batches of another batch sampler, and begins with any of them.

    Batches that are passed over cost their indices only; no sample of them is read.

    Args:
        batch_sampler: Yields the batches of an epoch.
        steps: Batches in all, for which epoch follows epoch; None for one epoch.
    """

    def __init__(self, batch_sampler: BatchSampler, steps: int | None = None) -> None:
        self.batch_sampler = batch_sampler
        self.steps = steps
        self.seed = self.epoch = self.done = 0

    @property
    def sampler(self) -> Iterable[int]:
        """What the batches are made of; mmengine's hook sets its epoch."""
        return self.batch_sampler.sampler

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""
        return self.batch_sampler.batch_size

    def begin(self, seed: int, epoch: int, done: int) -> None:
        """Says what iterations over this sampler yield from now on.

        Args:
            seed: Seed of the run.
            epoch: Epoch to begin in.
            done: Batches to pass over.
        """
        self.seed, self.epoch, self.done = seed, epoch, done

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        return itertools.islice(self._batches(self.seed, self.epoch), self.done, self.steps)

    def _batches(self, seed: int, first_epoch: int) -> Iterator[SeededBatch]:
        for epoch in itertools.count(first_epoch):
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            number = -1
            for number, indices in enumerate(self.batch_sampler):
                yield SeededBatch(indices, (seed, get_rank(), SAMPLE, epoch, number))
            if self.steps is None:
                return
            if number < 0:
                raise ValueError(
                    f'the training data must fill a batch of {self.batch_size} on every process: '
                    'name more images or a smaller train_dataloader.batch_size'
                )


def make_exact(loader: DataLoader, steps: int | None = None) -> ExactBatchSampler:
    """Has a data loader that was not used yet take its batches from an ``ExactBatchSampler``.

    Args:
        loader: The data loader, changed in place.
        steps: As for the sampler.

    Returns:
        The sampler.

    Raises:
        ValueError: If the loader has no batch sampler, as for data that come as a stream.
    """
    if loader.batch_sampler is None:
        raise ValueError(
            'the training data must have indices and train_dataloader a batch_size; a data set '
            'that is a stream cannot be taken up where a run was stopped'
        )
    # Declared by PyTorch as any iterable, and built by mmengine as a BatchSampler.
    batch_sampler: Any = loader.batch_sampler
    sampler = ExactBatchSampler(batch_sampler, steps)
    # PyTorch refuses the plain assignment, which comes too late once batches were drawn. A loader
    # that is built anew around the sampler would lose its batch_size, which hooks read.
    object.__setattr__(loader, 'batch_sampler', sampler)
    return sampler
