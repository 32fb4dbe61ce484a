"""Values of ``--cfg-options``."""

import pytest
from mmengine.config import DictAction
from toy_runs import config

from projects.crate.engine import launch
from projects.crate.errors import UserError


def parsed(folder, text):
    return launch.read_config(config(folder), [f'model.given={text}']).model.given


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('potted plant', 'potted plant'),
        ('potted plant,sheep', ['potted plant', 'sheep']),
        ('[potted plant, tv monitor]', ['potted plant', 'tv monitor']),
        ("('dining table', 'sheep')", ('dining table', 'sheep')),
        ('[ [a b, 1], (c d, 2.5) ]', [['a b', 1], ('c d', 2.5)]),
        ('tap (hot), tap (cold)', ['tap (hot)', 'tap (cold)']),
    ],
)
def test_blanks_within_a_value_stay(tmp_path, text, expected):
    assert parsed(tmp_path, text) == expected


@pytest.mark.parametrize(
    'text', ['[1, 2]', '1,2', '[(1, 2, 3), [a, b], c]', '[ True , None, 1e-3 ]', '(1,)', '[]', '"a"']
)
def test_other_values_are_what_mmengine_makes_of_them(tmp_path, text):
    value, expected = parsed(tmp_path, text), DictAction._parse_iterable(text)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize('text', ['[{"type":"X","n":[1,2]}]', "{'type': 'X'}", '[dict(type="X", n=1)]', 'dict(n=1)'])
def test_a_dict_is_one_line(tmp_path, text):
    with pytest.raises(UserError, match=r'^--cfg-options model\.given=.*: an option cannot hold a dict: [^\n]*$'):
        parsed(tmp_path, text)


@pytest.mark.parametrize('text', ['{}_{:03d}.pth', 'predict(a)', 'a{b:1}'])
def test_braces_that_are_no_dict_stay(tmp_path, text):
    assert parsed(tmp_path, text) == text
