"""LMDB databases against plain folders: building, reading, and the memory of the workers.

Run: python benchmarks/lmdb_databases.py --out docs/benchmarks/lmdb.md
Every ratio compares two ways that took turns in this one run; the median of the rounds counts.
(The file cannot be called lmdb.py: a script's own folder comes first where Python looks for
modules, so that ``import lmdb`` would find the script.)
"""

import argparse
import gc
import io
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import lmdb
import numpy as np
import psutil
from mmengine import fileio
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.lmdb.sources import Listing, list_source
from mmvmamba.datasets.lmdb.writer import (
    BuildOptions,
    LMDBWriter,
    create_lmdb,
    default_workers,
)

ROUNDS = 5
MEMORY_WORKERS = 2
PIPELINE = [dict(type='mmpretrain.LoadImageFromFile')]


def make_photo(seed: int) -> Image.Image:
    """500 x 375 pixels of noise at several scales, which compress about as ImageNet's photos do."""
    generator = np.random.default_rng(seed)
    image = np.full((375, 500, 3), 128, np.float32)
    for cells, strength in ((8, 60), (32, 40), (128, 25), (500, 12)):
        noise = generator.standard_normal((cells * 3 // 4, cells, 3), np.float32) * strength
        image += cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def make_photos(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f'n{i % 10:08d}' / f'{i}.JPEG'
        path.parent.mkdir(parents=True, exist_ok=True)
        make_photo(i).save(path, quality=92)


def make_small_files(folder: Path, count: int) -> None:
    data = np.random.default_rng(0).bytes(3000)
    for i in range(count):
        path = folder / f'c{i % 100:03d}' / f'{i}.bin'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def take_turns(
    ways: dict, rounds: int = ROUNDS, outputs: tuple[Path, ...] = ()
) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that does not count.

    Folders that the ways write are removed before each, outside the time.
    """
    seconds = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            for output in outputs:
                shutil.rmtree(output, ignore_errors=True)
            gc.collect()
            start = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def build_by_reencoding(source: Path, output: Path, threads: int) -> None:
    """Decodes with OpenCV, encodes again as JPEG and stores that, 10,000 images a transaction."""

    def reencode(path: Path) -> tuple[bytes, bytes]:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        return path.name.encode(), cv2.imencode('.JPEG', image)[1].tobytes()

    env = lmdb.open(str(output), map_size=1 << 34)
    with ThreadPoolExecutor(threads) as pool, env.begin(write=True) as txn:
        for key, value in pool.map(reencode, sorted(source.glob('*/*.JPEG'))):
            txn.put(key, value)
    env.close()


def build_ours(source: Path, output: Path, workers: int) -> None:
    create_lmdb(source, output, options=BuildOptions(workers=workers))


def compare_building(photos: Path, root: Path, count: int) -> list[tuple]:
    rows = []
    theirs, ours = root / 'theirs', root / 'ours.lmdb'
    for workers in (1, 2):
        # As many busy processes as threads: the writer is one of them.
        readers = workers - 1
        seconds = take_turns(
            {
                'reencode': lambda n=workers: build_by_reencoding(photos, theirs, n),
                'ours': lambda n=readers: build_ours(photos, ours, n),
            },
            outputs=(theirs, ours),
        )
        name = 'one process' if workers == 1 else '2 threads / a reader process + the writer'
        rows.append((f'build, {name}', *_compare(seconds, 'reencode', 'ours', count), 5.0))
    return rows


def _count(batch: list) -> int:
    return len(batch)


def compare_decoding(photos: Path, base: Path, count: int) -> tuple:
    plain = DATASETS.build(
        dict(type='mmpretrain.CustomDataset', data_root=str(photos), pipeline=PIPELINE)
    )
    stored = DATASETS.build(
        dict(type='mmvmamba.ImageNetLMDB', data_root=str(base), pipeline=PIPELINE)
    )
    loaders = {
        name: DataLoader(
            dataset,
            batch_size=32,
            num_workers=2,
            persistent_workers=True,
            # The pixels stay in the workers: this measures reading and decoding.
            collate_fn=_count,
        )
        for name, dataset in (('plain', plain), ('ours', stored))
    }
    seconds = take_turns({name: lambda x=x: sum(x) for name, x in loaders.items()}, ROUNDS + 2)
    return ('read + decode photos, 2 workers', *_compare(seconds, 'plain', 'ours', count), 1.0)


def measure_checks(base: Path) -> list[tuple[str, float, float, float]]:
    """Decoding of the photos, the reading of them, and the check of the checksums beside it.

    Returns:
        Name of the decoder, and milliseconds for one image of decoding, reading, checking.
    """
    reader = LMDBReader(base)
    keys = list(reader.sample_keys())

    def read(check: bool) -> None:
        for key in keys:
            reader.get(key, check)

    def decode(function) -> None:
        for key in keys:
            function(reader.get(key, check=False))

    decoders = {
        'Pillow': lambda data: np.asarray(Image.open(io.BytesIO(data)).convert('RGB')),
        'OpenCV': lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
    }
    ways = {name: lambda f=f: decode(f) for name, f in decoders.items()}
    ways |= {'read': lambda: read(check=False), 'check': lambda: read(check=True)}
    seconds = take_turns(ways, 3 * ROUNDS)

    def each(way: str, without: str) -> float:
        rounds = zip(seconds[way], seconds[without], strict=True)
        return 1e3 * statistics.median(a - b for a, b in rounds) / len(keys)

    read_alone = 1e3 * statistics.median(seconds['read']) / len(keys)
    return [(name, each(name, 'read'), read_alone, each('check', 'read')) for name in decoders]


def compare_raw(folder: Path, base: Path) -> list[tuple]:
    reader = LMDBReader(base)
    keys = list(reader.sample_keys())
    random.Random(0).shuffle(keys)
    files, uris = [f'{folder}/{key}' for key in keys], [f'lmdb://{base}/{key}' for key in keys]

    def each(function, names) -> None:
        for name in names:
            function(name)

    def read(path: str) -> bytes:
        with open(path, 'rb') as file:
            return file.read()

    seconds = take_turns(
        {
            'mmengine on files': lambda: each(fileio.get, files),
            'mmengine on lmdb://': lambda: each(fileio.get, uris),
            'open().read()': lambda: each(read, files),
            'LMDBReader.get': lambda: each(reader.get, keys),
        }
    )
    pairs = [('mmengine on files', 'mmengine on lmdb://'), ('open().read()', 'LMDBReader.get')]
    return [
        (f'raw 3 kB files, {ours} / {plain}', *_compare(seconds, plain, ours, len(keys)), 2.0)
        for plain, ours in pairs
    ]


def _compare(seconds: dict, plain: str, ours: str, count: int) -> tuple[float, float, float]:
    """Milliseconds per image of both, and how many times faster ours is, median of the rounds."""
    ratios = [a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)]
    return (
        1e3 * statistics.median(seconds[plain]) / count,
        1e3 * statistics.median(seconds[ours]) / count,
        statistics.median(ratios),
    )


class MemoryProbe:
    """Samples are a process and what that has for itself alone, in MB, after looking names up.

    Args:
        dataset: The data set whose names and labels are looked up.
    """

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 2 * MEMORY_WORKERS

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        for place in np.random.default_rng(index).integers(len(self.dataset), size=2000):
            self.dataset.get_data_info(int(place))
        info = psutil.Process().memory_full_info()
        return os.getpid(), info.uss / 1e6, _anonymous() / 1e6


def _anonymous() -> int:
    """Bytes that are in no file, such as the heap."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith('Anonymous:'))


def measure_memory(root: Path, sizes: tuple[int, ...]) -> list[tuple]:
    """What spawned workers hold after they looked names and labels up."""
    rows = []
    for size in sizes:
        base = root / f'memory{size}.lmdb'
        _make_wide_database(base, size)
        dataset = DATASETS.build(dict(type='mmvmamba.ImageNetLMDB', data_root=str(base)))
        loader = DataLoader(
            MemoryProbe(dataset),
            num_workers=MEMORY_WORKERS,
            collate_fn=list,
            multiprocessing_context='spawn',
        )
        last = {pid: (uss, heap) for batch in loader for pid, uss, heap in batch}
        index = sum(len(dataset.reader.table(name)) for name in ('keys', 'key_ends', 'sha256'))
        rows.append(
            (
                size,
                index / 1e6,
                sum(uss for uss, _ in last.values()) / len(last),
                sum(heap for _, heap in last.values()) / len(last),
            )
        )
        shutil.rmtree(base)
    return rows


def _make_wide_database(path: Path, size: int) -> None:
    """A database of many records of one small image."""
    png = path.with_suffix('.png')
    Image.new('RGB', (2, 2)).save(png)
    keys = [f'n{i % 1000:08d}/n{i % 1000:08d}_{i}.PNG' for i in range(size)]
    listing = Listing(
        'folder',
        keys,
        [(str(png), 0, -1)] * size,
        [i % 1000 for i in range(size)],
        [f'n{i:08d}' for i in range(1000)],
    )
    LMDBWriter(listing, path, BuildOptions(workers=0, batch_images=50000)).run()


def report(rows: list[tuple], checks: list[tuple], memory: list[tuple], count: int) -> str:
    lines = [
        '# LMDB databases against plain folders',
        '',
        '`python benchmarks/lmdb_databases.py --out docs/benchmarks/lmdb.md`, '
        f'{count} photos of 500 x 375.',
        f'{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, '
        f'lmdb {lmdb.__version__}, OpenCV {cv2.__version__}, warm page cache.',
        '',
        '| what | plain or re-encoded, ms | ours, ms | times faster | wanted |',
        '|---|---|---|---|---|',
    ]
    lines += [f'| {n} | {a:.4f} | {b:.4f} | {r:.2f} | {w:g} |' for n, a, b, r, w in rows]
    lines += [
        '',
        'Milliseconds are for one image; the ratio is the median over rounds in which both took '
        'turns. "Re-encoded" decodes and encodes with OpenCV before storing. A reader process '
        'shares memory with the writer: through a pipe, copying images cost more than reading. '
        f'The default here is {default_workers()} reader(s). (The script cannot be called '
        "`lmdb.py`: its folder comes first on Python's path and would hide the library.)",
        '',
        'Every record is compared with its checksum when it is read. Beside decoding, one process:',
        '',
        '| decoder | decoding, ms | reading, ms | checking, ms | of decoding, % |',
        '|---|---|---|---|---|',
        *(f'| {n} | {d:.3f} | {r:.3f} | {c:.3f} | {100 * c / d:.1f} |' for n, d, r, c in checks),
        '',
        'Memory of a worker (mean of 2 spawned ones) after it looked names and labels up all over '
        'the index. USS includes pages of the database file that no other process has mapped; they '
        'are cache, not a copy. "Heap" is what belongs to no file.',
        '',
        '| images | index, MB | USS of a worker, MB | heap of a worker, MB |',
        '|---|---|---|---|',
    ]
    lines += [f'| {n} | {i:.1f} | {u:.0f} | {h:.0f} |' for n, i, u, h in memory]
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', metavar='FILE.md', help='write the tables here')
    parser.add_argument('--count', type=int, default=2000, help='photos (default: %(default)s)')
    parser.add_argument('--small', type=int, default=20000, help='small files')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photos(root / 'photos', args.count)
        rows = compare_building(root / 'photos', root, args.count)
        rows.append(compare_decoding(root / 'photos', root / 'ours.lmdb', args.count))
        checks = measure_checks(root / 'ours.lmdb')
        make_small_files(root / 'small', args.small)
        LMDBWriter(
            list_source(root / 'small', 'tree', all_files=True),
            root / 'small.lmdb',
            BuildOptions(workers=0),
        ).run()
        rows += compare_raw(root / 'small', root / 'small.lmdb')
        memory = measure_memory(root, (1000, 100000))
    text = report(rows, checks, memory, args.count)
    print(text)
    if args.out:
        Path(args.out).write_text(text)


if __name__ == '__main__':
    main()
