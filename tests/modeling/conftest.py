"""The parts of the contract's tests, and of others that name an architecture and its encoders."""

import pytest
import tiny


@pytest.fixture
def built(architecture, encoders, backbones):
    return tiny.build(architecture, encoders, backbones)


@pytest.fixture
def model(built):
    return built[1]


@pytest.fixture
def batch(built):
    return dict(built[0](**tiny.posts()))


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path
