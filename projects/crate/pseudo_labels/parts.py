"""The batches that are done, on disk: one file per batch, and in the end one COCO file.

Every file is written under another name, forced to the disk, and then gets its name. It is whole or absent whenever a
process dies or the power fails. Several processes, also on machines that share a file system, work at the same time
without communication. If two of them do one batch, they write the same file twice.

There are no locks. The files are the state, and every process looks again after each step:

1. ``OUT.parts`` is there: the work continues. A batch is pending if its file is missing or damaged.
2. ``OUT`` is there: the work is finished, and ``OUT.parts`` is of no use. ``OUT`` gets its name before the first batch
   is removed. A process that misses a batch or the folder therefore looks for ``OUT``. If ``OUT`` is missing too,
   somebody else has removed the folder.
"""

import hashlib
import json
import math
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

from ..datasets.image_list import quote
from ..errors import UserError
from ..evaluation.coco_file import check_coco
from ..files import atomic
from .merge import CATEGORIES, read_annotations, read_images, read_info, write_merged

FILES_PER_FOLDER = 1000
SHORT = 40  # characters of a value that a message shows
MAX_PARAMETERS = 1 << 24  # bytes; as all limits here, far beyond what this tool writes
MAX_BATCH = 1 << 30  # bytes
KEYS = {'image_id', 'category_id', 'segmentation', 'bbox', 'area', 'iscrowd', 'score'}  # of an annotation
ABANDONED = 3600.0  # seconds since the last change of a half-written file, after which no process writes it any more

# Finds changed images of a batch: (number of the batch, its records) -> one line, or None.
Check = Callable[[int, dict], str | None]


class PendingError(Exception):
    """A batch that counted as done must be done again."""


