#!/usr/bin/env python3
"""Convert a released checkpoint (CRATE, CRATE-alpha, DINO, DINOv2, SimDINO) to one for mmpretrain, mmdet and mmseg.

The layout is detected from the keys. Nothing in the file is executed. Every key is reported; unknown and missing keys
are an error. Use the result as init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.').
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('src', help='released checkpoint')
    parser.add_argument('dst', help='checkpoint to write, *.pth')
    parser.add_argument('--head', action='store_true', help='also convert the classification layer (LinearClsHead)')
    heads = parser.add_mutually_exclusive_group()
    heads.add_argument(
        '--arch',
        metavar='NAME',
        help='name of the model, if the file does not tell: for example alpha-base (an unknown name lists all)',
    )
    heads.add_argument('--heads', type=int, metavar='N', help='number of attention heads, instead of --arch')
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('crate_to_mm', convert, parse_args(argv))


def convert(args):
    from projects.crate.checkpoints.convert import RELEASED_ARCHS, convert_file

    if args.arch not in (None, *RELEASED_ARCHS):
        raise _cli.mistake(f'--arch is one of {", ".join(RELEASED_ARCHS)}; not {args.arch}')
    print_report(convert_file(args.src, args.dst, args.arch, args.heads, args.head), args.dst)


def print_report(conversion, dst):
    """Print every key with its new name and shape, then the notes and how to use the result."""
    from rich.console import Console
    from rich.table import Table

    table = Table('source key', 'target key', 'shape')
    for source, target, shape in conversion.rows:
        table.add_row(source, target, str(shape))
    console = Console()
    if not console.is_terminal:  # a file or a pipe is as wide as the report
        console = Console(width=160)
    console.print(table)
    meta = conversion.meta
    print(f'{meta["layout"]}: arch {meta["arch"]!r}, {meta["num_heads"]} heads, patch size {meta["patch_size"]}')
    print(f'{meta["source"]} (SHA-256 {meta["source_sha256"]}), {len(conversion.rows)} keys, written to {dst}')
    for note in conversion.notes:
        print(f'Note: {note}.')
    backbone = ', '.join(f'{name}={value!r}' for name, value in meta['backbone'].items())
    print('\nIn a config of mmpretrain, mmdet or mmseg:\n')
    print("custom_imports = dict(imports=['projects.crate'])")
    print(f"init_cfg = dict(type='Pretrained', checkpoint={dst!r}, prefix='backbone.')")
    print(f'model = dict(backbone=dict({backbone}, init_cfg=init_cfg))')


if __name__ == '__main__':
    sys.exit(main())
