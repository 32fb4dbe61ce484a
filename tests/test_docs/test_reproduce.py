"""Every command on the pages is one: its tool takes its arguments, its configs load, its options are settings."""

import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from config_tree import ROOT, build_without_memory

from projects.crate.engine.launch import read_config
from projects.crate.errors import UserError
from projects.crate.study.published import FIGURE_4B, TABLE_1, TABLE_2, TABLE_3

PAGE = ROOT / 'docs/reproduce.md'
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/**/*.md'))]
TABLES, FIGURES = [1, 2, 3], [1, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14]
# as in published.py -> first column of the page's tables
MODELS = {
    'crate-emergence-small-p8': 'CRATE-S/8',
    'crate-emergence-base-p8': 'CRATE-B/8',
    'vit-small-p8': 'ViT-S/8',
    'vit-base-p8': 'ViT-B/8',
    'vit-small-p8_dino-pre': 'ViT-S/8, DINO',
    'vit-base-p8_dino-pre': 'ViT-B/8, DINO',
}
ABLATIONS = {
    'crate-emergence-small-p8': 'CRATE',
    'crate-emergence-small-mlp-p8': 'CRATE-MLP',
    'crate-emergence-small-mhsa-p8': 'CRATE-MHSA',
    'vit-small-p8': 'ViT',
}
SIZES = dict(tiny='CRATE-T/8', small='CRATE-S/8', base='CRATE-B/8')
SMALL = 'configs/classification/crate-$size-p16_8xb64-coslr-200e_in1k.py'
MASKCUT = 'configs/maskcut/maskcut_vit-base-p8_1xb8_coco.py'

every_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)


