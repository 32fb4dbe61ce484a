import copy
import sys

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_models import ARCH, build, classifier, crate
from torch import nn

from projects.crate.errors import UserError
from projects.crate.maskcut import mask_gaps, mask_scores, maskcut
from projects.crate.maskcut.bilateral import bilateral_mask
from projects.crate.maskcut.postprocess import image_masks, refine, upsample
from projects.crate.models import MaskCutDetector, maskcut_detector, observe

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORMALISE = dict(type='ImgDataPreprocessor', mean=MEAN, std=STD)
SIZE = (24, 32)
CRATE_CFG = dict(type='CRATE', arch=ARCH, img_size=SIZE, patch_size=4)
VIT_CFG = dict(
    type='mmpretrain.VisionTransformer', arch={**ARCH, 'feedforward_channels': 96}, img_size=SIZE, patch_size=4
)
BACKBONES = dict(
    MSSA=CRATE_CFG,
    MHSA={**CRATE_CFG, 'attn_cfg': dict(type='MHSA')},
    TSSA={**CRATE_CFG, 'attn_cfg': dict(type='TSSA')},
    no_cls={**CRATE_CFG, 'with_cls_token': False, 'out_type': 'featmap'},
    ViT=VIT_CFG,
)


def pixels(seed, size=SIZE):
    """A noisy image with a bright rectangle, (3, H, W) uint8."""
    rng = np.random.default_rng(seed)
    image = rng.normal(70, 20, (3, *size))
    top, left = rng.integers(0, size) // 2
    image[:, top : top + size[0] // 2, left : left + size[1] // 3] += 120 * rng.random((3, 1, 1))
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8))


def batch(ori_shapes=((24, 32), (50, 37)), size=SIZE, element=DetDataSample):
    """What a data loader gives: every image has been resized to ``size``, whatever it was."""
    metas = [dict(img_path=f'{i}.jpg', ori_shape=shape, img_shape=size) for i, shape in enumerate(ori_shapes)]
    return dict(
        inputs=[pixels(seed, size) for seed in range(len(metas))],
        data_samples=[element(metainfo=meta) for meta in metas],
    )


def detector(backbone=CRATE_CFG, **options):
    torch.manual_seed(0)
    return MaskCutDetector(backbone, **{'data_preprocessor': NORMALISE, **options}).eval()


def normalised(data):
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return torch.stack([(image.float() - mean) / std for image in data['inputs']])


@torch.no_grad()
def features_by_hand(backbone, inputs, layer):
    with observe(backbone, [layer]) as seen:
        backbone(inputs)
    extra = 1 if backbone.cls_token is not None else 0
    return seen[layer].features[:, extra:].transpose(1, 2)


@pytest.mark.parametrize('layer', [-1, 1])
@pytest.mark.parametrize('backbone', BACKBONES)
def test_masks_are_those_of_maskcut_in_the_original_size(backbone, layer):
    model, data = detector(BACKBONES[backbone], layer=layer, tau=0.2, num_masks=2), batch()
    samples = model.test_step(data)
    token_masks, _ = maskcut(features_by_hand(model.backbone, normalised(data), layer), (6, 8), tau=0.2, num_masks=2)
    assert token_masks.any()
    for sample, masks, shape in zip(samples, token_masks.numpy(), [(24, 32), (50, 37)]):
        expected = []
        for mask in masks[masks.any((1, 2))]:
            large = Image.fromarray(np.kron(mask, np.ones((4, 4))).astype(np.uint8) * 255)
            values = np.array(large.resize(shape[::-1])).astype(int)
            expected.append(2 * values > values.max())
        found = sample.pred_instances
        assert np.array_equal(found.masks.numpy(), np.array(expected))
        assert found.masks.dtype == torch.bool and found.masks.shape[1:] == shape
        assert torch.equal(found.scores, torch.ones(len(expected)))
        assert torch.equal(found.labels, torch.zeros(len(expected), dtype=torch.long))
        for mask, box in zip(expected, found.bboxes.tolist()):
            x, y, width, height = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))
            assert box == [x, y, x + width, y + height]


