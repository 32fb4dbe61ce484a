"""The config in a checkpoint from outside is data, wherever in it something hostile is named."""

import copy
import json
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_models import build
from toy_observer import BACKBONE, PREPROCESSOR, VIT, backbone
from toy_runs import ROOT, load_tool

from projects.crate.errors import UserError
from projects.crate.study.checkpoint_model import read_model
from projects.crate.study.observer import Observer
from projects.crate.study.untrusted import literal_config

HOSTILE = [
    'os.system',
    'os',
    'builtins.exec',
    'harm',
    'harm.Harm',
    'harm.registry',
    'harm.registry.Harm',
    'mmengine.os.system',
    'mmdet.harm',
    'mmpretrain.harm.Harm',
    'mmengine.runner.Runner',
    '.CRATE',
    'CRATE.',
    '',
    5,
    None,
    ['os.system'],
    dict(type='CRATE'),
]


@pytest.fixture
def touched(tmp_path, monkeypatch):
    """A file that exists as soon as the package 'harm' is imported, or the command 'touch' has run."""
    path = tmp_path / 'touched'
    for name in ('__init__', 'registry'):
        file = tmp_path / 'harm' / f'{name}.py'
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'open({str(path)!r}, "w")\nHarm = dict')
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    for name in ('harm', 'harm.registry'):
        sys.modules.pop(name, None)


@cache
def toy_weights(kind):
    return {f'backbone.{key}': value for key, value in backbone(kind).state_dict().items()}


def save(path, model, meta=(), **config):
    """A checkpoint of toy weights with this config."""
    config = dict(dict(default_scope='mmpretrain', data_preprocessor=PREPROCESSOR, model=model), **config)
    text = ''.join(f'{key} = {value!r}\n' for key, value in config.items())
    weights = toy_weights('ViT' if 'VisionTransformer' in str(model) else 'CRATE')
    meta = dict(dict(cfg=text, epoch=1), **dict(meta))
    if path.suffix == '.pth':
        torch.save(dict(meta=meta, state_dict=weights), path)
    else:
        save_file(weights, path, dict(format='pt', meta=json.dumps(meta)))
    return path


CALL = dict(type='os.system', command='touch {touched}')
LORA = dict(type='LoRAModel', module=BACKBONE, rank=2, targets=[dict(type='qkv')])
CASES = {
    'model.backbone.type': dict(backbone=CALL),
    'model.backbone.layer_cfgs.act_cfg.type': dict(backbone=dict(VIT, layer_cfgs=dict(act_cfg=CALL))),
    'model.backbone.layer_cfgs[0].act_cfg.type': dict(backbone=dict(VIT, layer_cfgs=[dict(act_cfg=CALL)])),
    'model.backbone.norm_cfg.type': dict(backbone=dict(VIT, norm_cfg=CALL)),
    'model.backbone.attn_cfg.type': dict(backbone=dict(BACKBONE, attn_cfg=CALL)),
    'model.backbone.layer_cfgs.init_cfg.type': dict(
        backbone=dict(VIT, layer_cfgs=dict(init_cfg=dict(type='Pretrained', checkpoint='http://localhost/a.pth')))
    ),
    'data_preprocessor.type': dict(backbone=BACKBONE, data_preprocessor=CALL),
    'data_preprocessor.batch_augments[0].type': dict(backbone=BACKBONE, data_preprocessor=dict(batch_augments=[CALL])),
    # registered, but they download
    'no layer: TIMMBackbone': dict(backbone=dict(type='TIMMBackbone', model_name='hf_hub:a/b', pretrained=True)),
    'no layer: HuggingFaceClassifier': dict(
        backbone=dict(VIT, layer_cfgs=dict(act_cfg=dict(type='HuggingFaceClassifier', model_name='a/b')))
    ),
    # names under other keys
    'model.backbone: conv_type': dict(backbone=dict(VIT, patch_cfg=dict(conv_type='harm.Harm'))),
    'model.backbone: a name of CRATE for another': dict(backbone=dict(VIT, norm_cfg=dict(type='MSSA'))),
    'model.backbone._scope_': dict(backbone=dict(BACKBONE, _scope_='harm')),
    "model.backbone.a?b\\'.type": dict(backbone=dict(BACKBONE, **{"a\nb\\'": CALL})),
    'no name of a layer: a pattern': dict(backbone=dict(LORA, targets=[dict(type='(.|.)*(.|.)*x')])),
    'no name of a layer: a number': dict(backbone=dict(LORA, targets=[dict(type='qkv'), dict(type=5)])),
    'model.backbone.targets[0].target.type': dict(backbone=dict(LORA, targets=[dict(type=CALL)])),
    'model.backbone.module.type': dict(backbone=dict(LORA, module=CALL)),
    'model.backbone.module.targets[0].type': dict(backbone=dict(LORA, module=dict(BACKBONE, targets=[CALL]))),
    # sizes
    'model.backbone.arch.embed_dims': dict(
        backbone=dict(BACKBONE, arch=dict(embed_dims=10**9, num_heads=1, num_layers=1))
    ),
    'model.backbone.arch.num_layers': dict(
        backbone=dict(BACKBONE, arch=dict(embed_dims=24, num_heads=1, num_layers=10**9))
    ),
    'model.backbone: more weights than bytes': dict(
        backbone=dict(BACKBONE, arch=dict(embed_dims=60000, num_heads=1, num_layers=2))
    ),
    'model.backbone: positions': dict(backbone=dict(BACKBONE, img_size=60000)),
}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('case', CASES)
def test_the_report_refuses_hostile_configs(tmp_path, touched, capsys, case, suffix):
    model = json.loads(json.dumps(CASES[case]).replace('{touched}', str(touched)))
    path = save(tmp_path / f'a{suffix}', model)
    assert load_tool('report')([str(path), '--data-root', str(tmp_path), '--out', str(tmp_path / 'out')]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'report: {path}: its own config is refused at ') and '--configs' in line
    assert case.split(': ')[0] in line or any(text in line for text in ('is no layer', 'is no name of a layer'))
    assert not touched.exists()


