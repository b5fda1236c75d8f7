import pytest
import torch


@pytest.fixture(autouse=True)
def fresh_memory_is_nan(monkeypatch):
    """Fills fresh memory with NaN, so that a kernel which forgets to write a cell fails."""
    for owner, name in ((torch, 'empty'), (torch, 'empty_like'), (torch.Tensor, 'new_empty')):
        allocate = getattr(owner, name)

        def filled(*args, _allocate=allocate, **kwargs):
            memory = _allocate(*args, **kwargs)
            return memory.fill_(float('nan')) if memory.is_floating_point() else memory

        monkeypatch.setattr(owner, name, filled)
