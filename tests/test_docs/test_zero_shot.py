"""docs/zero-shot.md: each layout, written small, is evaluated by the lines of the page through tools/test.py."""

import csv
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from config_tree import BASE, ROOT
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import InstanceData
from PIL import Image
from toy_runs import forget_runs, load_tool
from toy_sweeps import metrics_of

from projects.crate.errors import UserError

pytestmark = pytest.mark.usefixtures('fast_runner')

PAGE = (ROOT / 'docs/zero-shot.md').read_text()
HEIGHT, WIDTH = 40, 60
# image -> x1, y1, x2, y2 of its objects; the first one is never found, IGNORED need not be
OBJECTS = {1: [(30, 10, 50, 36), (4, 6, 24, 30)], 2: [(8, 8, 40, 32)]}
IGNORED = 0, 30, 10, 38
TOY = """
_base_ = {base!r}
model = dict(_delete_=True, type='KnownBoxes')
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
XML = '<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>'


@MODELS.register_module()
class KnownBoxes(BaseModel):
    """Finds all objects but one, as boxes and masks, whatever it sees."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode='tensor'):
        for sample in data_samples:
            number = int(Path(sample.img_path).stem[-6:])
            boxes = [box for box in OBJECTS[number] if box != OBJECTS[1][0]]
            masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
            for mask, (x1, y1, x2, y2) in zip(masks, boxes):
                mask[y1:y2, x1:x2] = True
            scores, labels = torch.full((len(boxes),), 1 / (1 + number)), torch.zeros(len(boxes), dtype=torch.long)
            boxes = torch.tensor(boxes, dtype=torch.float32)
            sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels, masks=masks)
        return data_samples


def block(heading, language='python'):
    """The first block under a heading of the page."""
    section = re.split(rf'^#+ {heading}\n', PAGE, flags=re.MULTILINE)[1]
    return re.search(rf'^```{language}\n(.*?)^```', section, re.MULTILINE | re.DOTALL)[1]


def images(folder, pattern):
    """Write the images; ``pattern`` names them by their number."""
    for number in OBJECTS:
        path = folder / pattern.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (WIDTH, HEIGHT), (9 * number, 99, 0)).save(path)


def coco(path, name, masks=True, **more):
    """Write the annotations in COCO's format; ``name`` is (key, pattern) of the names of the images."""
    entries = []
    for number, boxes in OBJECTS.items():
        for x1, y1, x2, y2 in boxes:
            entries.append(
                dict(id=len(entries) + 1, image_id=number, category_id=7, bbox=[x1, y1, x2 - x1, y2 - y1], **more)
            )
            entries[-1]['area'] = (x2 - x1) * (y2 - y1)
            if masks:
                entries[-1]['segmentation'] = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    sizes = dict(height=HEIGHT, width=WIDTH)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(
        images=[{'id': number, name[0]: name[1].format(number), **sizes} for number in OBJECTS],
        annotations=entries,
        categories=[dict(id=7, name='dog')],
    )
    path.write_text(json.dumps(content))


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Evaluate a config of the folder work_dirs with options; return the results. Data lie in data/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'work_dirs').mkdir()
    torch.save(dict(state_dict=KnownBoxes().state_dict()), tmp_path / 'CHECKPOINT')

    def run(base, options=()):
        forget_runs()
        (tmp_path / 'work_dirs/toy.py').write_text(TOY.format(base=base))
        words = ['work_dirs/toy.py', 'CHECKPOINT', '--work-dir', str(tmp_path / 'run')]
        assert load_tool('test')([*words, *(['--cfg-options', *options] if options else [])]) == 0
        return metrics_of(tmp_path / 'run', 'coco')

    return run


def check(results, masks):
    """Two of three objects are found: a recall of 2 / 3, and precision 1 at 67 of 101 recalls."""
    for kind in ('bbox', 'segm')[: 1 + masks]:
        assert results[f'coco/{kind}_AR@100'] == pytest.approx(2 / 3)
        assert results[f'coco/{kind}_mAP'] == pytest.approx(67 / 101)
    assert masks == ('coco/segm_mAP' in results)


