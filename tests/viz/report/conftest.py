"""One page of every stage, and a browser, for all tests of pages."""

import pytest

from tests.browsers import chromium, opened
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.models.pretrained import load_model
from tinymaskrcnn.viz.report import explain_page, trace_of

SHAPES = "data/shapes/annotations.json"


@pytest.fixture(scope="package")
def subject(pytestconfig):
    """The shipped model, its classes, and an image with its target."""
    model = load_model("shapes")
    classes = model.classes
    image, target = CocoDataset(pytestconfig.rootpath / SHAPES, classes=classes)[3]
    return model, classes, image, target


@pytest.fixture(scope="package")
def t(subject):
    model, _, image, target = subject
    return trace_of(model, image, target)


@pytest.fixture(scope="package")
def explained(subject, t, tmp_path_factory):
    model, classes, image, target = subject
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(explain_page(model, image, classes, target, "a picture", t=t))
    return path


@pytest.fixture(scope="package")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(driver, explained):
    with opened(driver, explained.as_uri()):
        yield driver
