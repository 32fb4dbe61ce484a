"""MaskCut as a detector, without training."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from ..errors import ArgumentError
from ..maskcut import MIN_GAP, is_complete, mask_gaps, mask_scores, maskcut
from ..maskcut.bilateral import bilateral_mask
from ..maskcut.postprocess import dense_crf, image_masks, tight_box
from ..registration import register_model
from .features import choose_facet, patch_size, token_grid
from .observe import BackboneReader, Observations, check_layers

SCORES = ('one', 'round', 'ncut', 'gap')
PRECISIONS = {None: None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
CLASSES = ('object',)


@register_model
class MaskCutDetector(BackboneReader):
    """Objects in the features of a backbone (MaskCut, arXiv 2301.11320; protocol: arXiv 2308.16271, Appendix B.4).

    The features of one layer's patches, U^T z or a facet of a ViT, are cut into ``num_masks`` objects on the token
    grid: see :func:`projects.crate.maskcut.maskcut`, also for the sign rule. The masks are then brought to the size of
    the original image (:func:`projects.crate.maskcut.postprocess.image_masks`). The protocol resizes images to 480 x
    480, without keeping their aspect ratio. The backbone pads images that the patch does not divide, below and to the
    right; the masks are cut to the image.

    Args:
        backbone: A ViT of ``features.py``, as a config or as the module itself.
        data_preprocessor: Data preprocessor, as in every OpenMMLab model. With ``crf`` or ``bilateral`` it must do the
            normalisation, since its mean and std give the pixels back.
        layer: 0-based index of the layer whose features are cut; negative ones count from the end. The features of
            several layers stand side by side.
        facet: 'key', 'query', 'value' or 'token' (the layer's output). Default: values for a ViT with LayerScale, such
            as DINOv2, whose keys are all alike; keys for all others. In CRATE with MSSA or TSSA, key, query and value
            are the same, U^T z.
        centred: Whether to take the mean over the patches of an image away from its features.
        tau: Threshold of the cosine of two tokens.
        num_masks: Largest number of objects per image, or 'auto': as long as the eigengap is at least ``min_gap``.
        crf: Whether to refine each mask by a dense CRF and fill its holes (needs the extra ``crf``).
        bilateral: Whether to refine each mask by TokenCut's bilateral solver
            (:mod:`projects.crate.maskcut.bilateral`), in place of the CRF.
        score: Score of a mask, which ranks masks of different images. 'one': 1.0, as in the published protocol. 'ncut':
            how well the mask separates the graph of tokens (:func:`projects.crate.maskcut.mask_scores`); it builds the
            graph once more. 'gap': how well the graph determines the cut
            (:func:`projects.crate.maskcut.mask_gaps`); it solves for one eigenvalue more. 'round': 1, 1/2, 1/3, ... for
            the masks of round 0, 1, 2, ...
        corner_rule: False for TokenCut's object; see :func:`projects.crate.maskcut.maskcut`.
        details: Whether 'predict' also gives the eigenvector that each mask was cut from, and the attention of [CLS].
        min_gap: Smallest eigengap for ``num_masks='auto'``, from 0 to 1.
        amp: 'bf16' or 'fp16' runs the forward pass of the backbone under autocast. The graph and its eigenvectors stay
            in float32 and float64.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: The backbone has no such layer, or does not run it.
        ImportError: ``crf`` without pydensecrf2.
        ArgumentError: Another ``score`` or ``amp``; ``crf`` and ``bilateral``.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        data_preprocessor: dict | nn.Module | None = None,
        layer: int | Sequence[int] = -1,
        tau: float = 0.15,
        num_masks: int | str = 3,
        crf: bool = False,
        score: str = 'one',
        corner_rule: bool = True,
        facet: str | None = None,
        centred: bool = False,
        details: bool = False,
        amp: str | None = None,
        bilateral: bool = False,
        min_gap: float = MIN_GAP,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self._meta = dict(classes=CLASSES)
        if score not in SCORES:
            raise ArgumentError(f'MaskCutDetector: score must be one of {", ".join(SCORES)}, not {score!r}')
        if amp not in PRECISIONS:
            raise ArgumentError(f"MaskCutDetector: amp must be 'bf16', 'fp16' or None, not {amp!r}")
        self.amp = PRECISIONS[amp]
        self.layer, self.tau, self.num_masks, self.crf = layer, tau, num_masks, crf
        self.score, self.corner_rule, self.details = score, corner_rule, details
        self.layers = [layer] if isinstance(layer, int) else [*layer]
        if not self.layers:
            raise ArgumentError('MaskCutDetector: layer is empty; name at least one layer')
        check_layers(self.backbone, self.layers)
        self.facet, self.centred, self._told = choose_facet(self.backbone, facet), centred, False
        if crf and bilateral:
            raise ArgumentError('MaskCutDetector: crf and bilateral are set; one of them refines the masks')
        self.bilateral, self.min_gap = bilateral, min_gap
        if crf:  # a missing extra fails now
            dense_crf(np.ones((1, 1), dtype=bool), np.zeros((1, 1, 3), dtype=np.uint8))

    @property
    def dataset_meta(self) -> dict:
        """Classes and palette for mmdet's inference: every mask is an 'object', whatever classes a checkpoint names."""
        return self._meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._meta = dict(meta, classes=CLASSES)

    @torch.no_grad()
    def features(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """Return what is cut of images (B, 3, H, W): the features of their patches, (B, d, h w), at least float32."""
        return self._patches(self._observe(inputs, mode))

    def _observe(self, inputs: Tensor, mode: str) -> Observations:
        """Run the backbone, in half precision with ``amp``."""
        with torch.autocast(inputs.device.type, self.amp) if self.amp else nullcontext():
            return self.read(inputs, self.layers, mode, outputs=self.facet == 'token')

    def _patches(self, seen: Observations) -> Tensor:
        return seen.patches(self.layers, self.facet, self.centred).mT

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[BaseDataElement]:
        """Find the objects of a batch of images.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: One per image; 'predict' needs their ``img_shape`` and ``ori_shape``, (height, width).
            mode: 'predict' or 'tensor'.

        Returns:
            'tensor': masks on the token grid, (B, num_masks, h, w) bool (10 for 'auto'), disjoint, empty where there
            was no object.
            'predict': ``data_samples``, each with ``pred_instances`` on the CPU. These have ``masks`` (n, H0, W0) bool
            in the size of the original image, ``bboxes`` (n, 4) tight [x1, y1, x2, y2], ``scores`` (n,), ``labels`` 0.
            Empty masks are left out. With ``details``, they also have ``eigenvectors`` (n, h, w) float64, and each of
            ``data_samples`` has ``cls_attention`` (K, h, w), of the last of the layers, if there is a [CLS].

        Raises:
            NotImplementedError: Another mode; there is no loss.
            ValueError: Features are NaN or infinite, or an image was padded to the size of others in its batch; the
                message names the image.
        """
        seen = self._observe(inputs, mode)
        features = self._patches(seen)
        grid = token_grid(self.backbone, inputs.shape[-2:])
        if mode == 'predict':
            self._check(data_samples, features, grid)
        options = dict(corner_rule=self.corner_rule, min_gap=self.min_gap)
        masks, vectors = maskcut(features, grid, self.tau, self.num_masks, **options)
        self._explain(features[~masks.flatten(1).any(1)])
        if mode == 'tensor':
            return masks
        if self.details and (last := seen[self.layers[-1]]).has_cls:
            for sample, maps in zip(data_samples, last.cls_attention().unflatten(-1, grid)):
                sample.cls_attention = maps.float().cpu()
        scores = self._scores(features, masks, vectors)
        return self._predict(inputs, data_samples, masks.cpu().numpy(), scores, vectors.cpu())

    def _check(self, data_samples: Sequence[BaseDataElement], features: Tensor, grid: tuple[int, int]) -> None:
        """Refuse features that are not finite, and padding, which MaskCut would take for a part of the image."""
        finite = features.isfinite().flatten(1).all(1).tolist()
        for number, (sample, is_finite) in enumerate(zip(data_samples, finite)):
            name = sample.get('img_path', f'image {number} of the batch')
            if not is_finite:
                raise ArgumentError(f'{name}: the features of layer {self.layer} hold NaN or inf; check the checkpoint')
            if token_grid(self.backbone, sample.img_shape) != grid:
                raise ArgumentError(
                    f'{name}: {sample.img_shape} was padded to a grid of {grid} tokens, and the padding would be cut, '
                    'too; resize all images to one size, or load one at a time'
                )

    def _explain(self, features: Tensor) -> None:
        """Say once why an image has no mask at all, if the reason is the threshold; ``features`` are of such images."""
        if len(features) and not self._told and any(is_complete(features, self.tau)):
            self._told = True
            others = ' or '.join(f'facet={name!r}' for name in ('value', 'query') if name != self.facet)
            print_log(
                f'MaskCut finds nothing in some images: every pair of patches is connected, since all cosines of '
                f'facet={self.facet!r}, layer={self.layer} exceed tau={self.tau:g}; try {others}, centred=True or a '
                'larger tau',
                logger='current',
                level=logging.WARNING,
            )

    def _scores(self, features: Tensor, masks: Tensor, vectors: Tensor) -> np.ndarray:
        """Score the masks (B, num_masks, h, w) with their eigenvectors: (B, num_masks) float32."""
        if self.score == 'ncut':
            return mask_scores(features, masks, self.tau).cpu().numpy().astype(np.float32)
        if self.score == 'gap':
            return mask_gaps(features, masks, vectors, self.tau).cpu().numpy().astype(np.float32)
        count = masks.shape[1]
        rounds = np.arange(count) if self.score == 'round' else np.zeros(count)
        return np.broadcast_to((1 / (1 + rounds)).astype(np.float32), masks.shape[:2])

    def _predict(
        self,
        inputs: Tensor,
        data_samples: Sequence[BaseDataElement],
        masks: np.ndarray,
        scores: np.ndarray,
        vectors: Tensor,
    ) -> list[BaseDataElement]:
        """Add the instances of masks and eigenvectors (B, num_masks, h, w) and scores (B, num_masks) to the samples."""
        images = self._pixels(inputs) if self.crf or self.bilateral else [None] * len(inputs)
        patch, refiner = patch_size(self.backbone), bilateral_mask if self.bilateral else None
        for sample, grid_masks, values, image, cuts in zip(data_samples, masks, scores, images, vectors):
            # one at a time: an empty mask takes its score with it
            sizes = patch, sample.img_shape, sample.ori_shape
            parts = [image_masks(one[None], *sizes, image, refiner) for one in grid_masks]
            counts, found = [len(one) for one in parts], np.concatenate(parts)
            sample.pred_instances = InstanceData(
                masks=torch.from_numpy(found),
                bboxes=torch.tensor([tight_box(mask) for mask in found], dtype=torch.float32).reshape(-1, 4),
                scores=torch.from_numpy(values.repeat(counts)),
                labels=torch.zeros(len(found), dtype=torch.long),
            )
            if self.details:
                sample.pred_instances.eigenvectors = cuts.repeat_interleave(torch.tensor(counts), dim=0)
        return data_samples

    def _pixels(self, inputs: Tensor) -> np.ndarray:
        """Return the images before the normalisation, (B, H, W, 3) uint8."""
        mean, std = getattr(self.data_preprocessor, 'mean', 0), getattr(self.data_preprocessor, 'std', 1)
        pixels = (inputs.float() * std + mean).round().clamp(0, 255)
        return pixels.byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()