COCO_FILES = {
    'COCO': ('coco', 'val2017', '{:012}.jpg', 'annotations/instances_val2017.json'),
    'COCO20k': ('coco', 'train2014', 'COCO_train2014_{:012}.jpg', 'annotations/coco20k_trainval_gt.json'),
    'UVO': ('uvo', 'frames', 'video/{:06}.png', 'UVO_frame_val.json'),
    'LVIS': ('coco', '.', 'val2017/{:012}.jpg', 'annotations/lvis_v1_val.json'),
    'Objects365': ('objects365', 'val', 'patch0/objects365_v1_{:08}.jpg', 'zhiyuan_objv2_val.json'),
}


@pytest.mark.parametrize('name', COCO_FILES)
def test_coco_files(name, tmp_path, evaluate):
    folder, where, pattern, file = COCO_FILES[name]
    folder = tmp_path / 'data' / folder
    images(folder / where, pattern)
    command = block('COCO files', 'bash').replace('\\\n', ' ')
    if name == 'LVIS':
        coco(folder / file, ('coco_url', f'http://images.cocodataset.org/{pattern}'))
        exec(block('LVIS'), {})
        file = 'annotations/lvis_v1_val_names.json'
    elif name == 'Objects365':
        coco(folder / file, ('file_name', f'images/v1/{pattern}'), masks=False, iscrowd=0)
        command += re.search('Add `(test_dataloader[^`]+)`', PAGE)[1]
    else:
        coco(folder / file, ('file_name', pattern), iscrowd=0)
    for word, value in dict(FOLDER=folder, IMAGES=where, ANNOTATIONS=file).items():
        command = command.replace(word, str(value))
    _, _, config, _, _, *options = shlex.split(command)
    check(evaluate(f'../{config}', options), masks=name != 'Objects365')


def config(tmp_path, lines=()):
    """Write the config of the page, with other lines in place of its own."""
    text = block('Other files')
    for line in lines:
        key = line.split('=')[0]
        text, found = re.subn(rf'^( +){key}=.*,\n', rf'\1{line},\n', text, count=1, flags=re.MULTILINE)
        text = text if found else text.replace('        test_mode', f'        {line},\n        test_mode')
    (tmp_path / 'work_dirs/set.py').write_text(text)


def row(name):
    """The lines that the page gives for a data set."""
    found = re.search(rf'^\| {name}[^|]*\| (.*) \|$', PAGE.split('exchange these lines')[1], re.MULTILINE)
    return re.findall('`([^`]+)`', found[1])


