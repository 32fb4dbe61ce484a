"""Numbers that arXiv 2308.16271 publishes, in percent, by the part of a config's name that identifies the model.

Pages, tests and docs read them here.
"""

from .tables import Table

# box AP50, AP75, AP, then mask
TABLE_1 = {
    'crate-emergence-small-p8': (2.9, 1.0, 1.1, 1.8, 0.7, 0.8),
    'crate-emergence-base-p8': (2.9, 1.0, 1.3, 2.2, 0.7, 1.0),
    'vit-small-p8': (0.1, 0.1, 0.0, 0.0, 0.0, 0.0),
    'vit-base-p8': (0.8, 0.2, 0.4, 0.7, 0.5, 0.4),
    'vit-small-p8_dino-pre': (5.0, 2.0, 2.4, 4.0, 1.3, 1.7),
    'vit-base-p8_dino-pre': (5.1, 2.3, 2.5, 4.1, 1.3, 1.8),
}
# box AP50, AP75, AP, and mIoU; the ViT's row stands for its layers in CRATE's embedding, too
TABLE_2 = {
    'crate-emergence-small-p8': (2.1, 0.7, 0.8, 23.9),
    'crate-emergence-small-mlp-p8': (0.2, 0.2, 0.2, 22.0),
    'crate-emergence-small-mhsa-p8': (0.1, 0.1, 0.0, 18.4),
    'crate-emergence-small-mhsa-mlp-p8': (0.1, 0.1, 0.0, 14.1),
    'vit-small-p8': (0.1, 0.1, 0.0, 14.1),
}
# top-1 of CRATE
TABLE_3 = {
    'in1k': dict(tiny=62.7, small=74.2, base=79.5),
    'cifar10': dict(tiny=94.1, small=97.2, base=98.1),
    'cifar100': dict(tiny=76.7, small=84.1, base=87.9),
    'flowers102': dict(tiny=82.2, small=92.2, base=96.7),
    'pets': dict(tiny=77.0, small=86.4, base=90.7),
}
# mIoU
FIGURE_4B = {
    'crate-emergence-small-p8': 23.9,
    'crate-emergence-base-p8': 23.6,
    'vit-small-p8': 14.1,
    'vit-base-p8': 19.2,
    'vit-small-p8_dino-pre': 27.0,
    'vit-base-p8_dino-pre': 27.3,
}
# the models of Table 1 and Figure 4b as tables call them: name, training
MODELS = {
    'crate-emergence-small-p8': ('CRATE-S/8', 'supervised'),
    'crate-emergence-base-p8': ('CRATE-B/8', 'supervised'),
    'vit-small-p8': ('ViT-S/8', 'supervised'),
    'vit-base-p8': ('ViT-B/8', 'supervised'),
    'vit-small-p8_dino-pre': ('ViT-S/8', 'DINO'),
    'vit-base-p8_dino-pre': ('ViT-B/8', 'DINO'),
}
# the models of Table 2
ABLATIONS = {
    'crate-emergence-small-p8': 'CRATE',
    'crate-emergence-small-mlp-p8': 'CRATE-MLP',
    'crate-emergence-small-mhsa-p8': 'CRATE-MHSA',
    'vit-small-p8': 'ViT',
}


def table_1() -> Table:
    """Return Table 1: class-agnostic AP of MaskCut on COCO val2017."""
    header = ['published', 'box AP50', 'AP75', 'AP', 'mask AP50', 'AP75', 'AP']
    return Table(header, [[_name(key), *TABLE_1[key]] for key in MODELS])


def figure_4b() -> Table:
    """Return Figure 4b: mIoU of the attention on VOC 2012 val."""
    return Table(['published', 'mIoU'], [[_name(key), FIGURE_4B[key]] for key in MODELS])


def report_table() -> Table:
    """Return the mIoU of Figure 4b beside the mask AP of Table 1."""
    rows = [[*names, FIGURE_4B[key], TABLE_1[key][-1]] for key, names in MODELS.items()]
    return Table(['model', 'trained', 'mIoU, VOC 2012 val', 'mask AP, COCO val2017'], rows)


def _name(key: str) -> str:
    name, training = MODELS[key]
    return name if training == 'supervised' else f'{name}, {training}'
