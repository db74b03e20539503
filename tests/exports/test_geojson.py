import json

import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from tests.datasets.test_outlines import filled
from tinymaskrcnn.exports import geojson
from tinymaskrcnn.viz import colours

from .tools import boxed, predicted, ring, two_parts


def features(found):
    content = json.loads(geojson.content(found, None))
    assert content["type"] == "FeatureCollection"
    assert content["generator"] == "written by tinymaskrcnn predict"
    return content["features"]


def test_a_detection_as_qupath_reads_it():
    (feature,) = features(predicted([boxed(2, 3, 12, 13)], [2]))
    assert feature == {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[3, 2], [13, 2], [13, 12], [3, 12], [3, 2]]],
        },
        "properties": {
            "objectType": "detection",
            "name": "1",
            "classification": {"name": "dog", "color": list(colours.rgb(colours.OBJECTS[1]))},
            "measurements": {"score": feature["properties"]["measurements"]["score"]},
        },
    }
    assert abs(feature["properties"]["measurements"]["score"] - 0.9) < 1e-6


def test_holes_are_inner_rings_and_parts_a_multipolygon():
    one, two = features(predicted([ring(), two_parts(), boxed(0, 0, 0, 0)]))
    outer, hole = one["geometry"]["coordinates"]
    assert outer[0] == outer[-1] and hole[0] == hole[-1]
    assert sorted(hole[1:]) == [[7, 6], [7, 9], [12, 6], [12, 9]]
    assert two["geometry"]["type"] == "MultiPolygon" and len(two["geometry"]["coordinates"]) == 2


def test_nothing_found_is_an_empty_collection():
    assert features(predicted(np.zeros((0, 20, 30)))) == []


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_the_rings_fill_the_masks(masks):
    kept = [mask for mask in masks if mask.any()]
    for feature, mask in zip(features(predicted(masks)), kept, strict=True):
        shape = feature["geometry"]
        polygons = shape["coordinates"]
        polygons = [polygons] if shape["type"] == "Polygon" else polygons
        rings = [np.array(ring[:-1], float) for polygon in polygons for ring in polygon]
        np.testing.assert_array_equal(filled(rings, mask.shape), mask)
