#!/usr/bin/env python3
"""Measure speed and memory of this project beside alternatives, in one process.

python tools/benchmark.py speed       # speed of the backbone, beside the textbook formulation and ViTs of its size
python tools/benchmark.py maskcut     # MaskCut beside dense eigensolvers, on the features of four photographs
python tools/benchmark.py ncut        # one cut beside the libraries ncut-pytorch and fastncut
python tools/benchmark.py attention   # time that reading the attention of [CLS] adds to a forward pass
python tools/benchmark.py memory      # memory of a backbone at 1024 x 1024, for several attention windows
python tools/benchmark.py input       # time of the image transforms of a config, beside its training step
python tools/benchmark.py pseudo-labels  # time of each stage of tools/maskcut.py
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
    help_text = 'speed, maskcut, ncut, attention, memory, input or pseudo-labels'
    commands = parser.add_subparsers(dest='what', metavar='WHAT', required=True, help=help_text)
    output = _cli.new_parent()
    output.add_argument('--json', type=Path, help='also write the numbers to this file')
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument('--arch', default='base', help='size of CRATE (default: %(default)s)')
    text = 'side of a patch in pixels (default: %(default)s)'
    network.add_argument('--patch-size', type=positive, default=16, help=text)
    options = argparse.ArgumentParser(add_help=False)
    _cli.add_cfg_options(options)
    labelling = argparse.ArgumentParser(add_help=False)
    labelling.add_argument('images', type=Path, help='folder, or text file with a path per line')
    labelling.add_argument('--config', required=True, help='config file, one of configs/maskcut')
    labelling.add_argument('--checkpoint', required=True, help='file with the weights of the backbone')

    def add(name, help_text, *parents, repeats=3, description=None, module=None):
        """Return an adder of arguments; parents are not shared: subcommands would change each other's defaults."""
        shared = argparse.ArgumentParser(add_help=False)
        if repeats:
            text = 'number of threads for every alternative (default: %(default)s)'
            shared.add_argument('--threads', type=positive, default=1, help=text)
            text = 'number of repeats per alternative (default: %(default)s)'
            shared.add_argument('--repeats', type=positive, default=repeats, help=text)
        parents = [output, shared, *parents]
        command = commands.add_parser(name, parents=parents, help=help_text, description=description)
        command.set_defaults(module=module or name, **({} if repeats else dict(threads=1, repeats=1)))
        return command.add_argument

    speed = add(
        'speed',
        'speed of the backbone, beside the textbook formulation and ViTs of the same size',
        network,
        repeats=7,
        description='Report images per second, forward and with backward. Alternatives: the same network with three '
        "products in ISTA and the attention map in memory; mmpretrain's VisionTransformer; timm's, if installed. "
        'Also report peak memory, and operations per second as a share of a matrix product.',
    )
    speed('--size', type=positive, default=224, help='side of the images (default: %(default)s)')
    speed('--batch-size', type=positive, default=8, help='images in a pass (default: %(default)s)')
    passes = ['forward', 'training']
    speed('--passes', nargs='+', choices=passes, default=passes, help='passes to time (default: both)')
    speed('--bf16', action='store_true', help='run under bfloat16 autocast')
    text = 'time each alternative by torch.compile, too; operations and memory are without torch.compile'
    speed('--compile', action='store_true', help=text)

    maskcut = add('maskcut', 'speed and memory of MaskCut, beside dense eigensolvers')
    features = _cli.ROOT / 'tests' / 'data' / 'maskcut_golden_60.npz'
    text = 'npz file with entries NAME_feat (C, h * h) (default: the photographs of the tests, 60 x 60 tokens)'
    maskcut('--features', type=Path, default=features, help=text)
    maskcut('--sides', type=positive, nargs='*', default=[60, 120], help='sides of the grids whose memory is measured')

    ncut = add(
        'ncut',
        'one cut beside the libraries ncut-pytorch and fastncut',
        labelling,
        options,
        description='Report time, memory and agreement (IoU) of the mask; a few images are enough. The libraries need: '
        'pip install --no-deps ncut-pytorch fastncut fpsample',
    )
    text = 'sides of the grids in tokens (default: 30 37 60 100)'
    ncut('--sides', type=positive, nargs='+', default=[30, 37, 60, 100], help=text)
    text = 'most tokens for the dense reference; larger grids are compared with ours (default: %(default)s)'
    ncut('--dense-tokens', type=positive, default=3600, help=text)

    attention = add('attention', 'time of reading [CLS] attention, beside the forward pass', repeats=15)
    backbones = [CONFIGS / f'{name}.py' for name in BACKBONES]
    text = 'configs of the backbones to measure, with random weights (default: CRATE-S/8 and ViT-S/8)'
    attention('--configs', type=Path, nargs='+', default=backbones, help=text)
    text = 'height and width of the images (default: 224 224)'
    attention('--size', type=positive, nargs=2, metavar=('H', 'W'), default=[224, 224], help=text)
    attention('--batch-size', type=positive, default=1, help='images in a pass (default: %(default)s)')

    memory = add(
        'memory',
        'memory of a forward and a backward pass, for several attention windows',
        network,
        description='Report peak memory on square images, with attention fused and with its matrix in memory. Also '
        'report the speed of the forward pass at the last size. Without a GPU, count the bytes of live tensors; only '
        'the speed needs memory.',
    )
    memory('--sizes', type=positive, nargs='+', default=[512, 1024], help='sides of the images (default: 512 1024)')
    text = 'sides of the windows in tokens; global attention is always measured (default: 7 14 28)'
    memory('--windows', type=positive, nargs='+', default=[7, 14, 28], help=text)
    text = 'use windows in all layers (default: four layers stay global)'
    memory('--no-global-layers', action='store_true', help=text)

    text = 'time of the image transforms of a config, beside its training step'
    training = add('input', text, options, module='training_input')
    training('config', help='config file of mmpretrain, mmdet or mmseg; its data set must exist')
    training('--images', type=positive, default=100, help='number of images to transform (default: %(default)s)')

    add(
        'pseudo-labels',
        'time of each stage of tools/maskcut.py, from images to JSON',
        labelling,
        options,
        repeats=None,
        module='pseudo_labels',
        description='Run once, in one process with one thread. The same thread loads the images.',
    )
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