@pytest.mark.parametrize('score', ['one', 'round', 'ncut', 'gap'])
def test_scores_belong_to_their_masks(score):
    """Also where a round gave no mask, and where one vanishes in a small original."""
    model, data = detector(score=score, num_masks=4), batch(((24, 32), (5, 4)))
    features = features_by_hand(model.backbone, normalised(data), -1)
    masks, vectors = maskcut(features, (6, 8), num_masks=4)
    every = dict(one=torch.ones(2, 4), round=1 / torch.arange(1, 5).expand(2, 4), ncut=mask_scores(features, masks))
    every['gap'] = mask_gaps(features, masks, vectors)
    counts = []
    for sample, grid_masks, scores in zip(model.test_step(data), masks.numpy(), every[score].float()):
        kept = [len(image_masks(one[None], (4, 4), SIZE, sample.ori_shape)) for one in grid_masks]
        found = sample.pred_instances
        assert torch.equal(found.scores, scores[torch.tensor(kept) > 0]) and found.scores.dtype == torch.float32
        assert np.array_equal(found.masks.numpy(), image_masks(grid_masks, (4, 4), SIZE, sample.ori_shape))
        counts += kept
    assert 0 in counts and 1 in counts


def test_unknown_scores_are_refused():
    with pytest.raises(UserError, match="^MaskCutDetector: score must be one of one, round, ncut, gap, not 'area'"):
        detector(score='area')


def test_tensor_mode_gives_the_token_masks():
    model, data = detector(), batch()
    inputs = normalised(data)
    masks = model(inputs)
    assert masks.shape == (2, 3, 6, 8) and masks.dtype == torch.bool
    assert torch.equal(masks, maskcut(features_by_hand(model.backbone, inputs, -1), (6, 8))[0])
    assert torch.equal(masks[1], model(inputs[1:])[0])


def test_there_is_nothing_to_train():
    model = detector()
    with pytest.raises(NotImplementedError, match="^MaskCutDetector: .* not 'loss'"):
        model(torch.zeros(1, 3, *SIZE), mode='loss')


def test_nothing_needs_a_gradient():
    model = detector()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    model.test_step(batch())
    assert calls == [False]


