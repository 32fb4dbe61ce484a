#!/usr/bin/env python3
"""Write pseudo labels: the masks that MaskCut finds in images, as one COCO file.

  python tools/maskcut.py IMAGES OUT.json --config configs/maskcut/NAME.py --checkpoint crate.pth
  python tools/maskcut.py IMAGES OUT.json --backbone dinov2-small --draw PICTURES

One process per GPU:
  torchrun --nproc-per-node 8 tools/maskcut.py IMAGES OUT.json --config C --checkpoint K
Process 3 of 16, on any machines with a shared disk:
  RANK=3 WORLD_SIZE=16 python tools/maskcut.py IMAGES OUT.json --config C --checkpoint K

After Ctrl-C, a kill or a power failure, repeat the command, with any number of processes. OUT.json.parts holds one file
per finished batch. Only unfinished batches are computed again. OUT.json is the same, byte for byte.

OUT.json.unreadable.txt lists images that cannot be read. They are left out.

--draw writes a picture of each image with its masks, from OUT.json. It can be given later, when OUT.json is finished.

A process computes with one thread. On a CPU, start one process per core.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli

ONE_THREAD = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), '1')


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('images', type=Path, help='folder (searched with all folders in it), or text file with a path per line')
    add('out', type=Path, metavar='OUT.json', help='COCO file to write; its paths are below IMAGES, or as in the list')
    add('--config', help='config file: one of configs/maskcut, or a detector with a mask head')
    add('--checkpoint', help='file with the weights of the backbone, or of the whole detector')
    text = 'pretrained ViT, in place of config and checkpoint: dinov2-small, timm/NAME, hf/NAME, a folder of either '
    text += 'library, and more: see docs/masks-without-labels.md'
    add('--backbone', metavar='NAME', help=text)
    add('--draw', type=Path, metavar='DIR', help='folder for a picture of each image with its masks')
    add('--layers', type=int, nargs='+', metavar='LAYER', help='layers of the features, from 0; -1 is the last')
    _cli.add_facet(parser)
    text = "largest number of masks per image, or 'auto': as long as the eigengap is large (default: as in the config)"
    add('--num-masks', type=number_or_auto, metavar='N', help=text)
    add('--score', choices=('one', 'round', 'ncut', 'gap'), help='score of a mask (default: as in the config)')
    text = 'run the backbone in this precision; the graph stays in float32 (default: float32)'
    add('--amp', choices=('bf16', 'fp16'), help=text)
    add('--root', type=Path, help='base folder of relative paths in a text file (default: current folder)')
    add('--batch-size', type=_cli.positive, help='images per batch (default: as in the config)')
    add('--num-workers', type=_cli.natural, help='image workers per process (default: as in the config)')
    text = 'write no file; mark unreadable images of an unfinished run, so that the next run tries them again'
    add('--forget-unreadable', action='store_true', help=text)
    _cli.add_cfg_options(parser, 'change settings, such as model.tau=0.2')
    text = 'launcher that sets the process rank (default: pytorch if RANK is set, as torchrun does; else none)'
    add('--launcher', choices=_cli.LAUNCHERS, default='pytorch' if 'RANK' in os.environ else 'none', help=text)
    args = parser.parse_args(argv)
    if args.backbone is None and None in (args.config, args.checkpoint):
        parser.error('give --config and --checkpoint, or --backbone')
    if args.backbone is not None and (args.config or args.checkpoint):
        parser.error('--backbone stands in place of --config and --checkpoint: leave them out')
    return args


def number_or_auto(text):
    return text if text == 'auto' else _cli.positive(text)


def main(argv=None):
    args = parse_args(argv)
    os.environ.update(ONE_THREAD)  # before the libraries are imported; see make_pseudo_labels
    return _cli.run('maskcut', label, args, f'interrupted; run the same command to continue from {args.out}.parts')


def label(args):
    from projects.crate import pseudo_labels
    from projects.crate.datasets.image_list import list_images
    from projects.crate.engine import launch
    from projects.crate.files import make_folder

    given = dict(batch_size=args.batch_size, num_workers=args.num_workers)
    options = [f'test_dataloader.{key}={value}' for key, value in given.items() if value is not None]
    model = dict(facet=args.facet, layer=args.layers, centred=args.centred or None, amp=args.amp)
    model |= dict(num_masks=args.num_masks, score=args.score)
    options += [f'model.{key}={value}'.replace(' ', '') for key, value in model.items() if value is not None]
    if args.backbone is None:
        cfg = launch.read_config(args.config, [*args.cfg_options, *options])
    else:
        cfg = pseudo_labels.backbone_config(args.backbone, [*args.cfg_options, *options])
    rank, world_size = pseudo_labels.set_up_process(args.launcher)
    make_folder(args.out.parent)
    if args.draw is not None:
        make_folder(args.draw)  # a mistake is told now, not after the work
    images = list_images(args.images, args.out.parent, args.root)
    if args.forget_unreadable:
        number = pseudo_labels.forget_unreadable(cfg, args.checkpoint, images, args.out)
        print(f'maskcut: {number} batches with unreadable images will be done again by the next run')
    else:
        pseudo_labels.make_pseudo_labels(cfg, args.checkpoint, images, args.out, rank, world_size)
        if args.draw is not None and rank == 0:
            from projects.crate.study.masks import draw_labels

            draw_labels(args.out, images.root, args.draw)


if __name__ == '__main__':
    sys.exit(main())
