"""What is done, on disk: one file per batch while the work goes on, one COCO file in the end.

Every file is written under another name, forced to the disk and then given its name, so it is whole or absent whenever
a process dies or the power fails. Several processes, also on several machines with a shared file system, may work
beside each other without a word: a batch that two of them do is the same file twice.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import UserError
from ..files import atomic

CATEGORIES = [dict(id=1, name='object')]
FILES_PER_FOLDER = 1000
SHORT = 40  # characters of a value that a message shows


class Parts:
    """The batches that are done, in ``OUT.parts/<hash of the parameters>/``.

    Args:
        out: The COCO file to make.
        parameters: All that the result depends on, as it will stand in the file's ``info``.
        total: Number of batches.

    Raises:
        UserError: ``out``, or what is done of it, was made with other parameters, or is something else.
    """

    def __init__(self, out: Path, parameters: dict, total: int) -> None:
        self.out, self.total = out, total
        self.parameters = json.loads(json.dumps(parameters, default=str))
        self.root = out.with_name(f'{out.name}.parts')
        identity = hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = self.root / identity
        self.unreadable = out.with_name(f'{out.name}.unreadable.txt')
        self.is_merged = out.exists()
        if self.is_merged:
            self._compare(out, _read_info(out), f'{out} was made')
        for begun in sorted(self.root.glob('*/parameters.json')):
            self._compare(self.root, json.loads(begun.read_text()), f'{self.root} was begun')

    def create(self) -> None:
        """Make the folder, if it is not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self.folder / 'parameters.json') as part:
            part.write_text(json.dumps(self.parameters, indent=2))

    def pending(self) -> np.ndarray:
        """The numbers of the batches that are not done, in order."""
        is_pending = np.ones(self.total, dtype=bool)
        for path in self.folder.glob('*/*.json'):
            is_pending[int(path.stem)] = False
        return np.flatnonzero(is_pending)

    def write(self, number: int, records: dict[str, list]) -> None:
        """Note a batch as done; it is, for ever, when this returns.

        Args:
            number: Of the batch.
            records: 'images' and 'annotations' as COCO has them, the latter without ids, and 'unreadable': (name,
                reason).

        Raises:
            UserError: The folder is gone.
        """
        path = self._path(number)
        try:
            path.parent.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise UserError(f'{self.root} is gone: another process has finished {self.out}, or removed it') from error
        with atomic(path) as part:
            part.write_text(json.dumps(records))

    def forget_unreadable(self) -> int:
        """Make the batches that have unreadable images pending again; returns their number."""
        done = np.setdiff1d(np.arange(self.total), self.pending())
        forgotten = [number for number in done if self._read(number)['unreadable']]
        for number in forgotten:
            self._path(number).unlink()
        return len(forgotten)

    def wait(self, number: int, interval: float) -> None:
        """Return when the batch is done, by whatever process; look for it every ``interval`` seconds."""
        while not self._path(number).exists():
            time.sleep(interval)

    def merge(self) -> dict[str, int]:
        """Make the COCO file from all batches, one at a time in memory, and remove them.

        The ids of annotations are counted from 1. Unreadable images are listed in ``OUT.unreadable.txt``.

        Returns:
            The numbers of 'images', 'annotations' and 'unreadable' images.
        """
        counts = {}
        with self._create(self.unreadable) as file:
            counts['unreadable'] = _write(file, (f'{name}\t{reason}\n' for name, reason in self._all('unreadable')))
        if not counts['unreadable']:
            self.unreadable.unlink()
        with self._create(self.out) as file:
            file.write(f'{{"info": {json.dumps(self.parameters)},\n"licenses": [],\n')
            file.write(f'"categories": {json.dumps(CATEGORIES)}')
            for key in ('images', 'annotations'):
                file.write(f',\n"{key}": [')
                counts[key] = _write(file, self._lines(key))
                file.write('\n]')
            file.write('}\n')
        self.remove()
        return counts

    def remove(self) -> None:
        """Remove the folder; safe to call by several processes at once."""
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def _create(self, path: Path) -> Iterator[TextIO]:
        """``path``, open; until it is whole it lies in the folder that is removed: a kill leaves nothing elsewhere."""
        with atomic(path, self.folder) as part, part.open('w', encoding='utf-8', errors='surrogateescape') as file:
            yield file

    def _lines(self, key: str) -> Iterator[str]:
        separator = '\n'
        for number, record in enumerate(self._all(key), start=1):
            yield separator + json.dumps({'id': number, **record})
            separator = ',\n'

    def _all(self, key: str) -> Iterator[Any]:
        for number in range(self.total):
            yield from self._read(number)[key]

    def _read(self, number: int) -> dict[str, list]:
        path = self._path(number)
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f'{path} is damaged ({error}): remove it and repeat the command') from error

    def _path(self, number: int) -> Path:
        return self.folder / f'{number // FILES_PER_FOLDER}' / f'{number}.json'

    def _compare(self, path: Path, found: dict, what: str) -> None:
        old, new = (dict(_flatten(parameters)) for parameters in (found, self.parameters))
        changes = [
            f'{key} ({_shorten(old.get(key))}, now {_shorten(new.get(key))})'
            for key in {**old, **new}
            if old.get(key) != new.get(key)
        ]
        if changes:
            raise UserError(
                f'{what} with other parameters: {", ".join(changes[:3])}{", ..." * (len(changes) > 3)}; '
                f'choose another OUT, or remove {path}'
            )


def _read_info(out: Path) -> dict:
    """The parameters of a COCO file that :meth:`Parts.merge` has written."""
    with out.open() as file:
        line = file.readline(1 << 24)
    try:
        return json.loads(line.rstrip().rstrip(',') + '}')['info']
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{out} exists and was not made by this tool: choose another OUT') from error


def _write(file: TextIO, texts: Iterable[str]) -> int:
    number = 0
    for text in texts:
        file.write(text)
        number += 1
    return number


def _flatten(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """('model.tau', 0.15) and the like."""
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flatten(child, f'{key}.{name}' if key else str(name))
    else:
        yield key, value


def _shorten(value: Any) -> str:
    text = 'unset' if value is None else str(value)
    return text if len(text) <= SHORT else f'{text[:8]}...'