@pytest.mark.parametrize('library', ['mmengine', 'mmdet', 'mmpretrain'])
@pytest.mark.parametrize('backbone', ['MSSA', 'ViT'])
def test_builds_from_a_config_in_every_scope(library, backbone):
    """As mmdet's Runner does it, with mmdet's data preprocessor."""
    DefaultScope.get_instance('test', scope_name=library)
    normalise = dict(type='mmdet.DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=False, pad_size_divisor=1)
    cfg = dict(type='MaskCutDetector', backbone=BACKBONES[backbone], data_preprocessor=normalise)
    model = MODELS.build(cfg) if library == 'mmengine' else build(library, cfg)
    assert type(model) is MaskCutDetector
    assert len(model.test_step(batch())[1].pred_instances.masks)


def test_checkpoints_of_classifiers_fit():
    trained = classifier(CRATE_CFG, 24)
    model = detector()
    missing, unexpected = model.load_state_dict(trained.state_dict(), strict=False)
    assert not missing
    assert unexpected == ['head.fc.weight', 'head.fc.bias']
    assert all(key.startswith('backbone.') for key in model.state_dict())


def test_samples_of_any_library():
    samples = detector().test_step(batch(element=BaseDataElement))
    assert isinstance(samples[0].pred_instances, InstanceData)


@pytest.mark.parametrize('size', [(22, 32), (24, 29), (21, 30)])
@pytest.mark.parametrize('backbone', ['MSSA', 'ViT'])
def test_sizes_that_the_patch_does_not_divide(backbone, size):
    """The backbone pads below and to the right; the masks of the padded grid are cut, not stretched."""
    model, data = detector(BACKBONES[backbone]), batch([(40, 60)], size)
    (sample,) = model.test_step(data)
    padded = nn.functional.pad(normalised(data), (0, 32 - size[1], 0, 24 - size[0]))
    token_masks = model(padded)[0].numpy()
    assert token_masks.shape == (3, 6, 8)
    expected = image_masks(token_masks, (4, 4), size, (40, 60))
    assert np.array_equal(sample.pred_instances.masks.numpy(), expected)


def test_rectangular_patches():
    model = detector({**CRATE_CFG, 'patch_size': (4, 8)})
    (sample,) = model.test_step(batch([SIZE]))
    token_masks = model(normalised(batch([SIZE])))[0].numpy()
    assert token_masks.shape == (3, 6, 4)
    kept = token_masks[token_masks.any((1, 2))]
    assert np.array_equal(sample.pred_instances.masks.numpy(), upsample(kept, (4, 8), SIZE))


def test_images_padded_to_the_batch_are_refused():
    data = batch(size=(24, 32))
    data['inputs'][1] = data['inputs'][1][:, :, :28]
    data['data_samples'][1].set_metainfo(dict(img_shape=(24, 28)))
    with pytest.raises(ValueError, match=r'^1\.jpg: \(24, 28\) was padded to a grid of \(6, 8\) tokens'):
        detector().test_step(data)


def test_padding_within_a_patch_is_no_part_of_the_image():
    data = batch([(44, 60)], (22, 30))
    model = detector(data_preprocessor={**NORMALISE, 'pad_size_divisor': 4})
    (padded,) = model.test_step(data)
    (plain,) = detector().test_step(batch([(44, 60)], (22, 30)))
    assert torch.equal(padded.pred_instances.masks, plain.pred_instances.masks)


def test_crf_refines_with_the_pixels_of_the_image():
    data = batch([SIZE, SIZE])
    plain, refined = (detector(crf=crf).test_step(copy.deepcopy(data)) for crf in (False, True))
    changed = 0
    for before, after, image in zip(plain, refined, data['inputs']):
        expected = [refine(mask, image.permute(1, 2, 0).numpy()) for mask in before.pred_instances.masks.numpy()]
        expected = np.array([mask for mask in expected if mask.any()], dtype=bool).reshape(-1, *SIZE)
        assert np.array_equal(after.pred_instances.masks.numpy(), expected)
        assert len(after.pred_instances.bboxes) == len(after.pred_instances.scores) == len(expected)
        changed += not torch.equal(after.pred_instances.masks, before.pred_instances.masks)
    assert changed


@pytest.mark.parametrize('normalise', [NORMALISE, dict(type='ImgDataPreprocessor')])
def test_pixels_come_back_exactly(normalise):
    model, data = detector(data_preprocessor=normalise), batch()
    expected = torch.stack(data['inputs']).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(model._pixels(model.data_preprocessor(data)['inputs']), expected)


def test_an_image_without_objects():
    """All features equal: nothing stands out."""
    model = detector()
    nn.init.zeros_(model.backbone.layers[-1].attn.qkv.weight)
    for crf in (False, True):
        model.crf = crf
        found = model.test_step(batch())[1].pred_instances
        assert found.masks.shape == (0, 50, 37) and found.masks.dtype == torch.bool
        assert found.bboxes.shape == (0, 4) and found.bboxes.dtype == torch.float32
        assert found.scores.shape == found.labels.shape == (0,)


@pytest.mark.parametrize('facet', ['query', 'key', 'value', 'token'])
@torch.no_grad()
def test_facets_of_several_layers_side_by_side(facet):
    model, inputs = detector(BACKBONES['MHSA'], layer=[0, -1], facet=facet, centred=True), normalised(batch())
    tokens, outputs = [], []
    for index in (0, 2):
        layer = model.backbone.layers[index]
        layer.attn.qkv.register_forward_hook(lambda _, __, output: tokens.append(output[:, 1:]))
        layer.register_forward_hook(lambda _, __, output: outputs.append(output[:, 1:]))
    masks = model(inputs)
    found = (
        outputs if facet == 'token' else [each.chunk(3, -1)[('query', 'key', 'value').index(facet)] for each in tokens]
    )
    expected = torch.cat(found, -1).transpose(1, 2)
    expected = expected - expected.mean(2, keepdim=True)
    assert torch.equal(masks, maskcut(expected, (6, 8))[0]) and masks.any()


def test_facets_of_crate_are_the_same_and_others_are_refused():
    inputs = normalised(batch())
    masks = [detector(facet=facet)(inputs) for facet in (None, 'key', 'query', 'value')]
    assert all(torch.equal(each, masks[0]) for each in masks[1:])
    with pytest.raises(UserError, match=r"^facet must be one of key, query, value, token, not 'qkv'$"):
        detector(facet='qkv')
    with pytest.raises(UserError, match='layer is empty'):
        detector(layer=[])


def test_a_graph_without_sides_is_said_once(monkeypatch):
    """All keys are alike: a large bias, as in DINOv2."""
    said = []
    monkeypatch.setattr(maskcut_detector, 'print_log', lambda message, **_: said.append(message))
    model = detector(BACKBONES['MHSA'])
    assert model(normalised(batch())).any() and not said
    nn.init.constant_(model.backbone.layers[-1].attn.qkv.bias, 100.0)
    for _ in range(2):
        assert not model(normalised(batch())).any()
    (message,) = said
    for words in ("facet='key'", "try facet='value'", 'centred=True', 'tau=0.15'):
        assert words in message


def test_nan_names_the_image():
    data = batch()
    inputs = normalised(data)
    inputs[1, 0, 3, 3] = float('nan')
    with pytest.raises(ValueError, match=r'^1\.jpg: the features of layer -1 hold NaN') as error:
        detector()(inputs, data['data_samples'], mode='predict')
    assert '\n' not in str(error.value)
    with pytest.raises(ValueError, match='image 1 of the batch'):
        detector()(inputs, [sample.new(metainfo=dict(img_shape=SIZE)) for sample in data['data_samples']], 'predict')


def test_backbones_that_do_not_fit_are_refused_when_built():
    with pytest.raises(TypeError, match='^ResNet: its attention cannot be read: write an Adapter'):
        detector(dict(type='mmpretrain.ResNet', depth=18))
    with pytest.raises(IndexError, match='^CRATE has no layer 3: it has 3 layers'):
        detector(layer=3)


@pytest.mark.parametrize('layer', [-1, 2])
def test_a_layer_that_the_backbone_does_not_run(layer):
    with pytest.raises(IndexError, match=rf'^CRATE does not run layer {layer}: it stops after out_indices \(0, 1\)'):
        detector({**CRATE_CFG, 'out_indices': (0, 1)}, layer=layer)
    detector({**CRATE_CFG, 'out_indices': (0, 1)}, layer=-2).test_step(batch())
    detector({**VIT_CFG, 'out_indices': 0}).test_step(batch())  # runs all layers


def test_a_missing_crf_is_found_when_built(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    with pytest.raises(ImportError, match='needs pydensecrf2: pip install'):
        detector(crf=True)
    detector()


def state(module):
    """Everything of a module that a stranger could have changed."""
    parts = dict(module.named_modules())
    return (
        {name: (part.training, len(part._forward_hooks)) for name, part in parts.items()},
        {name: (value.clone(), value.requires_grad, value.device) for name, value in module.named_parameters()},
    )


@pytest.mark.parametrize('backbone', ['MSSA', 'ViT'])
def test_a_backbone_in_training_is_left_as_it_was(backbone):
    """Half of it frozen in evaluation mode, with drop path that must not be drawn."""
    options = dict(frozen_stages=1, drop_path_rate=0.5)
    live = MODELS.build({**BACKBONES[backbone], **options})
    live.train()
    live.layers[2].ln2.eval()
    before, random_state = state(live), torch.get_rng_state()
    model = MaskCutDetector(live, NORMALISE)
    assert model.backbone is live
    first, second = (model.test_step(batch())[0].pred_instances.masks for _ in range(2))
    after = state(live)
    assert before[0] == after[0]
    for name, (value, *rest) in before[1].items():
        assert torch.equal(after[1][name][0], value) and list(after[1][name][1:]) == rest
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(first, second)
    live.eval()
    assert torch.equal(model.test_step(batch())[0].pred_instances.masks, first)


def test_modes_come_back_after_an_error():
    live = crate(img_size=SIZE)
    live.train()
    model = MaskCutDetector(live, NORMALISE)
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 5, *SIZE))
    assert all(part.training for part in live.modules())
    assert not any(part._forward_hooks for part in live.modules())


