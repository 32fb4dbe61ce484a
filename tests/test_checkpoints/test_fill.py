import logging
import os
import pickle

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from tiny_models import ARCH, BUILDERS, build, crate, images

from projects.crate.checkpoints import CheckpointError, fill, load_pretrained, read_weights
from projects.crate.checkpoints import read_checkpoint as read_for_a_tool
from projects.crate.errors import UserError
from projects.crate.models import CRATE

BACKBONE = dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4)
TWIN = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)


@pytest.fixture
def save(tmp_path):
    """Writes a checkpoint; returns its path."""

    def write(content, name='weights.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return write


def with_prefix(weights, prefix='backbone.', **others):
    """As in a file of a whole model."""
    return {**{f'{prefix}{name}': value for name, value in weights.items()}, **others}


def initialised(checkpoint, prefix=None, **options):
    model = crate(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix=prefix), **options)
    model.init_weights()
    return model


def assert_equal(model, weights):
    assert model.state_dict().keys() == weights.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def refused(save, content, message, model=None, **arguments):
    """The one line of the error, which begins with or holds the name of the file."""
    path = save(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_pretrained(model or crate(), path, **arguments)
    assert path in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def messages():
    """What mmengine's current logger says."""
    logger, lines = MMLogger.get_current_instance(), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize('prefix', ['backbone.', 'backbone', 'teacher.backbone.'])
@pytest.mark.parametrize('layout', ['plain', 'state_dict'])
def test_all_weights_are_loaded(save, prefix, layout):
    source = crate().state_dict()
    weights = with_prefix(source, prefix.rstrip('.') + '.', **{'head.fc.weight': torch.ones(5, 24)})
    path = save(weights if layout == 'plain' else dict(state_dict=weights, meta=dict(epoch=3)))
    assert_equal(initialised(path, prefix), source)


@pytest.mark.parametrize('prefix', [None, ''])
def test_a_file_of_the_backbone_alone(save, prefix):
    source = crate().state_dict()
    assert_equal(initialised(save(source), prefix), source)


def test_a_checkpoint_of_a_run_with_ema(save):
    """mmengine swaps the averaged weights into state_dict and keeps the others beside it."""
    averaged, plain = crate().state_dict(), crate().state_dict()
    path = save(
        dict(
            meta=dict(epoch=1),
            state_dict=with_prefix(averaged),
            ema_state_dict=dict(with_prefix(plain, 'module.backbone.'), steps=torch.tensor(9)),
        )
    )
    assert_equal(initialised(path, 'backbone.'), averaged)


def test_one_line_says_what_was_used(save, messages):
    source = crate().state_dict()
    path = save(with_prefix(source, **{'head.fc.weight': torch.ones(1), 'head.fc.bias': torch.ones(1)}))
    initialised(path, 'backbone')
    (line,) = [message for message in messages if 'weights loaded' in message]
    number = len(source)
    assert line == (
        f"CRATE: all {number} weights loaded from {path}, prefix 'backbone.'; 2 others of the file are not used"
    )
    messages.clear()
    load_pretrained(crate(), save(source))
    (line,) = [message for message in messages if 'weights loaded' in message]
    assert line.endswith(f'all {number} weights loaded from {path}; 0 others of the file are not used')


@pytest.mark.parametrize(
    ('inside', 'asked'), [('backbone.', None), ('', 'backbone.'), ('module.backbone.', 'backbone.')]
)
def test_another_prefix_is_proposed(save, inside, asked):
    weights = with_prefix(crate().state_dict(), inside, **{'head.weight': torch.ones(1)})
    message = refused(save, weights, 'missing', prefix=asked)
    assert f'prefix={inside!r}' in message


def test_a_prefix_is_whole_names(save):
    """'back' is not where 'backbone.' is."""
    refused(save, with_prefix(crate().state_dict()), "under prefix 'back.'.*34 weights .* missing", prefix='back')


def test_missing_weights(save):
    weights = with_prefix(crate().state_dict())
    del weights['backbone.layers.1.attn.qkv.weight']
    refused(
        save, weights, r"CRATE .*'backbone\.'.*1 weights \(layers\.1\.attn\.qkv\.weight\) missing", prefix='backbone.'
    )
    del weights['backbone.ln1.bias']
    refused(save, weights, r'2 weights \(layers\.1\.attn\.qkv\.weight, ln1\.bias\) missing', prefix='backbone.')


def test_weights_left_over(save):
    deeper = crate(arch={**ARCH, 'num_layers': 4}).state_dict()
    weights = with_prefix(deeper)
    message = refused(save, weights, r'8 weights \((layers\.3\.\S+ ){3}\.\.\.\) left over', prefix='backbone.')
    assert 'missing' not in message
    weights = with_prefix(crate().state_dict(), **{'backbone.mask_token': torch.ones(1)})
    refused(save, weights, r'1 weights \(mask_token\) left over', prefix='backbone.')


def test_other_shapes(save):
    weights = crate().state_dict()
    weights['layers.2.ffn.weight'] = torch.ones(24, 25)
    refused(save, weights, r'layers\.2\.ffn\.weight.*\[24, 25\].*\[24, 24\]')


def test_a_name_that_ends_like_another(save):
    """MAE's decoder has a pos_embed, too."""
    weights = with_prefix(crate().state_dict(), decoder_pos_embed=torch.ones(1), decoder_cls_token=torch.ones(1))
    assert "prefix='backbone.' is where" in refused(save, weights, 'missing')
    assert 'is where' not in refused(save, dict(decoder_cls_token=torch.ones(1)), 'missing')


@pytest.mark.parametrize(
    ('options', 'absent'),
    [
        (dict(with_cls_token=False, out_type='featmap'), ['cls_token']),
        (dict(final_norm=False), ['ln1.bias', 'ln1.weight']),
        (dict(with_cls_token=False, final_norm=False, out_type='featmap'), ['cls_token', 'ln1.bias', 'ln1.weight']),
    ],
)
def test_parts_absent_by_configuration_are_not_left_over(save, messages, options, absent):
    source = crate().state_dict()
    model = initialised(save(with_prefix(source)), 'backbone.', **options)
    assert sorted(source.keys() - model.state_dict().keys()) == absent
    for name, value in model.state_dict().items():
        expected = source[name][:, 1:] if name == 'pos_embed' and 'cls_token' in absent else source[name]
        assert torch.equal(value, expected), name
    (line,) = [message for message in messages if 'weights loaded' in message]
    assert f'all {len(source) - len(absent)} weights' in line
    assert f'; {len(absent)} others' in line
    with pytest.raises(CheckpointError, match='does not fit'):
        initialised(save(model.state_dict()))


def test_positions_of_another_image_size_are_interpolated(save):
    source = crate(img_size=16)
    path = save(with_prefix(source.state_dict()))
    model, twin = initialised(path, 'backbone.'), crate()
    twin.load_state_dict(source.state_dict())  # test_crate_loading.py says what comes out
    assert model.pos_embed.shape == (1, 7, 24)
    assert_equal(model, twin.state_dict())


def test_positions_that_cannot_be_interpolated(save):
    """A grid that is not square is not known."""
    weights = dict(crate().state_dict())  # as old files: without what torch keeps beside the weights
    refused(save, weights, 'pos_embed.*not a square grid', model=crate(img_size=16))


@pytest.mark.parametrize('window_size', [None, 2])
def test_a_vision_transformer_of_mmpretrain(save, window_size):
    arch = {**ARCH, 'feedforward_channels': 96}
    vit = build('mmpretrain', dict(type='VisionTransformer', arch=arch, img_size=16, patch_size=4))
    head = dict(type='VisionTransformerClsHead', num_classes=5, in_channels=24)
    weights = with_prefix(
        vit.state_dict(), **{f'head.{k}': v for k, v in build('mmpretrain', head).state_dict().items()}
    )
    path = save(dict(state_dict=weights))
    model = initialised(
        path, 'backbone.', img_size=16, window_size=window_size, global_attn_indexes=window_size and [2], **TWIN
    )
    assert_equal(model, vit.state_dict())
    refused(save, vit.state_dict(), 'does not fit')  # and no CRATE takes it for its own


def test_beside_other_initialisers(save):
    """They come first, whatever the order; the checkpoint leaves nothing of them."""
    source = crate().state_dict()
    pretrained = dict(type='Pretrained', checkpoint=save(source))
    constant = dict(type='Constant', layer='Linear', val=0.5)
    for init_cfg in ([pretrained, constant], [constant, pretrained]):
        model = crate(init_cfg=init_cfg)
        model.init_weights()
        assert_equal(model, source)
        assert model.init_cfg == init_cfg
    model = crate(init_cfg=constant)
    model.init_weights()
    assert (model.layers[0].attn.qkv.weight == 0.5).all()


def test_a_second_call_loads_nothing(save):
    model = initialised(save(crate().state_dict()))
    with torch.no_grad():
        model.pos_embed.fill_(7)
    model.init_weights()
    assert (model.pos_embed == 7).all()


def test_without_init_cfg_nothing_changes():
    model = crate()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    assert_equal(model, weights)


@pytest.mark.parametrize('library', BUILDERS)
def test_within_a_model_of_each_library(save, library):
    source = crate().state_dict()
    init_cfg = dict(type='Pretrained', checkpoint=save(with_prefix(source)), prefix='backbone.')
    model = BUILDERS[library]({**BACKBONE, 'init_cfg': init_cfg}, dim=24)
    model.init_weights()
    assert_equal(model.backbone, source)
    init_cfg['prefix'] = None
    with pytest.raises(CheckpointError, match=r"prefix='backbone\.'"):
        BUILDERS[library]({**BACKBONE, 'init_cfg': init_cfg}, dim=24).init_weights()


def test_a_classifiers_checkpoint_in_a_segmentor_with_windows(save):
    """Saved by mmpretrain at 8 x 12 pixels, read at 20 x 28."""
    classifier = BUILDERS['mmpretrain'](BACKBONE, dim=24)
    path = save(dict(state_dict=classifier.state_dict()))
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone')
    backbone = dict(BACKBONE, window_size=2, global_attn_indexes=[2], init_cfg=init_cfg)
    model = BUILDERS['mmseg'](backbone, dim=24)
    model.init_weights()
    assert_equal(model.backbone, classifier.backbone.state_dict())
    assert model.backbone(images(20, 28))[0].shape == (2, 24, 5, 7)


class Bomb:
    """Code in a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('write', [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_no_code_of_a_file_is_run(tmp_path, monkeypatch, write):
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)  # the tools set it, a user's script does not
    weights = {**crate().state_dict(), 'more': Bomb(tmp_path / 'exploded')}
    write(weights, tmp_path / 'bomb.pth')
    with pytest.raises(CheckpointError, match=r'^cannot read the checkpoint .*bomb\.pth: '):
        load_pretrained(crate(), str(tmp_path / 'bomb.pth'))
    assert not (tmp_path / 'exploded').exists()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r'^checkpoint not found: .*nowhere\.pth$'):
        initialised(str(tmp_path / 'nowhere.pth'))


def cut_off(path, size, zipped):
    torch.save(crate().state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:size])


DAMAGES = {
    f'{size} bytes, {zipped=}': lambda path, size=size, zipped=zipped: cut_off(path, size, zipped)
    for size in (0, 1, 30, 100, 5000, 20000, -1)
    for zipped in (True, False)
}
DAMAGES['a hole'] = lambda path: path.write_bytes(b'PK\x03\x04' + bytes(5000))
DAMAGES['text'] = lambda path: path.write_text('hello, this is no checkpoint')
DAMAGES['a folder'] = lambda path: path.mkdir()


@pytest.mark.parametrize('name', DAMAGES)
def test_a_damaged_file(tmp_path, name):
    """Cut off by a full disk or a broken download; the tools say the same."""
    path = tmp_path / 'cut.pth'
    DAMAGES[name](path)
    with pytest.raises(CheckpointError, match=r'^cannot read the checkpoint .*cut\.pth: \S') as caught:
        load_pretrained(crate(), str(path))
    assert '\n' not in str(caught.value)
    with pytest.raises(UserError) as told:
        read_for_a_tool(str(path))
    assert str(told.value) == str(caught.value)


@pytest.mark.parametrize('content', [torch.ones(3), [1, 2], dict(state_dict=[1, 2])])
def test_a_file_of_something_else(save, content):
    refused(save, content, 'no weights by name|holds no state_dict')


def test_a_file_that_keeps_its_weights_elsewhere(save):
    """As MAE's and DINO's do."""
    source = crate().state_dict()
    assert_equal(initialised(save(dict(model=source))), source)
    refused(save, dict(net=source), "holds no weights by name, but under the key 'net'")


def test_from_the_registry_under_every_name(save):
    source = crate().state_dict()
    init_cfg = dict(type='Pretrained', checkpoint=save(source))
    for name in ('CRATE', 'mmdet.CRATE', 'mmseg.CRATE', 'mmpretrain.CRATE'):
        model = MODELS.build({**BACKBONE, 'type': name, 'init_cfg': init_cfg})
        assert type(model) is CRATE
        model.init_weights()
        assert_equal(model, source)


def lora(**base):
    module = dict(BACKBONE, out_type='cls_token', **base)
    backbone = dict(type='LoRAModel', module=module, rank=2, targets=[dict(type='qkv')])
    head = dict(type='LinearClsHead', num_classes=3, in_channels=24)
    return build('mmpretrain', dict(type='ImageClassifier', backbone=backbone, head=head))


def test_a_lora_file_needs_the_weights_below_it(save):
    """LoRAModel saves the adapters alone, and hides all other missing weights, also those of the head."""
    pytest.importorskip('mmpretrain')
    model = lora()
    state = model.state_dict()
    assert len(state) == 2 * 3 + 2  # of each layer two, and the head
    with pytest.raises(CheckpointError, match=r'34 weights \(backbone\.module\.cls_token, .*missing'):
        fill(lora(), read_weights(save(state)))
    source = crate(out_type='cls_token').state_dict()
    torch.save(source, base := save(source).replace('weights', 'base'))
    init_cfg = dict(type='Pretrained', checkpoint=base)
    other = lora(init_cfg=init_cfg)
    assert fill(other, read_weights(save(state))).surplus == []
    assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(other.backbone.module.layers[0].ffn.weight, source['layers.0.ffn.weight'])
    for name in ('head.fc.weight', 'backbone.module.layers.1.attn.qkv.lora_up.weight'):
        with pytest.raises(CheckpointError, match=rf'1 weights \({name}\) missing'):
            fill(lora(init_cfg=init_cfg), read_weights(save({k: v for k, v in state.items() if k != name})))
    whole = {name: value.detach() for name, value in model.named_parameters()}
    assert torch.equal(whole['backbone.module.cls_token'], model.backbone.module.cls_token)
    assert fill(lora(), read_weights(save(whole))).kept == []
