#!/usr/bin/env python3
"""Measure this project against what its users could take instead, in one process.

python tools/benchmark.py maskcut     # against dense eigensolvers, on the features of four photographs
python tools/benchmark.py attention   # what reading the attention of [CLS] adds to a forward pass
python tools/benchmark.py maskcut --threads 2 --repeats 5 --json maskcut.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs' / 'classification'
BACKBONES = ['crate-emergence-small-p8_8xb512-coslr-90e_in21k', 'vit-small-p8_16xb256-coslr-90e_in21k']


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='what', metavar='WHAT', required=True, help='maskcut or attention')
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--threads', type=positive, default=1, help='of every alternative (default: %(default)s)')
    shared.add_argument('--repeats', type=positive, default=3, help='of every alternative (default: 3; attention: 15)')
    shared.add_argument('--json', type=Path, help='write the numbers there, too')

    maskcut = commands.add_parser('maskcut', parents=[shared], help='MaskCut, against dense eigensolvers')
    maskcut.add_argument(
        '--features',
        type=Path,
        default=ROOT / 'tests' / 'data' / 'maskcut_golden_60.npz',
        help='npz file with entries NAME_feat (C, h * h) (default: the photographs of the tests, 60 x 60 tokens)',
    )
    maskcut.add_argument(
        '--sides', type=int, nargs='*', default=[60, 120], help='sides of the grids whose memory is measured'
    )
    maskcut.set_defaults(run=run_maskcut)

    attention = commands.add_parser(
        'attention', parents=[shared], help='reading the attention of [CLS], against the forward pass alone'
    )
    attention.add_argument(
        '--configs',
        type=Path,
        nargs='+',
        default=[CONFIGS / f'{name}.py' for name in BACKBONES],
        help='whose backbones are measured, with random weights (default: CRATE-S/8 and ViT-S/8)',
    )
    attention.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), default=[224, 224], help='of the images')
    attention.add_argument('--batch-size', type=positive, default=1, help='images in a pass (default: %(default)s)')
    attention.set_defaults(run=run_attention, repeats=15)
    return parser.parse_args(argv)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'at least 1; not {number}')
    return number


def main(argv=None):
    args = parse_args(argv)
    for library in ('OMP', 'MKL', 'OPENBLAS'):  # read when numpy and scipy are imported
        os.environ[f'{library}_NUM_THREADS'] = str(args.threads)
    sys.path.insert(0, str(ROOT))
    import torch

    from projects.crate.benchmark.timing import machine
    from projects.crate.engine.launch import LaunchError

    torch.set_num_threads(args.threads)
    try:
        numbers, text = args.run(args)
    except LaunchError as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 1
    print(f'{machine()}, torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats')
    print(text)
    if args.json:
        args.json.write_text(json.dumps(dict(threads=args.threads, **numbers), indent=2) + '\n')
    return 0


def run_maskcut(args):
    from projects.crate.benchmark import maskcut
    from projects.crate.engine.launch import LaunchError

    if not args.features.is_file():
        raise LaunchError(f'{args.features}: no such file; give an npz file with --features')
    rows = maskcut.measure(maskcut.read_features(args.features), args.repeats)
    memory = {f'{side} x {side}': maskcut.peak_memory(side) for side in args.sides}
    return dict(images=rows, memory_mb=memory), maskcut.report(rows, memory)


def run_attention(args):
    from projects.crate.analysis import Observer
    from projects.crate.benchmark import attention
    from projects.crate.engine.launch import read_config

    seconds = {}
    for path in args.configs:
        backbone = Observer.from_config(read_config(str(path)), checkpoint=None).backbone
        seconds[path.stem] = attention.measure(backbone, args.size, args.batch_size, args.repeats)
    return dict(size=args.size, batch_size=args.batch_size, seconds=seconds), attention.report(seconds)


if __name__ == '__main__':
    sys.exit(main())
