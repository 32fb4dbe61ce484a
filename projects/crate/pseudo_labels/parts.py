"""What is done, on disk: one file per batch while the work goes on, one COCO file in the end.

Every file is written under another name, forced to the disk and then given its name, so it is whole or absent whenever
a process dies or the power fails. Several processes, also on several machines with a shared file system, may work
beside each other without a word: a batch that two of them do is the same file twice.

There are no locks: what is true follows from the files that are there, and every process looks again after each step.

1. ``OUT.parts`` holds batches: the work goes on. A batch is pending if its file is missing or damaged.
2. ``OUT`` is there: the work is finished, and ``OUT.parts`` is of no use. ``OUT`` gets its name before the first batch
   is removed. Whoever misses a batch or the folder therefore looks for ``OUT``: either it is there, or somebody else
   has removed the folder.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import UserError
from ..files import atomic
from .images import quote

FRAME = ('"images": [', ']', '"annotations": [', ']}')  # lines of OUT around its entries
CATEGORIES = [dict(id=1, name='object')]
FILES_PER_FOLDER = 1000
SHORT = 40  # characters of a value that a message shows
MAX_PARAMETERS = 1 << 24  # bytes; as all limits here, far beyond what this tool writes
MAX_BATCH = 1 << 30  # bytes
MAX_LINE = 1 << 26  # characters of a line of OUT
ABANDONED = 3600.0  # seconds since the last change of a half-written file, after which no process writes it any more

# What may have changed of an image: (number of its batch, its records) -> one line for a person, or None.
Check = Callable[[int, dict], str | None]


class PendingError(Exception):
    """A batch that was taken for done must be done again."""


class Parts:
    """The batches that are done, in ``OUT.parts/<hash of the parameters>/``.

    Args:
        out: The COCO file to make.
        parameters: All that the result depends on, as it will stand in the file's ``info``.
        total: Number of batches.

    Raises:
        UserError: ``out``, or what is done of it, was made with other parameters, is damaged, or is something else.
    """

    def __init__(self, out: Path, parameters: dict, total: int) -> None:
        self.out, self.total = out, total
        self.parameters = json.loads(json.dumps(parameters, default=str))
        self.root = out.with_name(f'{out.name}.parts')
        identity = hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = self.root / identity
        self.unreadable = out.with_name(f'{out.name}.unreadable.txt')
        if not self.is_merged:
            self._check_others()

    @property
    def is_merged(self) -> bool:
        """Whether ``out`` is there; looked up anew each time.

        Raises:
            UserError: Something else is there.
        """
        if not os.path.lexists(self.out):
            return False
        if not self.out.is_file():
            raise UserError(f'{self.out} is not a file: choose another OUT')
        self._compare(self.out, _read_info(self.out), f'{self.out} was made')
        return True

    def create(self) -> None:
        """Make the folder, if it is not there. If another process has finished meanwhile, it is removed later.

        Raises:
            UserError: It cannot be made, or another process has begun with other parameters at the same time.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic(self.folder / 'parameters.json') as part:
                part.write_text(json.dumps(self.parameters, indent=2))
        try:
            self._check_others()
        except UserError:
            if self.pending().size == self.total:  # nothing is lost, and nothing is in the way of the others
                self._remove_folder()
            raise

    def pending(self) -> np.ndarray:
        """The numbers of the batches that are not done, in order."""
        is_pending = np.ones(self.total, dtype=bool)
        for folder, _, names in os.walk(self.folder):  # which takes it if a folder vanishes
            for name in names:
                number = int(name[:-5]) if re.fullmatch(r'\d{1,18}\.json', name) else self.total
                if number < self.total and self._path(number) == Path(folder, name):
                    is_pending[number] = False
        return np.flatnonzero(is_pending)

    def is_done(self, number: int) -> bool:
        """Whether the batch has a file."""
        return self._path(number).is_file()

    def write(self, number: int, records: dict) -> None:
        """Note a batch as done; it is, for ever, when this returns. Nothing happens if ``out`` is there.

        Args:
            number: Of the batch.
            records: 'images' and 'annotations' as COCO has them, the latter without ids; 'unreadable': (name, reason);
                'files': {id of an image: what :func:`.images.fingerprint` returned}.

        Raises:
            UserError: The folder is gone, the disk is full, or the like.
        """
        path = self._path(number)
        with self._writing():
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as part:
                part.write_text(json.dumps(records))

    def forget(self, numbers: Iterable[int], check: Check) -> list[str]:
        """Make batches pending again whose file is damaged, or that ``check`` finds outdated.

        Args:
            numbers: The batches to look at.
            check: See :data:`Check`.

        Returns:
            For each of them the reason.
        """
        reasons = []
        for number in np.setdiff1d(np.asarray(numbers), self.pending()):
            try:
                records = self._read(number)
                reason = check(number, records)
            except PendingError as error:
                reason = str(error)
            if reason:
                with self._writing():
                    self._path(number).unlink(missing_ok=True)
                reasons.append(reason)
        return reasons

    def merge(self, check: Check) -> dict[str, int]:
        """Make the COCO file from all batches, one at a time in memory, and remove them.

        The ids of annotations are counted from 1. Unreadable images are listed in ``OUT.unreadable.txt``, which
        :func:`.images.list_images` reads.

        Args:
            check: See :data:`Check`; asked for every batch when the file is written, before it gets its name.

        Returns:
            The numbers of 'images', 'annotations' and 'unreadable' images.

        Raises:
            PendingError: A batch is missing, damaged or outdated.
            UserError: The disk is full, or the like.
        """
        self._remove_abandoned()
        with self._writing():
            counts = self._write_merged(check)
            self.remove()
            return counts
        raise PendingError(f'another process has finished {self.out}')

    def entries(self) -> Iterator[dict]:
        """The images of the finished file, which is read line by line to its end.

        Raises:
            UserError: The file is damaged.
        """
        number, text = 0, ''
        with self.out.open(encoding='utf-8', errors='surrogateescape') as file:
            try:
                for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ''), start=1):
                    text = line.rstrip('\n').rstrip(',')
                    if text.startswith('{"id": '):
                        entry = json.loads(text)
                        if 'file_name' in entry:
                            yield dict(entry, file_name=str(entry['file_name']))
                    elif number > 3 and text not in FRAME:
                        raise ValueError('unexpected content')
                if text != FRAME[-1]:
                    raise ValueError('the end is missing')
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f'{self.out} is damaged in line {number} ({error}): remove it and repeat the command'
                ) from error

    def remove(self) -> None:
        """Remove the batches of the finished file; safe to call by several processes at once."""
        self._remove_folder()

    def wait(self, number: int, interval: float, patience: float) -> bool:
        """Return when the batch is done by whatever process, ``out`` is there, or ``patience`` is at an end.

        Args:
            number: Of the batch.
            interval: Seconds between two looks.
            patience: Seconds.

        Returns:
            Whether the batch is done.

        Raises:
            UserError: The folder is gone, and ``out`` is not there.
        """
        end = time.monotonic() + patience
        while not self.is_done(number):
            is_gone = not self.folder.exists()
            if self.is_merged or time.monotonic() > end:
                return False
            if is_gone:
                raise UserError(self._gone())
            time.sleep(interval)
        return True

    def _gone(self) -> str:
        return f'{self.folder} is gone, and {self.out} is not there: repeat the command to begin again'

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever the disk refuses is of no matter if ``out`` is there, and one line if not."""
        try:
            yield
        except OSError as error:
            if self.is_merged:
                return
            if isinstance(error, FileNotFoundError) and not self.folder.exists():
                raise UserError(self._gone()) from error
            raise UserError(
                f'cannot write {error.filename or self.root}: {error.strerror}; what is done is kept, '
                'and the same command goes on'
            ) from error

    def _write_merged(self, check: Check) -> dict[str, int]:
        counts = {}
        with self._create(self.out) as file:
            file.write(f'{{"info": {json.dumps(self.parameters)},\n"licenses": [],\n')
            file.write(f'"categories": {json.dumps(CATEGORIES)}')
            for key in ('images', 'annotations'):
                file.write(f',\n"{key}": [')
                counts[key] = _write(file, self._lines(key))
                file.write('\n]')
            file.write('}\n')
            file.flush()  # an image that changes from here on is newer than this file; see find_changes in .factory
            for number in range(self.total):
                if reason := check(number, self._read(number)):
                    raise PendingError(reason)
            counts['unreadable'] = sum(1 for _ in self._all('unreadable'))
            if counts['unreadable']:
                with self._create(self.unreadable) as unreadable:
                    _write(unreadable, (f'{quote(name)}\t{reason}\n' for name, reason in self._all('unreadable')))
            else:
                self.unreadable.unlink(missing_ok=True)
            if self.is_merged:  # by another process; a file with other parameters is an error, and never replaced
                raise PendingError(f'another process has finished {self.out}')
        return counts

    @contextmanager
    def _create(self, path: Path) -> Iterator[TextIO]:
        """``path``, open; until it is whole it lies in the folder that is removed: a kill leaves nothing elsewhere."""
        with atomic(path, self.folder) as part, part.open('w', encoding='utf-8', errors='surrogateescape') as file:
            yield file

    def _remove_folder(self) -> None:
        """Remove what belongs to these parameters, and ``OUT.parts`` if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.root.rmdir()

    def _remove_abandoned(self) -> None:
        """Remove half-written files of killed processes: they can be large, and the disk may be nearly full."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):
                    if name.endswith('.part') and time.time() - path.lstat().st_mtime > ABANDONED:
                        path.unlink()

    def _lines(self, key: str) -> Iterator[str]:
        separator = '\n'
        for number, record in enumerate(self._all(key), start=1):
            yield separator + json.dumps({'id': number, **record})
            separator = ',\n'

    def _all(self, key: str) -> Iterator[Any]:
        for number in range(self.total):
            yield from self._read(number)[key]

    def _read(self, number: int) -> dict:
        """The records of a batch.

        Raises:
            PendingError: The file is missing, or not what :meth:`write` has written.
        """
        path = self._path(number)
        try:
            records = _read_json(path, MAX_BATCH)
        except (OSError, ValueError) as error:
            raise PendingError(f'{path} cannot be read: {getattr(error, "strerror", None) or error}') from error
        if not _is_batch(records):
            raise PendingError(f'{path} is damaged: not the records of a batch')
        return records

    def _path(self, number: int) -> Path:
        return self.folder / f'{number // FILES_PER_FOLDER}' / f'{number}.json'

    def _check_others(self) -> None:
        """Raise if work with other parameters has begun."""
        try:
            folders = sorted(self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):  # finished, or not begun; create() tells of a file in the way
            return
        for folder in folders:
            if folder == self.folder:  # whose name says its parameters
                continue
            begun = folder / 'parameters.json'
            try:
                found = dict(_read_json(begun, MAX_PARAMETERS))
                self._compare(self.root, found, f'{self.root} was begun')
            except (FileNotFoundError, NotADirectoryError):  # finished, given up, or nothing of ours
                continue
            except (OSError, TypeError, ValueError) as error:
                raise UserError(
                    f'{begun} is damaged ({error}), so it is unknown what {self.root} was begun with: '
                    f'choose another OUT, or remove {self.root}'
                ) from error

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
    try:
        with out.open() as file:
            line = file.readline(MAX_PARAMETERS)
        return dict(json.loads(line.rstrip().rstrip(',') + '}')['info'])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f'{out} exists and was not made by this tool: choose another OUT') from error


def _read_json(path: Path, limit: int) -> Any:
    """What a file of ours holds, whatever is in its place now.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, no regular file or no JSON.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait
        raise ValueError('not a file')
    if status.st_size > limit:
        raise ValueError(f'{status.st_size:,} bytes')
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError('nested too deeply') from error