def test_the_preprocessor_goes_where_a_live_backbone_is():
    live = crate(img_size=SIZE).to('meta')
    assert MaskCutDetector(live, NORMALISE).data_preprocessor.device == torch.device('meta')


def test_under_autocast_only_the_backbone_is_rounded():
    model, data = detector(), batch()
    inputs = normalised(data)
    with torch.autocast('cpu', torch.bfloat16):
        features = features_by_hand(model.backbone, inputs, -1)
        masks = model(inputs)
    assert features.dtype == torch.bfloat16
    assert torch.equal(masks, maskcut(features.float(), (6, 8))[0])


@pytest.mark.parametrize(('amp', 'dtype'), [('bf16', torch.bfloat16), ('fp16', torch.float16)])
@pytest.mark.parametrize('centred', [False, True])
def test_amp_rounds_the_backbone_alone(amp, dtype, centred):
    model, inputs = detector(amp=amp, centred=centred), normalised(batch())
    with torch.autocast('cpu', dtype):
        expected = features_by_hand(model.backbone, inputs, -1)
    assert expected.dtype == dtype
    expected = expected.float() - centred * expected.float().mean(2, keepdim=True)
    assert torch.equal(model.features(inputs), expected)
    assert torch.equal(model(inputs), maskcut(expected, (6, 8))[0])
    assert not torch.equal(expected, detector(centred=centred).features(inputs))