@pytest.mark.parametrize('scope', ['harm', 'os', 5])
def test_a_scope_is_that_of_a_library(tmp_path, touched, scope):
    path = save(tmp_path / 'a.pth', dict(backbone=BACKBONE), default_scope=scope)
    with pytest.raises(UserError, match=r'a\.pth: .* default_scope: .* is none of mmengine, mmpretrain'):
        read_model(path, 'A')
    assert not touched.exists()


def test_imports_and_bases_are_not_followed(tmp_path, touched):
    imports = dict(custom_imports=dict(imports=['harm']), _base_=['harm.py'])
    config = read_model(save(tmp_path / 'a.pth', dict(backbone=BACKBONE), **imports), 'A').config
    assert {*config} == {'default_scope', 'model'}
    assert not touched.exists()


def places(value, path=()):
    """Paths of all dictionaries and lists."""
    if isinstance(value, dict | list):
        yield path
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


REAL = dict(
    backbone=dict(VIT, norm_cfg=dict(type='LN', eps=1e-6), layer_cfgs=[dict(act_cfg=dict(type='GELU'))] * 3),
    data_preprocessor=dict(PREPROCESSOR, type='ClsDataPreprocessor'),
)


@settings(max_examples=60)
@given(st.data(), st.sampled_from(HOSTILE), st.lists(st.sampled_from(['type', 'act_cfg', 'x', 0]), max_size=4))
def test_a_hostile_type_is_found_at_any_depth(tmp_path_factory, data, hostile, below):
    model = copy.deepcopy(REAL)
    *_, key = path = data.draw(st.sampled_from([path for path in places(model) if path]))
    value = dict(type=hostile)
    for name in below:
        value = [value] if name == 0 else {name: value}
    target = model
    for key in path:
        target = target[key]
    target.append(value) if isinstance(target, list) else target.update(value if 'type' in value else dict(new=value))
    file = save(tmp_path_factory.getbasetemp() / 'a.pth', model)
    with pytest.raises(
        UserError, match=r'^.*a\.pth: its own config is refused at (model\.backbone|data_preproc).*type'
    ):
        read_model(file, 'A')


@pytest.mark.parametrize('model', [dict(backbone=BACKBONE), REAL, dict(REAL, backbone=dict(VIT, _scope_='mmdet'))])
def test_real_configs_are_built(tmp_path, model):
    path = save(tmp_path / 'a.pth', model)
    assert Observer.from_config(read_model(path, 'A').config, str(path)).num_layers == 3


