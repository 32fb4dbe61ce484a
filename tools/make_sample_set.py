#!/usr/bin/env python3
"""Write the sample set: objects with class-specific coats on cluttered backgrounds, generated, no download.

OUT/imagenet   {train,val}/<class>/*.png, one object an image; masks/{train,val}/<class>/*.png with its class index + 1
OUT/VOCdevkit  VOC2012/{JPEGImages,SegmentationClass,SegmentationObject,ImageSets/Segmentation}, scenes of objects
OUT/coco       {train2017,val2017}, annotations/instances_{train,val}2017.json: the same scenes

The same arguments make the same bytes, whatever the number of workers. What is there already is not made again.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _cli import positive

LAYOUTS = ('imagenet', 'voc', 'coco')


def main(argv=None):
    """Write the layouts asked for; see the module's docstring."""
    return _cli.run('make_sample_set', make, parse_args(argv), 'interrupted; the same command starts again')


def make(args):
    from projects.crate.errors import UserError, explain
    from projects.crate.sample_set.layouts import LAYOUTS
    from projects.crate.sample_set.write import make_sample_set

    for layout in args.layouts:
        try:
            made = make_sample_set(args.out, layout, spec_of(layout, args), args.workers)
        except UserError as error:
            raise _cli.mistake(f'{layout}: {explain(error)}') from error
        state = 'ready' if made else 'there already, nothing to do'
        print(f'make_sample_set: {args.out / LAYOUTS[layout].folder}: {state}')


def spec_of(layout, args):
    from projects.crate.sample_set.write import SampleSpec

    if layout == 'imagenet':
        return SampleSpec(args.images, args.val_images, to_pair(args.size), 1, args.seed)
    return SampleSpec(args.scenes, args.val_scenes, to_pair(args.scene_size), args.max_objects, args.seed)


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('out', type=Path, metavar='OUT', help='folder of the set, for example data/sample')
    add(
        '--layouts',
        nargs='+',
        choices=LAYOUTS,
        default=LAYOUTS,
        help='which of them to write (default: all)',
    )
    add('--images', type=int, default=3000, help='training images with one object (default: %(default)s)')
    add('--val-images', type=int, default=400, help='validation images with one object (default: %(default)s)')
    add('--size', type=int, nargs='+', default=[48], help='their side, or height and width, in pixels (default: 48)')
    add('--scenes', type=int, default=1000, help='training images with several objects (default: %(default)s)')
    add('--val-scenes', type=int, default=200, help='validation images with several objects (default: %(default)s)')
    add('--scene-size', type=int, nargs='+', default=[96, 128], help='their height and width (default: 96 128)')
    add('--max-objects', type=int, default=4, help='most objects in a scene, up to 8 (default: %(default)s)')
    add('--seed', type=int, default=0, help='default: %(default)s')
    add(
        '--workers',
        type=positive,
        default=min(os.cpu_count() or 1, 8),
        help='processes (default: one per CPU core, 8 at most)',
    )
    return parser.parse_args(argv)


def to_pair(size):
    if len(size) > 2:
        raise _cli.mistake(f'size: one number, or height and width; not {" ".join(map(str, size))}')
    return size[0], size[-1]


if __name__ == '__main__':
    sys.exit(main())
