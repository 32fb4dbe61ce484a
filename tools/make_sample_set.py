#!/usr/bin/env python3
"""Write the sample set: objects with class-specific coats on cluttered backgrounds, generated, no download.

OUT/imagenet   {train,val}/<class>/*.png, one object an image; masks/{train,val}/<class>/*.png with its class index + 1
OUT/VOCdevkit  VOC2012/{JPEGImages,SegmentationClass,SegmentationObject,ImageSets/Segmentation}, scenes of objects
OUT/coco       {train2017,val2017}, annotations/instances_{train,val}2017.json: the same scenes

The same arguments make the same bytes, whatever the number of workers. What is there already is not made again.
"""

import argparse
import os
import sys
from pathlib import Path

from projects.crate.datasets.layouts import LAYOUTS
from projects.crate.datasets.sample import SampleSpec, make_sample_set


def main(argv=None):
    """Write the layouts asked for; see the module's docstring."""
    args = parse_args(argv)
    try:
        for layout in args.layouts:
            made = make_sample_set(args.out, layout, spec_of(layout, args), args.workers)
            state = 'ready' if made else 'there already, nothing to do'
            print(f'make_sample_set: {args.out / LAYOUTS[layout].folder}: {state}')
    except (ValueError, OSError, ImportError) as error:
        print(f'make_sample_set: {layout}: {error}', file=sys.stderr)
        return 1
    return 0


def spec_of(layout, args):
    if layout == 'imagenet':
        return SampleSpec(args.images, args.val_images, to_pair(args.size), 1, args.seed)
    return SampleSpec(args.scenes, args.val_scenes, to_pair(args.scene_size), args.max_objects, args.seed)


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('out', type=Path, metavar='OUT', help='folder of the set, for example data/sample')
    add(
        '--layouts',
        nargs='+',
        choices=list(LAYOUTS),
        default=list(LAYOUTS),
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


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'at least 1; not {number}')
    return number


def to_pair(size):
    if len(size) > 2:
        raise ValueError(f'size: one number, or height and width; not {" ".join(map(str, size))}')
    return size[0], size[-1]


if __name__ == '__main__':
    sys.exit(main())
