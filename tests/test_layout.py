"""Imports between the rooms of projects/crate go down, also those within a function, and in no circle."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'projects/crate'
# Every room imports rooms of lower floors; on one floor only without a circle.
FLOORS = (
    ('errors', 'environment', 'registration', 'progress'),
    ('files', 'model_index', 'coco'),
    ('maskcut', 'checkpoints', 'datasets', 'sample_set'),
    ('compat', 'models'),
    ('evaluation',),
    ('engine', 'pseudo_labels'),
    ('study',),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path, root: Path = PACKAGE) -> set[str]:
    """Rooms that a file imports, anywhere in it."""
    found = set()
    folders = ['projects', 'crate', *path.relative_to(root).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folders[: len(folders) - node.level + 1] if node.level else []
            base = '.'.join([*base, *filter(None, [node.module])])
            names = [base, *(f'{base}.{alias.name}' for alias in node.names)]
        else:
            continue
        parts = [name.split('.') for name in names]
        found |= {part[2] for part in parts if part[:2] == ['projects', 'crate'] and len(part) > 2}
        found |= {'tools' for part in parts if part[0] == 'tools'}
    return found


def arrows(root: Path = PACKAGE) -> dict[str, dict[str, str]]:
    """{room: {room that it imports: a file with this import}}; the package itself imports what it likes."""
    found = defaultdict(dict)
    for path in sorted(root.rglob('*.py')):
        room = path.relative_to(root).parts[0].removesuffix('.py')
        if room != '__init__':
            names = {
                name for name in imported(path, root) if name in FLOOR or (root / name).exists() or name == 'tools'
            }
            found[room] |= {other: str(path.relative_to(root)) for other in names - {room}}
    return found


def upward(found: dict[str, dict[str, str]]) -> list[str]:
    """Arrows that do not go down, as lines."""
    return [
        f'{file}: {room} imports {other}'
        for room, others in found.items()
        for other, file in others.items()
        if FLOOR.get(room, 0) < FLOOR.get(other, len(FLOORS))
    ]


def test_every_room_has_a_floor():
    rooms = {
        path.name.removesuffix('.py') for path in PACKAGE.iterdir() if path.suffix == '.py' or any(path.glob('*.py'))
    }
    assert not rooms - {*FLOOR, '__init__'}


def test_every_import_goes_down():
    assert not upward(arrows())


def test_no_circle():
    graph = {room: list(others) for room, others in arrows().items()}
    [*TopologicalSorter(graph).static_order()]  # raises CycleError


@pytest.mark.parametrize(
    ('line', 'seen'),
    [
        ('from ..evaluation.best_head import binarise', True),
        ('from .. import evaluation', True),
        ('def late():\n    import projects.crate.engine.loops', True),
        ('from projects.crate import study', True),
        ('from tools import _cli', True),
        ('from ..checkpoints import fill', False),
        ('from . import layers', False),
        ('import torch', False),
    ],
)
def test_arrows_up_are_seen(tmp_path, line, seen):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'new.py').write_text(line)
    assert bool(upward(arrows(tmp_path))) == seen
