#!/usr/bin/env python3
"""Measure this project against what its users could take instead, in one process.

python tools/benchmark.py speed       # our backbone, against the textbook formulation and ViTs of its size
python tools/benchmark.py maskcut     # against dense eigensolvers, on the features of four photographs
python tools/benchmark.py attention   # what reading the attention of [CLS] adds to a forward pass
python tools/benchmark.py memory      # of a backbone on images of 1024 x 1024, against the window of its attention
python tools/benchmark.py input       # the transforms of a training, against the model's step
python tools/benchmark.py pseudo-labels  # the whole of tools/maskcut.py, by stage
python tools/benchmark.py maskcut --threads 2 --repeats 5 --json maskcut.json
"""

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _cli import positive

CONFIGS = _cli.ROOT / 'configs' / 'classification'
BACKBONES = ['crate-emergence-small-p8_8xb512-coslr-90e_in21k', 'vit-small-p8_16xb256-coslr-90e_in21k']


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    help_text = 'speed, maskcut, attention, memory, input or pseudo-labels'
    commands = parser.add_subparsers(dest='what', metavar='WHAT', required=True, help=help_text)
    output = _cli.new_parent()
    output.add_argument('--json', type=Path, help='also write the numbers to this file')
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument('--arch', default='base', help='arch of the CRATE (default: %(default)s)')
    network.add_argument('--patch-size', type=positive, default=16, help='patch side in pixels (default: %(default)s)')
    options = argparse.ArgumentParser(add_help=False)
    _cli.add_cfg_options(options)

    def add(name, module, help_text, *parents, repeats=3, description=None):
        """Return an adder of arguments; parents are not shared: subcommands would change each other's defaults."""
        shared = argparse.ArgumentParser(add_help=False)
        if repeats:
            text = 'number of threads of every alternative (default: %(default)s)'
            shared.add_argument('--threads', type=positive, default=1, help=text)
            text = 'number of repeats per alternative (default: %(default)s)'
            shared.add_argument('--repeats', type=positive, default=repeats, help=text)
        parents = [output, shared, *parents]
        command = commands.add_parser(name, parents=parents, help=help_text, description=description)
        command.set_defaults(module=module, **({} if repeats else dict(threads=1, repeats=1)))
        return command.add_argument

    speed = add(
        'speed',
        'speed',
        'our backbone, against the textbook formulation and ViTs of its width and depth',
        network,
        repeats=7,
        description='Images a second of forward and of forward and backward, against the same network with three '
        "products in ISTA and the attention map in memory, mmpretrain's VisionTransformer, and timm's if it is "
        'installed; peak memory, and operations a second as a share of those of a matrix product in the same run.',
    )
    speed('--size', type=positive, default=224, help='side of the images (default: %(default)s)')
    speed('--batch-size', type=positive, default=8, help='images in a pass (default: %(default)s)')
    speed('--passes', nargs='+', choices=['forward', 'training'], default=['forward', 'training'])
    speed('--bf16', action='store_true', help='under bfloat16 autocast')

    maskcut = add('maskcut', 'maskcut', 'MaskCut, against dense eigensolvers')
    features = _cli.ROOT / 'tests' / 'data' / 'maskcut_golden_60.npz'
    text = 'npz file with entries NAME_feat (C, h * h) (default: the photographs of the tests, 60 x 60 tokens)'
    maskcut('--features', type=Path, default=features, help=text)
    maskcut('--sides', type=positive, nargs='*', default=[60, 120], help='sides of the grids whose memory is measured')

    attention = add('attention', 'attention', 'reading the attention of [CLS], against the forward pass', repeats=15)
    backbones = [CONFIGS / f'{name}.py' for name in BACKBONES]
    text = 'configs of the backbones, which get random weights (default: CRATE-S/8 and ViT-S/8)'
    attention('--configs', type=Path, nargs='+', default=backbones, help=text)
    attention('--size', type=positive, nargs=2, metavar=('H', 'W'), default=[224, 224], help='size of the images')
    attention('--batch-size', type=positive, default=1, help='images in a pass (default: %(default)s)')

    memory = add(
        'memory',
        'memory',
        'memory of a forward and a backward pass, against the window of the attention',
        network,
        description='Peak memory on square images, with attention fused and with its matrix in memory, and the speed '
        'of the forward pass on the last of them. Without a GPU the bytes of live tensors are counted: no memory is '
        'needed but for the speed.',
    )
    memory('--sizes', type=positive, nargs='+', default=[512, 1024], help='sides of the images (default: 512 1024)')
    text = 'sides of the windows in tokens; global attention is always measured (default: 7 14 28)'
    memory('--windows', type=positive, nargs='+', default=[7, 14, 28], help=text)
    memory('--no-global-layers', action='store_true', help='windows in all layers, not in all but four')

    training = add(
        'input', 'training_input', "the transforms of a training, against the model's step on this device", options
    )
    training('config', help='config of mmpretrain, mmdet or mmseg; its data set must be there')
    training('--images', type=positive, default=100, help='number of images to transform (default: %(default)s)')

    labels = add(
        'pseudo-labels',
        'pseudo_labels',
        'the whole of tools/maskcut.py, from images to JSON, by stage',
        options,
        repeats=None,
        description='One run in one process with one thread, which also loads the images.',
    )
    labels('images', type=Path, help='folder, or text file with a path per line')
    labels('--config', required=True, help='config file, of configs/maskcut')
    labels('--checkpoint', required=True, help='weights of its backbone: a file')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    for library in ('OMP', 'MKL', 'OPENBLAS'):  # read when numpy and scipy are imported
        os.environ[f'{library}_NUM_THREADS'] = str(args.threads)
    return _cli.run('benchmark', measure, args)


def measure(args):
    import torch

    from projects.crate.files import make_folder
    from tools.bench.timing import machine

    if args.json:
        make_folder(args.json.parent)
    torch.set_num_threads(args.threads)
    numbers, text = import_module(f'tools.bench.{args.module}').run(args)
    print(f'{machine()}, torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats')
    print(text)
    if args.json:
        args.json.write_text(json.dumps(dict(threads=args.threads, **numbers), indent=2) + '\n')


if __name__ == '__main__':
    sys.exit(main())