class Parts:
    """The batches that are done, in ``OUT.parts/<hash of the parameters>/``.

    Args:
        out: COCO file to make.
        parameters: All that the result depends on. They become the ``info`` of the file.
        total: Number of batches.

    Raises:
        UserError: ``out`` or ``OUT.parts`` was made with other parameters, is damaged, or is something else.
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
        """Return True if ``out`` is there; look it up each time.

        Raises:
            UserError: Something else is there.
        """
        if not os.path.lexists(self.out):
            return False
        if not self.out.is_file():
            raise UserError(f'{self.out} is not a file: choose another OUT')
        self._compare(self.out, read_info(self.out), f'{self.out} was made')
        return True

    def create(self) -> None:
        """Make the folder unless it is there. If another process finishes meanwhile, the folder is removed later.

        Raises:
            UserError: The folder cannot be made, or another process has begun with other parameters.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic(self.folder / 'parameters.json') as part:
                part.write_text(json.dumps(self.parameters, indent=2))
        try:
            self._check_others()
        except UserError:
            if self.pending().size == self.total:  # nothing is lost, and nothing is in the way of the others
                self.remove()
            raise

    def pending(self) -> np.ndarray:
        """Return the numbers of the batches that are not done, in order."""
        is_pending = np.ones(self.total, dtype=bool)
        for folder, _, names in os.walk(self.folder):  # os.walk continues if a folder vanishes
            for name in names:
                number = int(name[:-5]) if re.fullmatch(r'\d{1,18}\.json', name) else self.total
                if number < self.total and self._path(number) == Path(folder, name):
                    is_pending[number] = False
        return np.flatnonzero(is_pending)

    def is_done(self, number: int) -> bool:
        """Return whether the batch has a file."""
        return self._path(number).is_file()

    def write(self, number: int, records: dict) -> None:
        """Write the file of batch ``number``; it is on the disk when this returns. Does nothing if ``out`` is there.

        Args:
            number: Number of the batch.
            records: 'images' and 'annotations' as in COCO files, annotations without ids. 'unreadable': (name, reason).
                'files': {id of an image: result of :func:`.images.fingerprint`}.

        Raises:
            UserError: The folder is gone, the disk is full, or refuses the file.
        """
        path = self._path(number)
        with self._writing():
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as part:
                part.write_text(json.dumps(records))

    def forget(self, numbers: Iterable[int], check: Check) -> list[str]:
        """Remove those files of the batches ``numbers`` that are damaged or outdated; return a reason for each."""
        reasons = []
        for number in np.setdiff1d(np.asarray(numbers), self.pending()):
            try:
                records = self._read(number)
                self._check_annotations(number, records)
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

        Unreadable images are listed in ``OUT.unreadable.txt``, a list for
        :func:`projects.crate.datasets.image_list.list_images`.

        Args:
            check: See :data:`Check`; called for every batch after the file is written and before it gets its name.

        Returns:
            The numbers of 'images', 'annotations' and 'unreadable' images.

        Raises:
            PendingError: A batch is missing, damaged or outdated, or another process has finished.
            UserError: The disk is full, or refuses the file.
        """
        self._remove_abandoned()
        entries = {key: self._all(key) for key in ('images', 'annotations')}
        with self._writing():
            with self._create(self.out) as file:
                counts = write_merged(file, self.parameters, **entries)
                file.flush()  # an image that changes from here on is newer than this file
                for number in range(self.total):
                    if reason := check(number, self._read(number)):
                        raise PendingError(reason)
                counts['unreadable'] = self._list_unreadable()
                if self.is_merged:  # a file with other parameters is an error, and never replaced
                    raise PendingError(f'another process has finished {self.out}')
            self.remove()
            return counts
        raise PendingError(f'another process has finished {self.out}')

    def remove(self) -> None:
        """Remove these batches, and ``OUT.parts`` if nothing else is in it. Several processes may do so at once."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.root.rmdir()

    def wait(self, number: int, interval: float, patience: float) -> bool:
        """Wait until a process has done the batch; return False if ``out`` is there, or after ``patience`` seconds.

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
        """Ignore errors of the disk if ``out`` is there; else raise them as UserError."""
        try:
            yield
        except OSError as error:
            if self.is_merged:
                return
            if isinstance(error, FileNotFoundError) and not self.folder.exists():
                raise UserError(self._gone()) from error
            raise UserError(
                f'cannot write {error.filename or self.root}: {error.strerror}; finished batches are kept: '
                'run the same command to continue'
            ) from error

    def _list_unreadable(self) -> int:
        """Write the list of unreadable images, or remove an old one if there are none; return their number."""
        count = sum(1 for _ in self._all('unreadable'))
        if count:
            with self._create(self.unreadable) as file:
                file.writelines(f'{quote(name)}\t{reason}\n' for name, reason in self._all('unreadable'))
        else:
            self.unreadable.unlink(missing_ok=True)
        return count

    @contextmanager
    def _create(self, path: Path) -> Iterator[TextIO]:
        """Open a new file. It lies in the folder that is removed until it is whole: a kill leaves nothing elsewhere."""
        with atomic(path, self.folder) as part, part.open('w', encoding='utf-8', errors='surrogateescape') as file:
            yield file

    def _remove_abandoned(self) -> None:
        """Remove half-written files of killed processes: they can be large, and the disk may be nearly full."""
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names if name.endswith('.part')):
                with suppress(OSError):
                    if time.time() - path.lstat().st_mtime > ABANDONED:
                        path.unlink()

    def _all(self, key: str) -> Iterator[Any]:
        for number in range(self.total):
            records = self._read(number)
            if key == 'annotations':
                self._check_annotations(number, records)
            yield from records[key]

    def _read(self, number: int) -> dict:
        """Return the records of a batch.

        Raises:
            PendingError: The file is missing, or :meth:`write` has not written it.
        """
        path = self._path(number)
        try:
            records = _read_json(path, MAX_BATCH)
        except (OSError, ValueError) as error:
            raise PendingError(f'{path} cannot be read: {getattr(error, "strerror", None) or error}') from error
        if not _is_batch(records):
            raise PendingError(f'{path} is damaged: not the records of a batch')
        return records

    def _check_annotations(self, number: int, records: dict) -> None:
        """Raise PendingError if annotations of a batch are none that :meth:`write` got: they would be merged."""
        annotations = records['annotations']
        content = dict(
            images=records['images'],
            categories=CATEGORIES,
            annotations=[dict(one, id=position) for position, one in enumerate(annotations)],
        )
        reason = next(
            (f'annotation {n}: {why}' for n, one in enumerate(annotations) if (why := _find_problem(one))), None
        )
        try:
            check_coco(content, str(self._path(number)), masks=True)
        except UserError as error:
            reason = reason or str(error)
        if reason:
            raise PendingError(f'{self._path(number)} is damaged: {reason}')

    def _path(self, number: int) -> Path:
        return self.folder / f'{number // FILES_PER_FOLDER}' / f'{number}.json'

    def _check_others(self) -> None:
        """Raise if work with other parameters has begun."""
        try:
            folders = sorted(self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):  # finished, or not begun; create() reports a file in the way
            return
        for begun in (folder / 'parameters.json' for folder in folders if folder != self.folder):
            try:
                self._compare(self.root, dict(_read_json(begun, MAX_PARAMETERS)), f'{self.root} was begun')
            except (FileNotFoundError, NotADirectoryError):  # finished, given up, or of somebody else
                continue
            except (OSError, TypeError, ValueError) as error:
                raise UserError(
                    f'{begun} is damaged ({error}), so the parameters of {self.root} are unknown: '
                    f'choose another OUT, or remove {self.root}'
                ) from error

    def _compare(self, path: Path, found: dict, what: str) -> None:
        """Raise if parameters that were found are not the present ones."""
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


def _read_json(path: Path, limit: int) -> Any:
    """Return the content of a JSON file, also if something else is in its place now.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is too large, or not a regular file, or not JSON.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
        raise ValueError('not a file')
    if status.st_size > limit:
        raise ValueError(f'{status.st_size:,} bytes')
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError('nested too deeply') from error


