"""A file of results to which several processes add, taken up where it stopped."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mmengine.dist import barrier, get_rank, get_world_size

from mmvmamba.files import put_in_place

__all__ = ['OtherOriginError', 'SharedResults']

ORIGIN = 'results of'


class OtherOriginError(ValueError):
    """Results of an earlier run do not belong to this one. The message says what differs."""


class SharedResults:
    """A file with a line of JSON for each of some inputs, in their order.

    Every process of a run has a share of the inputs and writes into a part of its own beside the
    file; the first one puts the parts together. A run that was stopped goes on when it is started
    again, also with another number of processes.

        with SharedResults('results.jsonl', inputs, origin) as results:
            for item in results.share:
                results.add({item: ...})
        results.put_together()

    Args:
        output: The file. Until it is whole, its parts lie beside it.
        inputs: What there is a result for; the same in all processes.
        origin: What results depend on, such as the model; parts of another origin are refused.

    Attributes:
        share: The inputs that this process is to add.
        done: How many inputs an earlier run had done.

    Raises:
        OtherOriginError: A part is of another origin.
    """

    def __init__(
        self, output: str | os.PathLike, inputs: Sequence[str], origin: dict[str, str]
    ) -> None:
        self.output = Path(output)
        self.inputs = inputs
        self.origin = origin
        rank, processes = get_rank(), get_world_size()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        finished = {name for name, _ in self._finished()}
        # What was done is known to all before any of them adds to it.
        barrier()
        self.share = [item for item in inputs[rank::processes] if item not in finished]
        self.done = len(finished & set(inputs))

    def __enter__(self) -> 'SharedResults':
        self._file = open(self._part(get_rank()), 'a', encoding='utf-8')
        if not self._file.tell():
            self._file.write(json.dumps({ORIGIN: self.origin}) + '\n')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, records: dict[str, dict[str, Any]]) -> None:
        """Writes the records of some inputs, which are kept from now on."""
        for item, record in records.items():
            self._file.write(json.dumps({'input': item, **record}) + '\n')
        self._file.flush()

    def put_together(self) -> None:
        """Makes the file of the parts, when all processes have come here."""
        barrier()
        if get_rank() == 0:
            lines = dict(self._finished())
            temporary = self.output.with_name(f'{self.output.name}.whole')
            with open(temporary, 'w', encoding='utf-8') as file:
                file.writelines(f'{lines[item]}\n' for item in self.inputs)
            put_in_place(temporary, self.output)
            for part in self._parts():
                part.unlink()
        barrier()

    def _part(self, rank: int) -> Path:
        return self.output.with_name(f'{self.output.name}.part{rank:05d}')

    def _parts(self) -> list[Path]:
        return sorted(self.output.parent.glob(f'{self.output.name}.part[0-9]*'))

    def _finished(self) -> Iterator[tuple[str, str]]:
        """Inputs and their lines, of all parts."""
        for part in self._parts():
            for number, line in enumerate(self._lines(part)):
                record = json.loads(line)
                if number:
                    yield record['input'], line
                else:
                    self._check_origin(part, record.get(ORIGIN))

    def _check_origin(self, part: Path, found: dict[str, str] | None) -> None:
        names = [name for name in self.origin if (found or {}).get(name) != self.origin[name]]
        if names:
            raise OtherOriginError(
                f'{part} was begun with another {" and another ".join(names)}; go on with that, '
                'remove the part, or name another file'
            )

    def _lines(self, part: Path) -> Iterator[str]:
        """The whole lines of a part; one that a killed process did not finish is cut off."""
        data = part.read_bytes()
        whole = data[: data.rfind(b'\n') + 1]
        if len(whole) < len(data) and part == self._part(get_rank()):
            os.truncate(part, len(whole))
        yield from whole.decode().splitlines()