def test_another_amp_is_refused():
    with pytest.raises(UserError, match="^MaskCutDetector: amp must be 'bf16', 'fp16' or None, not 'float16'"):
        detector(amp='float16')


def test_the_bilateral_solver_refines_with_the_pixels_of_the_image(monkeypatch):
    monkeypatch.setattr('projects.crate.maskcut.bilateral.MIN_IOU', 0)  # noise changes these masks beyond recognition
    data = batch(ori_shapes=[SIZE] * 2)
    plain, refined = (detector(bilateral=on).test_step(copy.deepcopy(data)) for on in (False, True))
    changed = False
    for before, after, image in zip(plain, refined, data['inputs']):
        masks = before.pred_instances.masks.numpy()
        expected = np.array([bilateral_mask(mask, image.permute(1, 2, 0).numpy()) for mask in masks])
        assert np.array_equal(after.pred_instances.masks.numpy(), expected)
        changed |= not np.array_equal(masks, expected)
    assert changed
    with pytest.raises(UserError, match='crf and bilateral are set'):
        detector(crf=True, bilateral=True)


def test_auto_passes_its_threshold_on():
    inputs = normalised(batch())
    features = features_by_hand(detector().backbone, inputs, -1)
    for min_gap in (0, 0.2, 1.1):
        expected, _ = maskcut(features, (6, 8), num_masks='auto', min_gap=min_gap)
        assert torch.equal(detector(num_masks='auto', min_gap=min_gap)(inputs), expected)
    found = detector(num_masks='auto', min_gap=0, score='round').test_step(batch())[0].pred_instances
    assert len(found.masks) == len(found.scores) >= 1