def blocks(text):
    return re.findall(r'^```bash\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def inline(text):
    return re.findall(r'`((?:python|bash) tools/[^`]+)`', text)


@pytest.fixture
def calls(tmp_path):
    """Function: block -> its commands as lists of words, after loops, variables, our scripts, and what is optional.

    A shell runs the block. All it finds are programs that print how they were called, and a bash for scripts.
    """
    call = '#!/bin/sh\nprintf "%s\\037" "${0##*/}" "$@"\necho\n'
    programs = dict.fromkeys(('python', 'torchrun', 'srun', 'make'), call)
    programs['python'] = call.replace('\n', f'\n[ "$1" = -c ] && exec {sys.executable} "$@"\n', 1)  # it finds a package
    programs['mv'] = '#!/bin/sh\n'
    programs['bash'] = '#!/bin/sh\nPYTHON=python PATH="$PATH:/usr/bin:/bin" exec /bin/bash "$@"\n'
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(block):
        block = re.sub(r'\[(--[^\]]*)\]', r'\1', block)
        block = re.sub(r'^cd work_dirs/.*\n', '', block, flags=re.MULTILINE)  # what a command would have made
        shell = ['/bin/bash', '-euo', 'pipefail', '-c', block]
        result = subprocess.run(shell, cwd=ROOT, env=dict(PATH=str(tmp_path)), capture_output=True, text=True)
        assert result.returncode == 0, f'{block}: {result.stderr}'
        return [line.split('\037')[:-1] for line in result.stdout.splitlines()]

    return run


def problem(words):
    """What is wrong with a command, or None."""
    if words[0] == 'make':
        targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        return None if words[1] in targets else f'no target {words[1]}'
    if words[1] == '-m' and words[2] in sys.stdlib_module_names:
        return None
    script = [index for index, word in enumerate(words) if word.endswith('.py')]
    if script and '.mim' in Path(words[script[0]]).parts:  # a tool of a library
        return None if Path(words[script[0]]).is_file() else 'the library has no such tool'
    if not script or not (ROOT / words[script[0]]).is_file():
        return 'no such tool'
    arguments = words[script[0] + 1 :]
    try:
        args = load(ROOT / words[script[0]]).parse_args(arguments)
    except SystemExit:
        return 'the tool does not take these arguments'
    configs = [word for word in arguments if re.match(r'configs/.*\.py$', word) and 'NAME' not in word]
    options = tuple(getattr(args, 'cfg_options', ()))
    return next(filter(None, (config_problem(config, options) for config in configs)), None)


@functools.cache
def load(path):
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def config_problem(config, options):
    try:
        cfg = read_config(str(ROOT / config))
        if unknown := [option for option in options if not has(cfg, option.partition('=')[0].split('.'))]:
            return f'{config} has no setting {unknown[0]}'
        build_without_memory(read_config(str(ROOT / config), options))
    except (UserError, KeyError) as error:  # a type that is not registered is a KeyError
        return str(error)
    return None


def has(settings, keys):
    """Whether the settings have what an option changes."""
    if not keys:
        return True
    key = int(keys[0]) if isinstance(settings, (list, tuple)) else keys[0]
    return key in (range(len(settings)) if isinstance(key, int) else settings) and has(settings[key], keys[1:])


@every_page
def test_every_command_is_one(page, calls, capsys):
    text = page.read_text()
    found = [call for block in [*blocks(text), *inline(text)] for call in calls(block)]
    assert found or '```python' in text  # which other tests run
    problems = {' '.join(call): what for call in found if (what := problem(call))}
    assert not problems, capsys.readouterr().err


@pytest.mark.parametrize(
    'command',
    [
        'python tools/tset.py CONFIG CHECKPOINT',
        'python -m projects.crate CONFIG',
        'python tools/test.py CONFIG',
        'python tools/test.py CONFIG CHECKPOINT --shwo-dir pictures',
        'python tools/test.py CONFIG CHECKPOINT; python tools/train.py',
        'python tools/train.py configs/segmentation/coarse-seg_crate-p8.py',
        'bash tools/dist_test.sh configs/maskcut/maskcut_crate-p8.py CHECKPOINT 8',
        'bash tools/slurm_train.sh PARTITION JOB configs/maskcut/maskcut_crate-p8.py WORK_DIR',
        f'for size in small huge; do python tools/train.py {SMALL}; done',
        f'python tools/test.py {MASKCUT} CHECKPOINT --cfg-options model.layr=8',
        f'python tools/test.py {MASKCUT} CHECKPOINT --cfg-options test_dataloader.dataset.pipeline.9.scale=8',
        f'python tools/test.py {MASKCUT} CHECKPOINT --cfg-options model.type=MaskCutter',
        'make demos',
    ],
)
def test_what_is_no_command_is_found(command, calls):
    assert any(problem(call) for call in calls(command))


@pytest.mark.parametrize('command', ['pyhton tools/test.py CONFIG CHECKPOINT', 'bash tools/dist_tset.sh CONFIG 8'])
def test_what_does_not_run_is_found(command, calls):
    with pytest.raises(AssertionError, match='not found|No such file'):
        calls(command)


@every_page
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\((?!https?://)([^)#]*)#?([^)]*)\)', page.read_text())
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    targets = [(page.parent / link if link else page, anchor) for link, anchor in links if anchor]
    assert [anchor for target, anchor in targets if anchor not in anchors(target.read_text())] == []


def anchors(text):
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings]


def sections():
    """{heading: text} of the page."""
    parts = re.split(r'^## (.*)\n', PAGE.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def section(kind, number):
    """The text under the heading that names this table or figure."""
    wanted = rf'{kind}s? [\d, and]*\b{number}\b'
    (found,) = (text for heading, text in sections().items() if re.search(wanted, heading))
    return found


@pytest.mark.parametrize(
    ('kind', 'number'), [*(('Table', number) for number in TABLES), *(('Figure', number) for number in FIGURES)]
)
def test_every_table_and_figure_has_a_command(kind, number):
    assert blocks(section(kind, number))


def numbers(kind, number, model):
    """The numbers in the row of a model, in a table of a section."""
    (row,) = re.findall(rf'^\| {re.escape(model)} \|(.*)\|$', section(kind, number), re.MULTILINE)
    return [float(cell) for cell in row.split('|') if re.fullmatch(r' *[\d.]+ *', cell)]


@pytest.mark.parametrize('row', TABLE_1)
def test_table_1(row):
    assert numbers('Table', 1, MODELS[row]) == list(TABLE_1[row])


@pytest.mark.parametrize('row', ABLATIONS)
def test_table_2(row):
    assert numbers('Table', 2, ABLATIONS[row]) == list(TABLE_2[row])


@pytest.mark.parametrize('size', SIZES)
def test_table_3(size):
    assert numbers('Table', 3, SIZES[size]) == [TABLE_3[data][size] for data in TABLE_3]


@pytest.mark.parametrize('row', FIGURE_4B)
def test_figure_4b(row):
    assert numbers('Figure', 4, MODELS[row]) == [FIGURE_4B[row]]
