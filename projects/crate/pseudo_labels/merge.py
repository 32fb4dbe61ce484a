"""The merged file: one COCO file that is written and read line by line, so that memory does not grow with it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from ..errors import UserError

FRAME = ('"images": [', ']', '"annotations": [', ']}')  # lines around the entries
CATEGORIES = [dict(id=1, name='object')]
MAX_INFO = 1 << 24  # characters of the first line; as all limits here, far beyond what this tool writes
MAX_LINE = 1 << 26  # characters


def write_merged(file: TextIO, info: dict, **entries: Iterable[dict]) -> dict[str, int]:
    """Write a COCO file, one entry per line, and return the numbers of entries.

    Args:
        file: File to write to.
        info: Parameters that the file was made with.
        **entries: 'images' and 'annotations'. An entry without an id gets its position, from 1.
    """
    file.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": {json.dumps(CATEGORIES)}')
    counts = dict.fromkeys(entries, 0)
    for key, values in entries.items():
        file.write(f',\n"{key}": [')
        for number, entry in enumerate(values, start=1):
            file.write(f'{"," if counts[key] else ""}\n{json.dumps({"id": number, **entry})}')
            counts[key] = number
        file.write('\n]')
    file.write('}\n')
    return counts


def read_info(out: Path) -> dict:
    """Return the parameters that a file was made with.

    Raises:
        UserError: :func:`write_merged` has not written the file.
    """
    try:
        with out.open() as file:
            line = file.readline(MAX_INFO)
        return dict(json.loads(line.rstrip().rstrip(',') + '}')['info'])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        made = 'was not made by tools/maskcut.py or tools/merge_labels.py'
        raise UserError(f'{out} {made}: name another file') from error


def read_images(out: Path) -> Iterator[dict]:
    """Yield the images of a file, which is read to its end.

    Raises:
        UserError: The file is damaged.
    """
    return (dict(entry, file_name=str(entry['file_name'])) for entry in _read_entries(out) if 'file_name' in entry)


def read_annotations(out: Path) -> Iterator[dict]:
    """Yield the annotations of a file, in the order of its images; see :func:`read_images`."""
    return (entry for entry in _read_entries(out) if 'image_id' in entry)


def count_entries(out: Path) -> tuple[int, int]:
    """Return the numbers of images and of annotations in a file; see :func:`read_images`."""
    kinds = Counter('file_name' in entry for entry in _read_entries(out))
    return kinds[True], kinds[False]


def _read_entries(out: Path) -> Iterator[dict]:
    number, text = 0, ''
    with out.open(encoding='utf-8', errors='surrogateescape') as file:
        try:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ''), start=1):
                text = line.rstrip('\n').rstrip(',')
                if text.startswith('{"id": '):
                    yield json.loads(text)
                elif number > 3 and text not in FRAME:
                    raise ValueError('unexpected content')
            if text != FRAME[-1]:
                raise ValueError('the end is missing')
        except (ValueError, RecursionError) as error:
            raise UserError(f'{out} is damaged in line {number} ({error}): remove it and repeat the command') from error
