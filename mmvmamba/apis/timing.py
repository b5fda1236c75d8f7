"""How long a model takes and how much memory: warmed up, synchronised, with the spread."""

import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

__all__ = [
    'Run',
    'Timing',
    'TimingSettings',
    'measure',
    'median',
    'peak_memory',
    'show_spread',
    'spread',
    'synchronize',
    'tensors_in',
    'time_model',
]

Run = Callable[[], object]


def synchronize(device: torch.device | str) -> None:
    """Waits for what was launched on a GPU."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize()


def measure(run: Run, device: torch.device | str = 'cpu') -> float:
    """Seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def median(times: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(times)


def spread(times: Sequence[float]) -> float:
    """Distance of the quartiles, relative to the median."""
    lower, middle, upper = statistics.quantiles(times, n=4)
    return (upper - lower) / middle


def show_spread(times: Sequence[float]) -> str:
    """The spread in percent, for a table."""
    return f'{spread(times):.0%}' if len(times) > 1 else 'one run'


def peak_memory(run: Run, device: torch.device | str = 'cpu') -> float:
    """MiB that one call allocates at most beyond what is there before it."""
    if torch.device(device).type == 'cuda':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Without a GPU the profiler would write an error to the terminal.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    with warnings.catch_warnings():
        # That events are cleared behind the pass, which is the only one.
        warnings.simplefilter('ignore', UserWarning)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorder:
            run()
    events = recorder.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]']
    return max(accumulate(size for _, size in sorted(changes)), default=0) / 2**20


@dataclass(frozen=True)
class TimingSettings:
    """How a model is run.

    Args:
        batch_size: Images at once.
        shape: Height and width.
        device: Where.
        dtype: 'float32', or the type of autocast: weights stay float32.
        channels_last: Whether weights and images are laid out so.
        compiled: Whether torch compiles the model first.
        train: Whether a pass is one forward and one backward, in training mode.
        plain_attention: Whether attention writes its whole map down, as it did before torch had a
            fused one.
        warmups: Passes that do not count.
        least: Passes at least.
        seconds: Goes on until all passes took this long.
    """

    batch_size: int = 1
    shape: tuple[int, int] = (224, 224)
    device: str = 'cpu'
    dtype: str = 'float32'
    channels_last: bool = False
    compiled: bool = False
    train: bool = False
    plain_attention: bool = False
    warmups: int = 2
    least: int = 5
    seconds: float = 2.0


@dataclass(frozen=True)
class Timing:
    """What was measured of one model.

    Args:
        name: Of the model.
        settings: How it was run.
        times: Seconds of each pass; empty if the memory did not suffice.
        memory: MiB that a pass allocates at most.
    """

    name: str
    settings: TimingSettings
    times: tuple[float, ...] = ()
    memory: float = float('nan')

    @property
    def images_per_second(self) -> float:
        """Of the median pass."""
        return self.settings.batch_size / median(self.times)


def time_model(name: str, model: nn.Module, settings: TimingSettings) -> Timing:
    """Runs a model on random images.

    Args:
        name: What the result is called.
        model: It takes images and gives tensors, in lists and dicts of any depth.
        settings: How it is run.

    Raises:
        ValueError: The model does not take such images.
    """
    height, width = settings.shape
    try:
        model = _prepared(model, settings)
        images = torch.randn(settings.batch_size, 3, height, width, device=settings.device)
        if settings.channels_last:
            images = images.to(memory_format=torch.channels_last)
        with _run_of(model, images, settings) as run:
            for _ in range(settings.warmups):
                run()
            memory = peak_memory(run, settings.device)
            times = [measure(run, settings.device) for _ in range(settings.least)]
            while sum(times) < settings.seconds:
                times.append(measure(run, settings.device))
    except RuntimeError as error:
        # On a CPU it is no class of its own.
        if 'memory' not in str(error):
            raise ValueError(f'{name} at {height} x {width}: {error}') from error
        return Timing(name, settings)
    return Timing(name, settings, tuple(times), memory)


def _prepared(model: nn.Module, settings: TimingSettings) -> nn.Module:
    model = model.train(settings.train).to(settings.device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.compiled:
        model.compile()
    return model


@contextmanager
def _run_of(model: nn.Module, images: Tensor, settings: TimingSettings) -> Iterator[Run]:
    dtype = None if settings.dtype == 'float32' else getattr(torch, settings.dtype)
    device = torch.device(settings.device).type

    def forward() -> list[Tensor]:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            return list(tensors_in(model(images)))

    def step() -> None:
        torch.stack([x.float().mean() for x in forward() if x.requires_grad]).sum().backward()
        model.zero_grad()

    backends = [SDPBackend.MATH] if settings.plain_attention else list(_ATTENTION)
    with sdpa_kernel(backends), torch.inference_mode(not settings.train):
        yield step if settings.train else forward


_ATTENTION = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
)


def tensors_in(outputs: object) -> Iterator[Tensor]:
    """The tensors of lists, tuples and dicts of any depth."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for item in outputs.values():
            yield from tensors_in(item)
    elif isinstance(outputs, list | tuple):
        for item in outputs:
            yield from tensors_in(item)
