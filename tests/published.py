"""The numbers that arXiv 2308.16271 publishes, by the part of a config's name that says which model it is."""

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
