#!/usr/bin/env python3
"""Write the sample set: generated images of textured objects before a cluttered background. No download.

OUT/imagenet   {train,val}/<class>/*.png, one object per image; masks/{train,val}/<class>/*.png (pixel: class + 1)
OUT/VOCdevkit  VOC2012/{JPEGImages,SegmentationClass,SegmentationObject,ImageSets/Segmentation}, several objects
OUT/coco       {train2017,val2017} and annotations/instances_{train,val}2017.json, the same images as VOCdevkit

The same arguments make the same bytes, for any number of workers. Existing layouts are kept.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli

LAYOUTS = ('imagenet', 'voc', 'coco')


def main(argv=None):
    """Write the layouts that the command line names."""
    return _cli.run('make_sample_set', make, parse_args(argv), 'interrupted; run the same command to start again')


def make(args):
    from projects.crate.errors import UserError, explain
    from projects.crate.sample_set.layouts import LAYOUTS
    from projects.crate.sample_set.write import SampleSpec, is_there, make_sample_set

    specs = {}
    single = args.images, args.val_images, args.size, 1
    scenes = args.scenes, args.val_scenes, args.scene_size, args.max_objects
    for layout in args.layouts:
        train, val, size, max_objects = single if layout == 'imagenet' else scenes
        try:
            if len(size) > 2:
                raise UserError(f'size: one number, or height and width; not {" ".join(map(str, size))}')
            specs[layout] = SampleSpec(train, val, (size[0], size[-1]), max_objects, args.seed)
            is_there(args.out, layout, specs[layout])
        except UserError as error:
            raise UserError(f'{layout}: {explain(error)}') from error
    for layout, spec in specs.items():  # all of them can be made
        made = make_sample_set(args.out, layout, spec, args.workers)
        state = 'ready' if made else 'there already, nothing to do'
        print(f'make_sample_set: {args.out / LAYOUTS[layout].folder}: {state}')


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('out', type=Path, metavar='OUT', help='folder of the set, for example data/sample')
    add('--layouts', nargs='+', choices=LAYOUTS, default=LAYOUTS, help='layouts to write (default: all)')
    add('--images', type=int, default=3000, help='training images of imagenet (default: %(default)s)')
    add('--val-images', type=int, default=400, help='validation images of imagenet (default: %(default)s)')
    text = 'side, or height and width, of images of imagenet in pixels (default: 48)'
    add('--size', type=int, nargs='+', default=[48], help=text)
    add('--scenes', type=int, default=1000, help='training images of voc and coco (default: %(default)s)')
    add('--val-scenes', type=int, default=200, help='validation images of voc and coco (default: %(default)s)')
    text = 'side, or height and width, of images of voc and coco in pixels (default: 96 128)'
    add('--scene-size', type=int, nargs='+', default=[96, 128], help=text)
    text = 'largest number of objects in an image of voc and coco, at most 8 (default: %(default)s)'
    add('--max-objects', type=int, default=4, help=text)
    add('--seed', type=int, default=0, help='seed of the generator (default: %(default)s)')
    workers = min(os.cpu_count() or 1, 8)
    add('--workers', type=_cli.positive, default=workers, help='number of processes (default: one per core, at most 8)')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