@pytest.mark.parametrize('target', ['qkv', '.*qkv', r'.*attn\.qkv'])
def test_the_config_of_adapters_is_built(tmp_path, target):
    """An entry of ``targets`` has the name of a layer as its type."""
    cfg = dict(LORA, targets=[dict(type=target, rank=1)])
    model = build('mmpretrain', cfg)
    path = save(tmp_path / 'a.pth', dict(backbone=cfg))
    content = torch.load(path)
    content['state_dict'] = {f'backbone.{key}': value.detach() for key, value in model.named_parameters()}
    torch.save(content, path)
    assert Observer.from_config(read_model(path, 'A').config, str(path)).num_layers == 3


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'docs/experiments/weights').glob('*.safetensors')), ids=lambda p: p.stem
)
def test_published_weights_are_read(path):
    assert f'd{read_model(path, "A").config.model.backbone.arch.num_layers}-' in path.stem


@pytest.mark.parametrize(
    'text',
    [
        f'model = {"dict(a=" * 5000}1{")" * 5000}',
        f'model = {"[" * 60}1{"]" * 60}',
        f'model = {"-" * 20000}1',
        'model = {[]: 1}',
        f'model = "{"a" * 1_100_000}"',
        'model = "\0"',
        5,
    ],
    ids=['calls', 'lists', 'minus', 'key', 'long', 'null', 'number'],
)
def test_texts_that_no_training_wrote(text):
    with pytest.raises(UserError, match=r'^a\.pth: .* --configs$'):
        literal_config(text, 'a.pth')


def test_what_a_file_says_of_itself_may_be_anything(tmp_path):
    odd = dict(experiment_name=5, epoch='one', iter=[2])
    model = read_model(save(tmp_path / 'a.pth', dict(backbone=BACKBONE), meta=odd), 'A')
    assert (model.config_name, model.training) == ('', '')
    for wrong in (5, 'text', dict(backbone=5), dict(backbone=[]), dict(backbone=dict(arch='tiny'))):
        with pytest.raises(UserError, match=r'a\.pth: the config has no model\.backbone'):
            read_model(save(tmp_path / 'a.pth', wrong), 'A')
    for content in ([1], dict(meta=5), torch.ones(2)):
        torch.save(content, tmp_path / 'a.pth')
        with pytest.raises(UserError, match=r'a\.pth holds no config'):
            read_model(tmp_path / 'a.pth', 'A')


@pytest.mark.parametrize('kind', [AttributeError, KeyError, ImportError, TypeError, ValueError, RuntimeError])
def test_a_bug_of_a_backbone_keeps_its_traceback(tmp_path, monkeypatch, kind):
    from projects.crate.models import crate

    path = save(tmp_path / 'a.pth', dict(backbone=BACKBONE))
    exec(f'def broken(*args): raise {kind.__name__}("a bug")', vars(crate))
    monkeypatch.setattr(crate, 'resolve_arch', vars(crate).pop('broken'))
    with pytest.raises(kind, match='a bug') as caught:
        read_model(path, 'A')
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(arch=5),
        dict(arch=dict(embed_dims='a', num_heads=2, num_layers=3)),
        dict(arch=dict(embed_dims=-24, num_heads=2, num_layers=3)),
        dict(arch=dict(embed_dims=24, num_heads=0, num_layers=3)),
        dict(arch=dict(embed_dims=24, num_heads=2, num_layers=0)),
        dict(img_size='a'),
        dict(img_size=[1, 2, 3]),
        dict(patch_size=0),
        dict(ffn_cfg=dict(type='ODL', ratio=-1)),
        dict(ffn_cfg=dict(type='MLP', ratio='a')),
        dict(attn_cfg=5),
        dict(attn_cfg=[1]),
        dict(norm_eps='a'),
        dict(window_size='ab'),
        dict(window_size=2, global_attn_indexes=['a']),
        dict(nonsense=5),
        dict(drop_path_rate='a'),
        dict(out_type=[1]),
        dict(in_channels=-3),
        dict(ffn_cfg=dict(type='ISTA', eta='a')),
    ],
    ids=str,
)
def test_wrong_arguments_of_a_file_are_one_line(tmp_path, wrong):
    with pytest.raises(UserError, match=r'a\.pth: .*refused at model\.backbone'):
        read_model(save(tmp_path / 'a.pth', dict(backbone={**BACKBONE, **wrong})), 'A')
