"""List what every config promises: one row per recipe, with its backbones. The names of the files follow from a row."""

import re
from dataclasses import dataclass
from pathlib import Path

from config_tree import ROOT

from projects.crate.study.published import FIGURE_4B, TABLE_1, TABLE_2, TABLE_3

# file in configs/_base_/backbones -> width, heads, layers, attention, feed-forward part, size of the training images
BACKBONES = {
    'crate-tiny-p16': (384, 6, 12, 'MSSA', 'ISTA', 224),
    'crate-small-p16': (576, 12, 12, 'MSSA', 'ISTA', 224),
    'crate-base-p16': (768, 12, 12, 'MSSA', 'ISTA', 224),
    'crate-large-p16': (1024, 16, 24, 'MSSA', 'ISTA', 224),
    'crate-emergence-tiny-p8': (192, 3, 12, 'MSSA', 'ISTA', 224),
    'crate-emergence-small-p8': (384, 6, 12, 'MSSA', 'ISTA', 224),
    'crate-emergence-base-p8': (768, 12, 12, 'MSSA', 'ISTA', 224),
    'crate-emergence-small-sth-p8': (384, 6, 12, 'MSSA', 'ISTA', 224),
    'crate-emergence-small-mhsa-p8': (384, 6, 12, 'MHSA', 'ISTA', 224),
    'crate-emergence-small-mlp-p8': (384, 6, 12, 'MSSA', 'MLP', 224),
    'crate-emergence-small-mhsa-mlp-p8': (384, 6, 12, 'MHSA', 'MLP', 224),
    'crate-alpha-base-p16': (768, 12, 12, 'MSSA', 'ODL', 224),
    'crate-alpha-large-p14': (1024, 16, 24, 'MSSA', 'ODL', 224),
    'vit-small-p8': (384, 6, 12, 'MHSA', 'MLP', 224),
    'vit-small-p14': (384, 6, 12, 'MHSA', 'MLP', 518),
    'vit-small-p16': (384, 6, 12, 'MHSA', 'MLP', 224),
    'vit-base-p8': (768, 12, 12, 'MHSA', 'MLP', 224),
    'vit-base-p16': (768, 12, 12, 'MHSA', 'MLP', 224),
    'crate-w128d5-p4': (128, 4, 5, 'MSSA', 'ISTA', 48),
    'vit-w128d5-p4': (128, 4, 5, 'MHSA', 'MLP', 48),
    'crate-w128d6-p8': (128, 4, 6, 'MSSA', 'ISTA', 64),
    'vit-w128d6-p8': (128, 4, 6, 'MHSA', 'MLP', 64),
    'crate-w192d5-p4': (192, 3, 5, 'MSSA', 'ISTA', 32),
    'crate-w192d5-mhsa-p4': (192, 3, 5, 'MHSA', 'ISTA', 32),
    'crate-w192d5-mlp-p4': (192, 3, 5, 'MSSA', 'MLP', 32),
    'vit-w192d5-p4': (192, 3, 5, 'MHSA', 'MLP', 32),
    'crate-w192d6-p8': (192, 3, 6, 'MSSA', 'ISTA', 64),
    'crate-w192d6-mhsa-p8': (192, 3, 6, 'MHSA', 'ISTA', 64),
    'crate-w192d6-mlp-p8': (192, 3, 6, 'MSSA', 'MLP', 64),
    'crate-w384d6-p8': (384, 3, 6, 'MSSA', 'ISTA', 64),
    'vit-w192d6-p8': (192, 3, 6, 'MHSA', 'MLP', 64),
    'vit-w192d6-reg4-p8': (192, 3, 6, 'MHSA', 'MLP', 64),
    'vit-w96d6-p8': (96, 3, 6, 'MHSA', 'MLP', 64),
    'crate-w384d6-p4': (384, 6, 6, 'MSSA', 'ISTA', 64),
    'crate-w384d6-mhsa-p4': (384, 6, 6, 'MHSA', 'ISTA', 64),
    'crate-w384d6-mlp-p4': (384, 6, 6, 'MSSA', 'MLP', 64),
    'vit-w384d6-p4': (384, 6, 6, 'MHSA', 'MLP', 64),
}
# backbone -> data set of its weights, checkpoints/{backbone}_{data set}.pth; and what makes them, as its file says
WEIGHTS = {
    'crate-base-p16': ('in1k', 'crate-base-p16_8xb64-coslr-200e_in1k.py'),
    'crate-emergence-tiny-p8': ('in21k', 'crate-emergence-tiny-p8_8xb512-coslr-90e_in21k.py'),
    'crate-emergence-small-p8': ('in21k', 'crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'),
    'crate-emergence-base-p8': ('in21k', 'crate-emergence-base-p8_16xb256-coslr-90e_in21k.py'),
    'crate-alpha-base-p16': ('in21k', 'crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py'),
    'crate-alpha-large-p14': ('in21k', 'crate-alpha-large-p14_32xb128-mixup-coslr-91e_in21k.py'),
    'vit-small-p8': ('in21k', 'vit-small-p8_16xb256-coslr-90e_in21k.py'),
    'vit-base-p16': ('in1k', 'vit-base-p16_32xb128-mae_in1k'),  # a model of mmpretrain
    'crate-w128d5-p4': ('sample', 'crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py'),
    'crate-w128d6-p8': ('tinyimagenet100', 'crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py'),
    'crate-w192d6-p8': ('tinyimagenet100', 'crate-w192d6-p8_1xb128-coslr-4000i_tinyimagenet100-64px.py'),
    'vit-w192d6-p8': ('tinyimagenet100', 'vit-w192d6-p8_1xb128-coslr-4000i_tinyimagenet100-64px.py'),
}
SEMI = 'box AP 16.8, mask AP 14.6'  # of Cascade Mask R-CNN on 1% of COCO (arXiv 2301.11320)