def _is_batch(records: Any) -> bool:
    """Whether these can be the records of a batch: an annotation of an image that is not there would be lost later."""
    try:
        ids = {image['id'] for image in records['images']}
        return (
            all(isinstance(image['id'], int) and isinstance(image['file_name'], str) for image in records['images'])
            and all(annotation['image_id'] in ids for annotation in records['annotations'])
            and all(isinstance(text, str) for name, reason in records['unreadable'] for text in (name, reason))
            and len(records['images']) == len(ids) == len(records['files']) - len(records['unreadable'])
            and all(str(id) in records['files'] for id in ids)
            and all(file is None or len(file) == 4 for file in records['files'].values())
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _write(file: TextIO, texts: Iterable[str]) -> int:
    number = 0
    for text in texts:
        file.write(text)
        number += 1
    return number


def _flatten(value: Any) -> Iterator[tuple[str, Any]]:
    """('model.tau', 0.15) and the like."""
    left = [('', value)]
    while left:  # no recursion: a file from outside may be nested deeply
        key, value = left.pop()
        if isinstance(value, dict | list):
            children = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(f'{key}.{name}' if key else str(name), child) for name, child in children][::-1]
        else:
            yield key, value


def _shorten(value: Any) -> str:
    text = 'unset' if value is None else str(value)
    return text if len(text) <= SHORT else f'{text[:8]}...'
