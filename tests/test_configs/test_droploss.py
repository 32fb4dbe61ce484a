"""DropLoss as a setting of mmdet's assigner, against losses computed box by box from the definition.

Definition (arXiv 2301.11320): loss = (1 / N) sum of l_i over proposals with max IoU > 0.01, N proposals in all.
"""

import pytest
import torch
import torch.nn.functional as F
from config_tree import ROOT, load
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torchvision.ops import box_iou, sigmoid_focal_loss

pytest.importorskip('mmdet')
from mmdet.structures import DetDataSample

LEAF = '{}_r50_dino-pre-8xb2-step-160k_in1k-pseudo'
TRUTHS = torch.tensor([[8.0, 8, 40, 40], [60, 60, 90, 100]])
# far from all, touching by 1% and less, overlapping a little, enough for the first stage, for the third
PROPOSALS = torch.tensor(
    [
        [100.0, 4, 126, 40],
        [4, 90, 40, 126],
        [39.9, 8, 72, 40],
        [20, 20, 52, 52],
        [12, 8, 44, 44],
        [62, 62, 90, 100],
        [50, 50, 80, 90],
        [90.5, 60, 120, 100],
    ]
)
MAPS = [torch.rand(1, 8, 128 // stride, 128 // stride, generator=torch.Generator().manual_seed(0)) for stride in (4, 8)]
SMALL = dict(in_channels=8, fc_out_channels=16, num_classes=1)


def sample(boxes):
    truths = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    return DetDataSample(gt_instances=truths, metainfo=dict(img_shape=(128, 128)))


def roi_head(detector, **assigner):
    """The head of a config, thin and without masks; every proposal is sampled."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = load(ROOT / f'configs/detection/{LEAF.format(detector)}.py').model
    head, train_cfg = cfg.roi_head, cfg.train_cfg.rcnn
    stages = train_cfg if isinstance(train_cfg, list) else [train_cfg]
    for stage in stages:
        stage.sampler.update(num=1000, pos_fraction=1.0)
        stage.assigner.update(assigner)
    head.update(mask_head=None, mask_roi_extractor=None, train_cfg=train_cfg, test_cfg=cfg.test_cfg.rcnn)
    head.bbox_roi_extractor.update(out_channels=8, featmap_strides=[4, 8])
    for box_head in head.bbox_head if isinstance(head.bbox_head, list) else [head.bbox_head]:
        box_head.update(SMALL)
    built = MODELS.build(head)
    built.init_weights()
    for parameter in built.parameters():  # heads start near 0, where all losses are alike
        torch.nn.init.normal_(parameter, std=0.1)
    return built, stages


def losses(head, truths=TRUTHS):
    return head.loss(MAPS, [InstanceData(bboxes=PROPOSALS.clone())], [sample(truths)])


def by_definition(scores, deltas, head, boxes, threshold):
    """Sums of the classification and box loss over the boxes that are kept, the number of those, and of all."""
    overlaps, nearest = box_iou(boxes, TRUTHS).max(1)
    positive, kept = overlaps >= threshold, overlaps > 0.01
    each = F.cross_entropy(scores, (~positive).long(), reduction='none')
    targets = head.bbox_coder.encode(boxes[positive], TRUTHS[nearest[positive]])
    beta = getattr(head.loss_bbox, 'beta', 0)
    distance = F.smooth_l1_loss(deltas[positive], targets, beta=beta, reduction='sum')
    assert kept.sum() < len(boxes) - 2 and positive.any() and (kept & ~positive).any()  # nothing is trivial
    return (each * kept).sum(), distance, kept.sum(), len(boxes)


@pytest.mark.parametrize('detector', ['mask-rcnn', 'cascade-mask-rcnn'])
def test_first_stage(detector):
    """The setting gives the loss of the definition times (all / kept): its mean is over the boxes that are left."""
    head, stages = roi_head(detector)
    found = losses(head)
    boxes = torch.cat([TRUTHS, PROPOSALS])  # true boxes are proposals, too
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    if len(stages) > 1:
        result, box_head, prefix = head._bbox_forward(0, MAPS, rois), head.bbox_head[0], 's0.'
    else:
        result, box_head, prefix = head._bbox_forward(MAPS, rois), head.bbox_head, ''
    scores, deltas = result['cls_score'], result['bbox_pred']
    cls, box, kept, number = by_definition(scores, deltas, box_head, boxes, stages[0].assigner.pos_iou_thr)
    definition = cls / number, box / number
    for name, value in zip(('loss_cls', 'loss_bbox'), definition):
        assert found[prefix + name].item() == pytest.approx((value * number / kept).item(), rel=1e-5)


def test_every_stage_of_a_cascade_is_without_boxes_that_overlap_nothing(monkeypatch):
    head, _ = roi_head('cascade-mask-rcnn')
    seen = []
    original = type(head).bbox_loss
    monkeypatch.setattr(type(head), 'bbox_loss', lambda self, *args: seen.append(args[-1][0]) or original(self, *args))
    losses(head)
    assert len(seen) == 3
    for result in seen:
        assert len(result.neg_priors) and (box_iou(result.neg_priors, TRUTHS).max(1).values > 0.01).all()
    head, _ = roi_head('cascade-mask-rcnn', neg_iou_thr=0.5)
    seen.clear()
    losses(head)
    assert (box_iou(seen[0].neg_priors, TRUTHS).max(1).values <= 0.01).any()


@pytest.mark.parametrize('detector', ['mask-rcnn', 'cascade-mask-rcnn'])
def test_traps(detector):
    """A list gives no background at all; in an image without masks every proposal is background."""
    head, stages = roi_head(detector, neg_iou_thr=[0.01, 0.5])
    name = 's0.loss_cls' if len(stages) > 1 else 'loss_cls'
    only_positive = losses(head)[name].item()
    head, _ = roi_head(detector)
    assert losses(head)[name].item() != pytest.approx(only_positive, rel=1e-3)
    head, _ = roi_head(detector)
    empty = torch.zeros(0, 4)
    dropped = losses(head, empty)[name]
    head, _ = roi_head(detector, neg_iou_thr=0.5)
    assert dropped.item() == pytest.approx(losses(head, empty)[name].item()) and dropped > 0


def test_retinanet_is_the_definition():
    """No anchor is drawn and the sum is divided by the number of positives: dropping changes nothing but its terms."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    head = load(ROOT / 'configs/detection/retinanet_vit-base-p16_in1k-pre-8xb2-step-12e_coco.py').model
    train_cfg = ConfigDict(head.train_cfg)
    train_cfg.assigner.neg_iou_thr = (0.01, 0.4)
    head = head.bbox_head
    head.update(num_classes=1, in_channels=8, feat_channels=8, stacked_convs=1, train_cfg=train_cfg)
    head.anchor_generator.update(strides=[16, 32])
    head = MODELS.build(head)
    maps = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)]
    scores, deltas = head(maps)
    found = head.loss_by_feat(
        scores, deltas, [sample(TRUTHS).gt_instances], [dict(img_shape=(128, 128), pad_shape=(128, 128))]
    )
    anchors = torch.cat(head.prior_generator.grid_priors([one.shape[-2:] for one in scores], device='cpu'))
    overlaps = box_iou(anchors, TRUTHS)
    nearest, positive = overlaps.max(1).values, torch.zeros(len(anchors), dtype=torch.bool)
    positive |= nearest >= 0.5
    for column in overlaps.T:  # the best anchors of a true box are positive, however small their overlap
        positive |= column == column.max()
    kept = positive | ((nearest >= 0.01) & (nearest < 0.4))
    logits = torch.cat([one.permute(0, 2, 3, 1).flatten() for one in scores])
    each = sigmoid_focal_loss(logits, positive.float(), alpha=0.25, gamma=2.0)
    expected = (each * kept).sum() / positive.sum()
    assert sum(found['loss_cls']).item() == pytest.approx(expected.item(), rel=1e-5)
    assert (nearest < 0.01).any() and (each * ~kept).sum() > 0.01 * (each * kept).sum()