@dataclass(frozen=True)
class Recipe:
    """Properties that all configs of a recipe share.

    Attributes:
        file: Name of the recipe in configs/_base_/recipes.
        prefix: Folder of the configs, and what precedes the backbone in their names.
        runs: '{gpus}xb{images of a GPU}' -> backbones.
        schedule: Words of the names that tell of the training, the last '{length}{unit}': epochs (12e), iterations
            (400i) or thousands of them (40k). Empty where nothing is trained.
        end: Data set, size of the images and options, as the names say them.
        root: Folder of the data under $CRATE_DATA.
        classes: Number of classes; None where nothing is classified.
        optimizer: Type, learning rate, weight decay.
        start: 'weights' (the backbone's), 'dino' or 'dinov2' (weights that the tool is given, or where something is
            trained, ``checkpoints/{backbone}_{start}.pth``), 'cutler' (a whole detector), or '' (nothing).
        train_root: Folder of the training images, where it is another one.
    """

    file: str
    prefix: str
    runs: dict[str, tuple[str, ...]]
    schedule: str
    end: str
    root: str
    classes: int | None = None
    optimizer: tuple[str, float, float] | None = None
    start: str = ''
    train_root: str = ''

    @property
    def data(self) -> str:
        """Data set, as the names say it."""
        return self.end.split('-')[0]

    @property
    def length(self) -> int:
        """Epochs or iterations."""
        number = self.schedule.split('-')[-1]
        return int(number[:-1]) * (1000 if number[-1] == 'k' else 1)

    @property
    def by_epoch(self) -> bool:
        """Whether the length counts epochs."""
        return self.schedule.endswith('e')

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the images, where the names say it."""
        found = re.search(r'-(?:(\d+)x)?(\d+)px', self.end)
        return found and (int(found[1] or found[2]), int(found[2]))


@dataclass(frozen=True)
class Row:
    """A config."""

    recipe: Recipe
    backbone: str
    gpus: int
    batch: int

    @property
    def path(self) -> Path:
        """The file."""
        one = self.recipe
        start = WEIGHTS[self.backbone][0] if one.start == 'weights' else one.start
        words = f'{start}-pre' * bool(start), f'{self.gpus}xb{self.batch}', one.schedule
        return ROOT / f'configs/{one.prefix}{self.backbone}_{"-".join(filter(None, words))}_{one.end}.py'

    @property
    def patch(self) -> int:
        """Side of a patch."""
        return int(self.backbone.rpartition('-p')[2])

    def published(self) -> list[str]:
        """Return what the header must say: the numbers of the paper."""
        one, row = self.recipe, self.backbone + '_dino-pre' * (self.recipe.start == 'dino')
        if one.file.startswith('emergence_finetune'):
            return [f'Published: top-1 {TABLE_3[one.data][row.split("-")[2]]}. Not run here.']
        texts = []
        if one.file.endswith('_semi'):
            texts.append('Published for CutLER, 1% of COCO')
            texts.append(f': {SEMI}. Not run here.')
        if one.file == 'maskcut_coco' and one.end == 'coco':
            if row in TABLE_1:
                box, mask = _ap(TABLE_1[row][:3]), _ap(TABLE_1[row][3:])
                texts.append(f'Published (Table 1): box {box}; mask {mask}. Not run here.')
            if row in TABLE_2:
                texts += ['Published (Table 2)', f': box {_ap(TABLE_2[row][:3])}']
        if one.file == 'coarse-seg_voc2012':
            if row in FIGURE_4B:
                texts += ['Published (Figure 4b', f': mIoU {FIGURE_4B[row]}. Not run here.']
            if row in TABLE_2:
                texts += ['Table 2)', f': mIoU {TABLE_2[row][-1]}. Not run here.']
        return texts


def _ap(values):
    return 'AP50 {}, AP75 {}, AP {}'.format(*values)


EMERGENCE = tuple(f'crate-emergence-{size}-p8' for size in ('tiny', 'small', 'base'))
WHITE_BOX = tuple(f'crate-{size}-p16' for size in ('tiny', 'small', 'base', 'large'))
ALPHA = ('crate-alpha-base-p16', 'crate-alpha-large-p14')
ABLATIONS = tuple(f'crate-emergence-small-{parts}-p8' for parts in ('sth', 'mhsa', 'mlp', 'mhsa-mlp'))
DENSE_P16, DENSE_P8 = ('crate-base-p16', ALPHA[0], 'vit-base-p16'), (EMERGENCE[1], 'vit-small-p8')
W128D5, W128D6 = (tuple(f'{family}-{size}' for family in ('crate', 'vit')) for size in ('w128d5-p4', 'w128d6-p8'))
W192D5, W384D6 = (
    tuple(name.format(size) for name in ('crate-{}-p4', 'crate-{}-mhsa-p4', 'crate-{}-mlp-p4', 'vit-{}-p4'))
    for size in ('w192d5', 'w384d6')
)
EVIDENCE = (
    tuple(f'crate-{size}-p8' for size in ('w192d6', 'w192d6-mhsa', 'w192d6-mlp', 'w384d6')),
    tuple(f'vit-{size}-p8' for size in ('w192d6', 'w192d6-reg4', 'w96d6')),
)
DENSE_SMALL = ('crate-w192d6-p8', 'vit-w192d6-p8')
SUPERVISED = (*EMERGENCE[1:], *ABLATIONS[1:], 'vit-small-p8', 'vit-base-p8')
DINO = ('vit-small-p8', 'vit-base-p8')
# recipe and the name of its configs -> runs
IN21K = {
    '8xb512': (*EMERGENCE[:2], *ABLATIONS[:2]),
    '16xb256': (EMERGENCE[2], *ABLATIONS[2:], 'vit-small-p8'),
    '32xb128': ('vit-base-p8',),
}
ALPHA_IN21K, ALPHA_ADAM = {'16xb256': ALPHA[:1], '32xb128': ALPHA[1:]}, ('AdamW', 5e-5 * 4096 / 256, 0.1)
TINY, LION = ('tinyimagenet100-64px', 'tiny-imagenet-100', 100), ('Lion', 4e-4, 0.05)
VOC, VOC_SAMPLE = 'VOCdevkit/VOC2012', 'sample/VOCdevkit/VOC2012'


def classify(file, runs, schedule, *row, **more):
    return Recipe(file, 'classification/', runs, schedule, *row, **more)


def finetune(data, folder, classes, schedule='coslr-50e'):
    runs = {'4xb64': EMERGENCE[:2], '4xb32': EMERGENCE[2:]}
    return classify(
        f'emergence_finetune_{data}', runs, schedule, data, folder, classes, ('AdamW', 5e-5, 0.01), 'weights'
    )


def detect(detector, recipe, runs, schedule, *row, **more):
    return Recipe(f'{detector}_{recipe}', f'detection/{detector}_', runs, schedule, *row, **more)


def segment(kind, recipe, runs, schedule, *row):
    return Recipe(f'{recipe}', f'segmentation/{kind}_', runs, schedule, *row)


def measure(kind, recipe, backbones, end, folder, start=''):
    runs = {'1xb8': backbones}
    return Recipe(f'{kind.split("/")[1]}{recipe}', f'{kind}_', runs, '', end, folder, start=start)


RECIPES = [
    classify('crate_200e_in1k', {'8xb64': WHITE_BOX}, 'coslr-200e', 'in1k', 'imagenet', 1000, ('Lion', 2e-4, 0.05)),
    classify('emergence_90e_in21k', IN21K, 'coslr-90e', 'in21k', 'imagenet21k', 21842, ('Lion', 9.6e-5, 0.05)),
    finetune('in1k', 'imagenet', 1000, 'coslr-20e'),
    finetune('cifar10', 'cifar10', 10),
    finetune('cifar100', 'cifar100', 100),
    finetune('flowers102', 'flowers102', 102),
    finetune('pets', 'pets', 37),
    classify(
        'emergence_linear_in1k',
        {'8xb128': EMERGENCE},
        'linear-coslr-100e',
        'in1k',
        'imagenet',
        1000,
        ('SGD', 0.001 * 1024 / 256, 0.0),
        'weights',
    ),
    *(
        classify('alpha_91e_in21k', runs, f'{tags}-coslr-91e', 'in21k', 'imagenet21k-19167', 19167, ALPHA_ADAM)
        for runs, tags in ((ALPHA_IN21K, 'mixup'), ({'32xb128': ALPHA[1:]}, 'fsdp-mixup'))
    ),
    classify(
        'alpha_30e_in1k',
        {'8xb128': ALPHA},
        'coslr-30e',
        'in1k',
        'imagenet',
        1000,
        ('AdamW', 1e-5 * 1024 / 256, 0.1),
        'weights',
    ),
    classify(
        'sample_400i', {'1xb48': W128D5}, 'coslr-400i', 'sample-48px', 'sample/imagenet', 8, ('AdamW', 1e-3, 0.01)
    ),
    classify('tinyimagenet100_8e', {'1xb128': W128D6}, 'coslr-8e', *TINY, ('AdamW', 1e-3, 0.05)),
    classify('tinyimagenet100_1750i', {'1xb128': W192D5}, 'coslr-1750i', *TINY, LION),
    classify('tinyimagenet100_4000i', {'1xb128': EVIDENCE[0]}, 'coslr-4000i', *TINY, ('Lion', 4e-4, 0.05)),
    classify('tinyimagenet100_4000i-vit', {'1xb128': EVIDENCE[1]}, 'coslr-4000i', *TINY, ('Lion', 1.5e-4, 0.05)),
    classify('tinyimagenet100_3000i', {'1xb512': W384D6}, 'coslr-3000i', *TINY, LION),
    *(
        detect(
            detector,
            f'lsj-{epochs}e',
            {'16xb4': DENSE_P16, '32xb2': DENSE_P8},
            f'lsj-step-{epochs}e',
            'coco-1024x1024px',
            'coco',
            80,
            ('AdamW', 1e-4, 0.1),
            'weights',
        )
        for detector in ('mask-rcnn', 'cascade-mask-rcnn')
        for epochs in (100, 36)
    ),
    *(
        detect(
            detector,
            '12e',
            {'8xb2': DENSE_P16 + DENSE_P8},
            'step-12e',
            'coco',
            'coco',
            80,
            ('AdamW', 1e-4, decay),
            'weights',
        )
        for detector, decay in {'mask-rcnn': 0.05, 'cascade-mask-rcnn': 0.05, 'retinanet': 0.05, 'dino': 1e-4}.items()
    ),
    detect(
        'mask-rcnn',
        'sample',
        {'1xb8': W128D5[:1]},
        'step-4e',
        'sample-96x128px',
        'sample/coco',
        8,
        ('AdamW', 1e-3, 0.05),
        'weights',
    ),
    *(
        detect(
            'mask-rcnn',
            recipe,
            {'1xb2': backbones},
            schedule,
            f'{recipe}-320x320px',
            'coco128',
            80,
            ('AdamW', 1e-3, 0.05),
            start,
        )
        for recipe, backbones, schedule, start in (
            ('coco128', W128D6[:1], 'step-75e', 'weights'),
            ('coco128-half', DENSE_SMALL, 'step-30e', 'weights'),
            ('coco128-half', ('vit-small-p14',), 'step-30e', 'dinov2'),
        )
    ),
    detect(
        'mask-rcnn',
        'r50_sample-pseudo',
        {'1xb8': ('r50',)},
        'step-12e',
        'sample-pseudo-96x128px',
        'sample/coco',
        1,
        ('AdamW', 2e-4, 0.05),
    ),
    *(
        detect(
            detector,
            recipe,
            {'8xb2': ('r50',)},
            f'step-{length}',
            'in1k-pseudo',
            'coco',
            1,
            ('SGD', lr, 5e-5),
            'dino',
            train_root='imagenet',
        )
        for detector in ('mask-rcnn', 'cascade-mask-rcnn')
        for recipe, length, lr in (('cutler', '160k', 0.01), ('cutler-round', '80k', 0.005))
    ),
    *(
        detect(
            detector,
            recipe,
            {'8xb2': (backbone,)},
            f'step-{length}',
            'in1k-pseudo',
            'coco',
            1,
            ('AdamW', lr, 0.05),
            start,
            train_root='imagenet',
        )
        for detector in ('mask-rcnn', 'cascade-mask-rcnn')
        for backbone, start in (('crate-base-p16', 'weights'), ('vit-base-p16', 'dino'))
        for recipe, length, lr in (('cutler-vit', '160k', 1e-4), ('cutler-vit-round', '80k', 5e-5))
    ),
    *(
        detect(detector, recipe, {'8xb2': backbones}, 'step-48e', 'coco-1pct', 'coco', 80, optimizer, 'cutler')
        for detector in ('mask-rcnn', 'cascade-mask-rcnn')
        for recipe, backbones, optimizer in (
            ('semi', ('r50',), ('SGD', 0.01, 5e-5)),
            ('semi-vit', ('crate-base-p16', 'vit-base-p16'), ('AdamW', 1e-4, 0.05)),
        )
    ),
    *(
        detect(
            'mask-rcnn',
            recipe,
            {'1xb4': ('vit-small-p14',)},
            f'step-{length}',
            'coco-pseudo-448x448px',
            'coco',
            1,
            ('AdamW', lr, 0.05),
            'dinov2',
        )
        for recipe, length, lr in (('frozen-vit', '12e', 1e-3), ('frozen-vit-round', '6e', 5e-4))
    ),
    *(
        segment(kind, f'{recipe}_{data}', {'8xb2': DENSE_P16 + DENSE_P8}, *schedule, ('AdamW', lr, decay), 'weights')
        for kind, recipe, lr, decay in (('upernet', 'upernet', 1e-4, 0.05), ('linear', 'linear-seg', 1e-3, 1e-4))
        for data, schedule in {
            'ade20k': ('poly-160k', 'ade20k-512x512px', 'ade/ADEChallengeData2016', 150),
            'voc2012aug': ('poly-40k', 'voc2012aug-512x512px', VOC, 21),
        }.items()
    ),
    segment(
        'upernet',
        'upernet_sample',
        {'1xb8': W128D5[:1]},
        'poly-300i',
        'sample-96x128px',
        VOC_SAMPLE,
        9,
        ('AdamW', 3e-3, 0.01),
        'weights',
    ),
    *(
        segment(
            kind, f'{recipe}_camvid', {run: backbones}, 'poly-400i', 'camvid-240x320px', 'camvid', 11, optimizer, start
        )
        for kind, recipe, run, optimizer in (
            ('linear', 'linear-seg', '1xb8', ('AdamW', 1e-2, 1e-4)),
            ('upernet', 'upernet', '1xb4', ('AdamW', 1e-3, 0.05)),
        )
        for backbones, start in ((DENSE_SMALL, 'weights'), (('vit-small-p14',), 'dinov2'))
    ),
    measure('maskcut/maskcut', '_coco', SUPERVISED, 'coco', 'coco'),
    measure('maskcut/maskcut', '_coco', DINO, 'coco', 'coco', 'dino'),
    measure('maskcut/maskcut', '_coco', EMERGENCE[1:2], 'coco-crf', 'coco'),
    measure('maskcut/maskcut', '_coco128', W128D6, 'coco128', 'coco128'),
    measure('maskcut/maskcut', '_coco128-518px', ('vit-small-p14',), 'coco128-518px', 'coco128', 'dinov2'),
    measure('maskcut/maskcut', '_sample', W128D5[:1], 'sample-96x128px', 'sample/coco'),
    *(
        Recipe(f'{kind}_{data}', f'discovery/{kind}_', {'1xb1': ('vit-small-p16',)}, '', data, folder, start='dino')
        for kind, sets in {
            'corloc': dict(voc2007='VOCdevkit', voc2012='VOCdevkit', coco20k='coco'),
            'saliency': dict(ecssd='ECSSD', duts='DUTS-TE', omron='DUT-OMRON'),
        }.items()
        for data, folder in sets.items()
    ),
    measure('segmentation/coarse-seg', '_voc2012', SUPERVISED, 'voc2012', VOC),
    measure('segmentation/coarse-seg', '_voc2012', DINO, 'voc2012', VOC, 'dino'),
    measure('segmentation/coarse-seg', '_voc2012-224', W128D6, 'voc2012-224x224px', VOC),
    measure('segmentation/coarse-seg', '_sample', W128D5, 'sample-96x128px', VOC_SAMPLE),
]
ROWS = [
    Row(recipe, backbone, *map(int, run.split('xb')))
    for recipe in RECIPES
    for run, backbones in recipe.runs.items()
    for backbone in backbones
]


def first_rows(*prefixes):
    """The first config of every recipe of these folders: what is not the backbone's is the same in all of them."""
    found = {row.recipe.file: row for row in reversed(ROWS) if row.recipe.prefix.startswith(prefixes)}
    return list(reversed(found.values()))
