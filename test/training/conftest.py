"""A corpus of tones for every test of the trainings."""

import pytest
from tones import make_corpus


@pytest.fixture
def corpus(tmp_path):
    """Manifests of unlabelled and labelled tones, and config files."""
    return make_corpus(tmp_path)
