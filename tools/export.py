#!/usr/bin/env python3
"""Export a model with its weights and its normalisation as one file, ONNX or the .pt2 of torch.export.

  python tools/export.py CONFIG CHECKPOINT OUT.onnx
  python tools/export.py CONFIG CHECKPOINT OUT.pt2 --output backbone --dynamic batch,size

The file takes images (B, 3, H, W): float32, RGB, 0 to 255. The batch is free. The tool runs the file on an image and
prints the largest difference from the model. OUT is written only if the results agree.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='file with the weights')
    add('out', type=Path, metavar='OUT.{onnx,pt2}', help='file to write')
    text = 'result: logits of a classifier, outputs of the backbone, or the features that MaskCut cuts '
    text += '(default: by the model of the config)'
    add('--output', choices=['logits', 'backbone', 'maskcut'], help=text)
    choices = ['batch', 'batch,size']
    text = 'dimensions of free size: the batch, or also height and width (default: %(default)s)'
    add('--dynamic', choices=choices, default='batch', metavar='|'.join(choices), help=text)
    _cli.add_size(parser, 'height and width of the image (default: config)')
    add('--image', type=Path, help='image for the check (default: noise)')
    _cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('export', write, parse_args(argv))


def write(args):
    import torch

    from projects.crate.engine import launch
    from projects.crate.files import make_folder
    from projects.crate.study import complexity, export, images

    export.check_target(args.out)
    cfg = launch.read_config(args.config, args.cfg_options)
    size = tuple(args.size) if args.size else complexity.default_size(cfg)[0]
    model = export.load(cfg, args.checkpoint, args.output)
    if args.image:
        image = torch.from_numpy(images.read_images(args.image, size)[0][1].copy()).permute(2, 0, 1)[None].float()
    else:
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(256, (1, 3, *size), generator=generator).float()
    make_folder(args.out.parent)
    difference = export.export(model, args.out, image, args.dynamic == 'batch,size')
    print(f'{args.out}: image of {size[0]} x {size[1]}; largest difference from the model: {difference:.2g}')


if __name__ == '__main__':
    sys.exit(main())
