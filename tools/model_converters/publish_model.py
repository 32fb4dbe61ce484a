#!/usr/bin/env python3
"""Write the weights of a checkpoint as safetensors: no optimiser, half precision, the config of the model.

  python tools/model_converters/publish_model.py work_dirs/NAME/iter_1750.pth crate.safetensors

Use the result as any checkpoint: in tools/test.py, load_from and init_cfg=dict(type='Pretrained'). It keeps the model
and its normalisation from the config. It leaves out everything about the machine, such as folders and init_cfg.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli

TYPES = ('float16', 'bfloat16', 'float32')


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('src', help='checkpoint of a training')
    parser.add_argument('dst', type=Path, help='file to write, *.safetensors')
    parser.add_argument('--dtype', choices=TYPES, default='float16', help='type of the weights (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.dst.suffix != '.safetensors':
        parser.error(f'{args.dst}: the name must end in .safetensors')
    return args


def main(argv=None):
    return _cli.run('publish_model', publish, parse_args(argv))


def publish(args):
    import torch
    from mmengine.config import Config

    from projects.crate.checkpoints import read_checkpoint, save_safetensors, weights_of
    from projects.crate.checkpoints.read import listed
    from projects.crate.errors import UserError
    from projects.crate.study.untrusted import literal_config

    checkpoint = read_checkpoint(args.src)
    weights = weights_of(checkpoint, args.src)
    meta = dict(checkpoint['meta']) if isinstance(checkpoint.get('meta'), dict) else {}
    if weights.left_out:
        print(f'publish_model: left out, no tensors of real numbers: {listed(weights.left_out)}', file=sys.stderr)
    if (text := meta.pop('cfg', None)) not in (None, ''):
        try:
            meta['cfg'] = Config(without(literal_config(text, args.src), 'init_cfg')).pretty_text
        except UserError:
            print('publish_model: its config has more than plain values, so it is left out', file=sys.stderr)
    save_safetensors(weights.tensors, meta, args.dst, getattr(torch, args.dtype))
    print(f'publish_model: wrote {args.dst} ({args.dst.stat().st_size / 1e6:.2f} MB)')


def without(config, key):
    """Return a config without this key, at any depth."""
    if isinstance(config, dict):
        return {name: without(value, key) for name, value in config.items() if name != key}
    return [without(value, key) for value in config] if isinstance(config, list) else config


if __name__ == '__main__':
    sys.exit(main())
