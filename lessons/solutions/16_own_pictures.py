"""Answers to the exercises of lesson 16."""

import numpy as np


def polygon_area(points):
    x, y = points[:, 0], points[:, 1]
    crossed = x * np.roll(y, -1) - np.roll(x, -1) * y
    return abs(crossed.sum()) / 2


def masks_of_ids(ids):
    values = np.unique(ids)
    values = values[values != 0]
    return ids == values[:, None, None]


def coco_document(images, objects, classes):
    annotations = []
    for i, name, outline in objects:
        points = np.array(outline, float)
        low, high = points.min(axis=0), points.max(axis=0)
        annotation = {"image_id": i + 1, "category_id": classes.index(name) + 1, "iscrowd": 0}
        annotation |= {"id": len(annotations) + 1, "area": float(polygon_area(points))}
        annotation["bbox"] = [*low.tolist(), *(high - low).tolist()]
        annotation["segmentation"] = [points.ravel().tolist()]
        annotations.append(annotation)
    files = [dict(zip(("file_name", "width", "height"), image, strict=True)) for image in images]
    return {
        "images": [{"id": i, **file} for i, file in enumerate(files, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
        "annotations": annotations,
    }


def mask_of_counts(counts, height, width):
    values = np.arange(len(counts)) % 2 == 1
    column_by_column = np.repeat(values, counts)
    return column_by_column.reshape(width, height).T


def separate_pieces(mask):
    pieces, count = np.zeros(mask.shape, np.int64), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if pieces[start]:
            continue
        count += 1
        waiting = [start]
        while waiting:
            y, x = waiting.pop()
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if inside and mask[y, x] and not pieces[y, x]:
                pieces[y, x] = count
                waiting += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return pieces
