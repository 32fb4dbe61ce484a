#!/usr/bin/env python3
"""Measure this project against what its users could take instead, in one process.

python tools/benchmark.py maskcut                # against dense eigensolvers, on the features of four photographs
python tools/benchmark.py maskcut --threads 2 --repeats 5 --json maskcut.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['maskcut'], help='what to measure')
    parser.add_argument('--threads', type=int, default=1, help='of every alternative (default: %(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='of every alternative (default: %(default)s)')
    parser.add_argument(
        '--features',
        type=Path,
        default=ROOT / 'tests' / 'data' / 'maskcut_golden_60.npz',
        help='npz file with entries NAME_feat (C, h * h) (default: the photographs of the tests, 60 x 60 tokens)',
    )
    parser.add_argument(
        '--sides', type=int, nargs='*', default=[60, 120], help='sides of the grids whose memory is measured'
    )
    parser.add_argument('--json', type=Path, help='write the numbers there, too')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    for library in ('OMP', 'MKL', 'OPENBLAS'):  # read when numpy and scipy are imported
        os.environ[f'{library}_NUM_THREADS'] = str(args.threads)
    sys.path.insert(0, str(ROOT))
    import torch

    from projects.crate.benchmark import maskcut

    if not args.features.is_file():
        print(f'benchmark: {args.features}: no such file; give an npz file with --features', file=sys.stderr)
        return 1
    torch.set_num_threads(args.threads)
    rows = maskcut.measure(maskcut.read_features(args.features), args.repeats)
    memory = {f'{side} x {side}': maskcut.peak_memory(side) for side in args.sides}
    print(f'torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats')
    print(maskcut.report(rows, memory))
    if args.json:
        args.json.write_text(json.dumps(dict(threads=args.threads, images=rows, memory_mb=memory), indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