@pytest.mark.parametrize('name', ['VOC', 'Clipart'])
def test_xml(name, tmp_path, evaluate):
    """Coordinates count from 1. A difficult object need not be found."""
    config(tmp_path, row(name) if name == 'Clipart' else ())
    folder = tmp_path / 'data' / ('clipart' if name == 'Clipart' else 'VOCdevkit/VOC2007')
    images(folder / 'JPEGImages', '{:06}.jpg')
    (folder / 'Annotations').mkdir()
    (folder / 'ImageSets/Main').mkdir(parents=True)
    (folder / 'ImageSets/Main/test.txt').write_text(''.join(f'{number:06}\n' for number in OBJECTS))
    for number, boxes in OBJECTS.items():
        text = f'<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>'
        for box in (*boxes, IGNORED):
            sides = ''.join(f'<{key}>{1 + side}</{key}>' for key, side in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
            text += XML.format('dog', int(box == IGNORED), sides)
        (folder / f'Annotations/{number:06}.xml').write_text(text + '</annotation>')
    check(evaluate('./set.py'), masks=False)


def test_kitti(tmp_path, evaluate):
    config(tmp_path, row('KITTI'))
    folder = tmp_path / 'data/kitti/training'
    images(folder / 'image_2', '{:06}.png')
    (folder / 'label_2').mkdir()
    for number, boxes in OBJECTS.items():
        lines = [f'Van 0.00 0 -1.5 {" ".join(f"{side:.2f}" for side in box)} 1.6 1.8 3.7 0 1 9 0.1\n' for box in boxes]
        lines.append(f'DontCare -1 -1 -10 {" ".join(map(str, IGNORED))} -1 -1 -1 -1000 -1000 -1000 -10\n')
        (folder / f'label_2/{number:06}.txt').write_text(''.join(lines))
    check(evaluate('./set.py'), masks=False)


@pytest.mark.parametrize(
    'line',
    [
        *('Van 0.00 0', 'Dog 0.00 0 -1.5 1 2 3 4', ''),
        *('Van 0.00 0 -1.5 1 2 x 4', 'Van 0.00 0 -1.5 1 2 nan 4', 'Van 0.00 0 -1.5 3 2 1 4', 'V\xe4n 0 0 0 1 2 3 4'),
    ],
)
def test_a_line_that_is_none_of_kitti(line, tmp_path):
    (tmp_path / '7.txt').write_text(f'Van 0.00 0 -1.5 1 2 3 4\n{line}\n', encoding='latin-1')
    with pytest.raises(UserError, match=r'7\.txt, line 2: not a line of KITTI'):
        DATASETS.build(dict(type='KITTIDataset', ann_file=str(tmp_path), data_prefix=dict(img=''), test_mode=True))


def test_openimages(tmp_path, evaluate, monkeypatch):
    """Coordinates are shares of the sides; the sizes of the images come from mmdet's command on the page."""
    config(tmp_path, row('OpenImages'))
    folder = tmp_path / 'data/openimages'
    images(folder / 'validation', '{:06}.jpg')
    (folder / 'class-descriptions-boxable.csv').write_text('/m/0bt9lr,Dog\n/m/01yrx,Cat\n')
    (folder / 'bbox_labels_600_hierarchy.json').write_text(
        '{"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/0bt9lr"}, {"LabelName": "/m/01yrx"}]}'
    )
    with (folder / 'validation-annotations-bbox.csv').open('w') as file:
        names = 'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction'
        rows = csv.writer(file)
        rows.writerow([*names.split(','), 'IsInside'])
        for number, boxes in reversed(OBJECTS.items()):  # the last image has two boxes: see the page
            for x1, y1, x2, y2 in boxes:
                sides = [x1 / WIDTH, x2 / WIDTH, y1 / HEIGHT, y2 / HEIGHT]
                rows.writerow([f'{number:06}', 'xclick', '/m/01yrx', 1, *sides, 0, 0, 0, 0, 0])
    (tmp_path / 'work_dirs/set.py').rename(tmp_path / 'work_dirs/openimages.py')
    run_script(block('Other files', 'bash'), monkeypatch)
    check(evaluate('./openimages.py'), masks=False)


def run_script(command, monkeypatch):
    """Run a script of mmdet, as a line of the page calls it, in this process."""
    script, words = re.search(r'/(\.mim/\S+)(.*)', command.replace('\\\n', ' ')).groups()
    words = [word.replace('$PWD', str(Path.cwd())) for word in shlex.split(words)]
    monkeypatch.setattr(sys, 'argv', [script, *words])
    runpy.run_path(str(Path(mmdet.__file__).parent / script), run_name='__main__')


def test_splits_are_seeded(tmp_path, monkeypatch):
    """The command of the page, twice: the same images, of which 10% hold what 1% does not."""
    monkeypatch.chdir(tmp_path)
    names = [f'{number}.jpg' for number in range(300)]
    content = dict(
        images=[dict(id=number, file_name=name) for number, name in enumerate(names)],
        annotations=[dict(id=number, image_id=number) for number in range(300)],
        **dict.fromkeys(('licenses', 'categories', 'info'), []),
    )
    (tmp_path / 'data/coco/annotations').mkdir(parents=True)
    (tmp_path / 'data/coco/annotations/instances_train2017.json').write_text(json.dumps(content))
    command, folder = block('Fine-tune with few labels', 'bash').splitlines()[0], tmp_path / 'data/coco/semi_anns'
    found = []
    for _ in range(2):
        run_script(command, monkeypatch)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
        np.random.seed(5)  # of somebody else
    assert found[0] == found[1]
    names = {percent: f'instances_train2017.1@{percent}.json' for percent in (1, 2, 5, 10)}
    sizes = [len(json.loads(found[0][name])['images']) for name in names.values()]
    assert sizes[:2] == [3, 6] and 13 <= sizes[2] <= 15 and 25 <= sizes[3] <= 30  # some are drawn twice
    assert names[1] in Config.fromfile(BASE / 'datasets/coco_semi.py').train_dataloader.dataset.ann_file
