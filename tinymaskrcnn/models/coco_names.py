"""The names of COCO's categories by id, which is also their label in torchvision's weights.

Ten of the 90 ids were never used: Lin et al. 2014 planned 91 categories, 80 came to be.
"""

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, ,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
, backpack, umbrella, , , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, , dining table, , , toilet, , tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
"""
COCO_NAMES = tuple(
    name.strip() or f"unused {id_}" for id_, name in enumerate(_NAMES.split(","), start=1)
)
USED_COCO_NAMES = tuple(name.strip() for name in _NAMES.split(",") if name.strip())  # detectron2's
