import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmpretrain.datasets.samplers import RepeatAugSampler
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from mmvmamba.engine.samplers import ExactBatchSampler, SeededBatch, make_exact


class Drawing(torch.utils.data.Dataset):
    """Samples of an index and a number from each generator that transforms draw from."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def loader(sampler=DefaultSampler, steps=None, **settings):
    data = Drawing()
    settings = {'batch_size': 4, 'sampler': sampler(data, seed=1), 'collate_fn': list, **settings}
    made = DataLoader(data, **settings)
    return made, make_exact(made, steps)


def epoch(seed=5, number=0, done=0, **settings):
    """The batches of an epoch, or of as many steps as there are to be."""
    made, sampler = loader(**settings)
    sampler.begin(seed, number, done)
    return list(made)


@pytest.mark.parametrize('sampler', [DefaultSampler, RepeatAugSampler])
@pytest.mark.parametrize('done', [1, 2, 3])
def test_an_epoch_begins_with_any_batch(sampler, done):
    assert epoch(sampler=sampler, done=done) == epoch(sampler=sampler)[done:]


def test_a_sample_that_is_repeated_is_augmented_anew():
    samples = [sample for batch in epoch(sampler=RepeatAugSampler) for sample in batch]
    assert len({sample[0] for sample in samples}) < len(samples)
    assert len({sample[1] for sample in samples}) == len(samples)


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize('done', [2, 3, 7])
def test_steps_begin_with_any_batch(sampler, done):
    whole = epoch(sampler=sampler, steps=11)
    assert len(whole) == 11
    assert epoch(sampler=sampler, steps=11, done=done) == whole[done:]


def test_steps_run_through_the_epochs():
    assert epoch(steps=6) == epoch() + epoch(number=1)
    first, second = ([sample[0] for batch in epoch(number=n) for sample in batch] for n in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize('change', [dict(seed=6), dict(number=1)], ids=str)
def test_draws_depend_on_seed_and_epoch(change):
    def draws(**settings):
        return {draw for batch in epoch(**settings) for sample in batch for draw in sample[1:]}

    assert len(draws()) == 30, 'every draw is new'
    assert not draws() & draws(**change)


def test_draws_depend_on_the_process(monkeypatch):
    one = epoch()
    monkeypatch.setattr('mmvmamba.engine.samplers.get_rank', lambda: 1)
    for batch, other in zip(one, epoch(), strict=True):
        assert [sample[0] for sample in batch] == [sample[0] for sample in other]
        assert all(a[1:] != b[1:] for a, b in zip(batch, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2, 4])
@pytest.mark.parametrize('persistent', [False, True])
def test_draws_do_not_depend_on_workers(workers, persistent):
    made, sampler = loader(num_workers=workers, persistent_workers=persistent)
    for number in (0, 1):
        sampler.begin(5, number, 1)
        assert list(made) == epoch(number=number, done=1)


def test_what_is_passed_over_is_not_read(monkeypatch):
    read = []
    monkeypatch.setattr(Drawing, '__getitem__', lambda self, index: read.append(index))
    epoch(done=2)
    assert len(read) == 2


def test_sending_a_batch_to_a_worker_draws_nothing():
    torch.manual_seed(0)
    random.seed(0)
    expected = random.getstate()
    sent = pickle.loads(pickle.dumps(SeededBatch([3, 1], (5, 0))))
    assert (sent.indices, sent.key, len(sent)) == ([3, 1], (5, 0), 2)
    assert random.getstate() == expected


def test_the_loader_keeps_what_hooks_read():
    made, sampler = loader()
    assert made.batch_size == sampler.batch_size == 4
    assert made.sampler is sampler.sampler
    assert len(made) == len(sampler) == 3


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield 1

    with pytest.raises(ValueError, match='a data set that is a stream cannot be taken up'):
        make_exact(DataLoader(Stream(), batch_size=None))


def test_data_that_fill_no_batch_end_a_run_by_steps():
    batches = BatchSampler(DefaultSampler(range(3)), batch_size=4, drop_last=True)
    with pytest.raises(ValueError, match='the training data must fill a batch of 4'):
        next(iter(ExactBatchSampler(batches, steps=2)))
