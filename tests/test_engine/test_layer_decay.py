import pytest
import torch
from mmengine.optim import build_optim_wrapper
from tiny_models import ARCH, BUILDERS, build, classifier

from projects.crate.engine import LayerDecayOptimWrapperConstructor

BACKBONE = dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4)
LR, WEIGHT_DECAY, RATE = 1e-3, 0.05, 0.5


def groups_of(model, **paramwise):
    """Parameter name -> its group, after mmengine has built the optimiser."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            paramwise_cfg=dict(layer_decay_rate=RATE, **paramwise),
        ),
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {names[id(group['params'][0])]: group for group in wrapper.optimizer.param_groups}
    assert len(groups) == len(wrapper.optimizer.param_groups)
    return groups


def expected_lr(name):
    """3 layers, 5 depths: embeddings 0, layers 1 to 3, the rest 4."""
    depth = 4
    if name.startswith(('backbone.cls_token', 'backbone.pos_embed', 'backbone.patch_embed')):
        depth = 0
    elif name.startswith('backbone.layers.'):
        depth = int(name.split('.')[2]) + 1
    return LR * RATE ** (4 - depth)


@pytest.mark.parametrize('library', BUILDERS)
def test_learning_rates_follow_the_formula_in_every_library(library):
    model = BUILDERS[library](BACKBONE, dim=24)
    groups = groups_of(model)
    assert groups.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(not name.startswith('backbone.') for name in groups)
    for name, group in groups.items():
        assert group['lr'] == pytest.approx(expected_lr(name)), name
        assert group['weight_decay'] == WEIGHT_DECAY
    assert {round(group['lr'] / LR, 6) for group in groups.values()} == {0.0625, 0.125, 0.25, 0.5, 1}


def test_other_options_keep_their_meaning():
    groups = groups_of(
        classifier(BACKBONE, 24),
        norm_decay_mult=0.0,
        bias_lr_mult=3.0,
        custom_keys={'pos_embed': dict(lr_mult=2.0, decay_mult=0.5), 'head': dict(lr_mult=10.0)},
    )
    for name, group in groups.items():
        is_norm = '.ln' in name
        lr_mult = 2 if name.endswith('pos_embed') else 10 if name.startswith('head.') else 1
        if name.endswith('.bias') and not is_norm and not name.startswith('head.'):
            lr_mult = 3
        decay_mult = 0.5 if name.endswith('pos_embed') else 0 if is_norm else 1
        assert group['lr'] == pytest.approx(expected_lr(name) * lr_mult), name
        assert group['weight_decay'] == pytest.approx(WEIGHT_DECAY * decay_mult), name


def test_the_encoder_of_a_retriever_decays():
    head = dict(type='ArcFaceClsHead', num_classes=5, in_channels=24)
    model = build('mmpretrain', dict(type='ImageToImageRetriever', image_encoder=BACKBONE, head=head, prototype='none'))
    for name, group in groups_of(model).items():
        assert group['lr'] == pytest.approx(expected_lr(name.replace('image_encoder.', 'backbone.'))), name


def test_a_backbone_below_another_model_decays():
    """Soft Teacher has a student and a frozen teacher; trackers have a detector."""
    student, teacher = (classifier(BACKBONE, 24) for _ in range(2))
    groups = groups_of(torch.nn.ModuleDict(dict(student=student, teacher=teacher.requires_grad_(False))))
    assert groups.keys() == {f'student.{name}' for name, _ in student.named_parameters()}
    for name, group in groups.items():
        assert group['lr'] == pytest.approx(expected_lr(name.removeprefix('student.'))), name


def test_mmpretrains_vision_transformer_has_depths_too():
    backbone = dict(
        type='VisionTransformer',
        arch={**ARCH, 'feedforward_channels': 96},
        img_size=(8, 12),
        patch_size=4,
    )
    for name, group in groups_of(classifier(backbone, 24)).items():
        assert group['lr'] == pytest.approx(expected_lr(name)), name


def test_frozen_parameters_are_left_out():
    model = classifier({**BACKBONE, 'frozen_stages': 2}, 24)
    groups = groups_of(model)
    assert groups.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name in groups if name.startswith(('backbone.patch_embed', 'backbone.layers.1'))]


def test_a_shared_parameter_is_in_one_group():
    """Two heads with one convolution, as in RTMDet: torch takes no parameter twice."""
    model = classifier(BACKBONE, 24)
    model.second = torch.nn.Sequential(model.head.fc)
    groups = groups_of(model)
    assert groups.keys() == {name for name, _ in model.named_parameters()}
    assert not [name for name in groups if name.startswith('second.')]
    with pytest.raises(ValueError, match='more than one parameter group'):
        groups_of(model, bypass_duplicate=False)


def test_a_wrapped_model():
    model = classifier(BACKBONE, 24)
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=LR)), dict(layer_decay_rate=RATE)
    )
    groups = constructor(torch.nn.DataParallel(model)).optimizer.param_groups
    assert sorted(group['lr'] for group in groups) == sorted(group['lr'] for group in groups_of(model).values())


@pytest.mark.parametrize(
    ('optimizer', 'paramwise_cfg'),
    [
        (dict(type='AdamW', lr=LR), None),
        (dict(type='AdamW', lr=LR), {}),
        (dict(type='AdamW', lr=LR), dict(bias_lr_mult=2.0)),
        (dict(type='AdamW'), dict(layer_decay_rate=RATE)),
    ],
)
def test_says_what_is_missing(optimizer, paramwise_cfg):
    with pytest.raises(ValueError, match=r'set paramwise_cfg\.layer_decay_rate and optimizer\.lr'):
        LayerDecayOptimWrapperConstructor(dict(optimizer=optimizer), paramwise_cfg)


def test_models_without_depths_are_named():
    with pytest.raises(TypeError, match='Linear has no backbone with get_layer_depth'):
        groups_of(torch.nn.Linear(2, 2))
