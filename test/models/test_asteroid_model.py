"""The adapter against asteroid's own interface."""

import numpy as np
import pytest
import torch

from mixit_mss.models import BSLocoformer
from mixit_mss.models.asteroid_model import AsteroidModel


@pytest.fixture
def network():
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 64, "hop": 16, "bands": 6, "sample_rate": 8000}
    return BSLocoformer(2, stems=["voice", "rest"], **sizes, **stft).eval()


def test_serialised_and_loaded_again_it_is_the_same(network, tmp_path):
    conf = AsteroidModel.wrap(network).serialize()
    assert conf["model_name"] == "AsteroidModel"
    torch.save(conf, tmp_path / "model.pth")
    for source in (conf, str(tmp_path / "model.pth")):
        loaded = AsteroidModel.from_pretrained(source).eval()
        mixture = torch.randn(1, 2, 300)
        with torch.no_grad():
            assert torch.equal(loaded(mixture), network(mixture))
        assert loaded.sample_rate == 8000
        assert loaded.network.stems == ("voice", "rest")


@pytest.mark.parametrize("shape", [(2, 300), (3, 2, 300)])
def test_separate_takes_tensors_and_arrays(network, shape):
    model, mixture = AsteroidModel.wrap(network), torch.randn(shape)
    estimates = model.separate(mixture)
    assert estimates.shape == (*shape[:-2], 2, *shape[-2:])
    np.testing.assert_allclose(model.separate(mixture.numpy()), estimates.numpy(), rtol=1e-5)
    with torch.no_grad():
        ours = model(mixture)
    # the same up to asteroid's own rescaling
    scale = (estimates * ours).sum() / ours.square().sum()
    torch.testing.assert_close(estimates, ours * scale, rtol=1e-3, atol=1e-5)


def test_other_channel_counts_are_refused(network):
    with pytest.raises(RuntimeError, match="2-channel"):
        AsteroidModel.wrap(network).separate(torch.randn(1, 300))
