"""Coarse segmentation in its plainest form: NumPy, one pixel at a time. The oracle of the fast version."""

import math

import numpy as np


def masks_of(attention, rule, share):
    """Each head's map (K, h, w) as a mask."""
    masks = np.zeros(attention.shape, bool)
    for head, values in enumerate(attention):
        wanted = round(share * values.size) if rule == 'top' else values.size
        total = 0.0
        for flat in np.argsort(-values, axis=None, kind='stable')[:wanted]:
            if rule == 'mass' and total >= share * values.sum(dtype=np.float64):
                break
            masks[head].flat[flat] = True
            total += float(values.flat[flat])
    return masks


def pixel_iou(masks, target, ignore_index=255):
    """{class: IoU of every head}, pixel by pixel; a pixel's mask is that at its place in the masks' own raster."""
    (heads, h, w), (height, width) = masks.shape, target.shape
    scores = {}
    for index in sorted(set(target.flat) - {0, ignore_index}):
        scores[int(index)] = []
        for head in range(heads):
            both = either = 0
            for y in range(height):
                for x in range(width):
                    if target[y, x] == ignore_index:
                        continue
                    on, wanted = masks[head, y * h // height, x * w // width], target[y, x] == index
                    both += on and wanted
                    either += on or wanted
            scores[int(index)].append(both / either)
    return scores


def token_labels(target, grid, image, patch, ignore_index=255):
    """Label under the centre of each token of an image that was resized from the target's size and padded."""
    labels = np.full(grid, ignore_index)
    for row in range(grid[0]):
        for column in range(grid[1]):
            # twice the centre, in pixels of the input; then in pixels of the target
            y, x = (2 * row + 1) * patch[0], (2 * column + 1) * patch[1]
            y, x = math.floor(y * target.shape[0] / (2 * image[0])), math.floor(x * target.shape[1] / (2 * image[1]))
            if y < target.shape[0] and x < target.shape[1]:
                labels[row, column] = target[y, x]
    return labels


def best(scores):
    """{class: IoU of the best head}."""
    return {index: max(values) for index, values in scores.items()}


def averages(images, names):
    """What the metric reports of one layer, in percent, from [{class: IoU of every head}] of all images."""
    images = [scores for scores in images if scores]
    heads = len(next(iter(images[0].values())))

    def mean(values):
        return 100 * sum(values) / len(values)

    def over_classes(scores, value):
        return sum(value(values) for values in scores.values()) / len(scores)

    found = dict(mIoU=mean([over_classes(scores, max) for scores in images]))
    for head in range(heads):
        found[f'head_{head}'] = mean([over_classes(scores, lambda values: values[head]) for scores in images])  # noqa: B023
    for index in sorted({index for scores in images for index in scores}):
        found[names[index]] = mean([max(scores[index]) for scores in images if index in scores])
    return found