def _is_batch(records: Any) -> bool:
    """Return whether these can be the records of a batch: an annotation of a missing image would be lost later."""
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


def _find_problem(annotation: dict) -> str:
    """Return what is wrong with the keys, the code or the score of an annotation; '' if nothing."""
    if annotation.keys() != KEYS:
        return f'has {_shorten(sorted(annotation))} instead of {", ".join(sorted(KEYS))}'
    score, code = annotation['score'], annotation['segmentation']
    if not isinstance(code, dict) or not isinstance(code.get('counts'), str):
        return 'its segmentation is no compressed run-length code'
    is_finite = isinstance(score, int | float) and math.isfinite(score)
    return '' if is_finite else f'its score is {_shorten(score)}'


def _flatten(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield ('model.tau', 0.15) and the like."""
    left = [('', value)]
    while left:  # no recursion: a file may be nested deeply
        key, value = left.pop()
        if isinstance(value, dict | list):
            children = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(f'{key}.{name}' if key else str(name), child) for name, child in children][::-1]
        else:
            yield key, value


def _shorten(value: Any) -> str:
    text = 'unset' if value is None else str(value)
    return text if len(text) <= SHORT else f'{text[:8]}...'


def read_by_image(path: Path) -> Iterator[tuple[dict, list[dict]]]:
    """Yield each image of a merged file with its annotations, checked: pycocotools checks nothing.

    One image at a time is in memory.

    Raises:
        UserError: The file is damaged, or its annotations are not in the order of its images.
    """
    rest = read_annotations(path)
    following = next(rest, None)
    for image in read_images(path):
        here = []
        while following is not None and following['image_id'] == image['id']:
            here.append(following)
            following = next(rest, None)
        for one in here:
            if problem := _find_problem({key: value for key, value in one.items() if key != 'id'}):
                raise UserError(f'{path} is damaged: annotation {one["id"]}: {problem}')
        check_coco(dict(images=[image], categories=CATEGORIES, annotations=here), str(path), masks=True)
        yield image, here
    if following is not None:
        raise UserError(f'{path}: annotation {following["id"]} is not in the order of the images')
