"""The network against the published one's numbers, and what it promises for any input."""

import copy

import numpy as np
import pytest
import torch

from mixit_mss.losses import thresholded_snr
from mixit_mss.models import BSLocoformer, build_model
from mixit_mss.models.hub.official import PATH_LAYERS, PATHS, PREFIX, from_official
from mixit_mss.models.locoformer import LocoformerBlock

TINY = {"num_blocks": 2, "dim": 8, "ffn_dim": 12, "num_heads": 2, "num_groups": 2}
SMALL_STFT = {"n_fft": 64, "hop": 16, "bands": [1] * 9 + [8] * 3, "sample_rate": 8000}


def relative_error(x, y):
    return ((x - y).norm() / y.norm()).item()


@pytest.fixture(scope="module")
def official(golden):
    arrays = golden("official_network_tiny.npz")
    entries = {
        name.removeprefix("state_dict/" + PREFIX): torch.from_numpy(array.astype(np.float64))
        for name, array in arrays.items()
        if name.startswith("state_dict/" + PREFIX)
    }
    model = BSLocoformer(3, **TINY).double().eval()
    model.load_state_dict(from_official(entries, model))
    mixture = torch.from_numpy(arrays["mixture"].astype(np.float64))
    return model, mixture, torch.from_numpy(arrays["estimates"]), entries


def small_network(num_sources=3, **changes):
    return BSLocoformer(num_sources, **{**TINY, **SMALL_STFT, **changes}).eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_block_equals_golden_numbers(golden, dtype, tolerance):
    arrays = golden("tf_locoformer_block.npz")
    block = LocoformerBlock(16, 24, 4, 4, 8)
    state = {
        f"{ours}.{layer}": torch.from_numpy(arrays[f"weight/{theirs}.{published}"])
        for ours, theirs in PATHS.items()
        for layer, published in PATH_LAYERS.items()
    }
    block.load_state_dict(state)
    block = block.to(dtype)
    output = block(torch.from_numpy(arrays["input"]).permute(0, 2, 3, 1).to(dtype))
    expected = torch.from_numpy(arrays["output"]).permute(0, 2, 3, 1)
    assert relative_error(output, expected) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_network_equals_golden_numbers(official, dtype, tolerance):
    model, mixture, expected, entries = official
    model = BSLocoformer(**model.config).eval()
    model.load_state_dict(from_official(entries, model))
    with torch.no_grad():
        estimates = model.to(dtype)(mixture.to(dtype))
    assert relative_error(estimates, expected) < tolerance


def test_misshapen_and_missing_entries_are_named(official):
    model, _, _, entries = official
    name = "blocks.0.freq_path.attn.qkv.weight"
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        from_official({**entries, name: torch.zeros(3, 3)}, model)
    with pytest.raises(KeyError, match="freq_path"):
        from_official({k: v for k, v in entries.items() if k != name}, model)


@pytest.mark.parametrize(
    ("size", "separator", "with_12", "with_4"),
    [
        ("small", 5_021_440, 54_800_552, 29_544_552),
        ("medium", 14_959_104, 86_374_760, 52_721_960),
        ("large", 45_157_248, 167_464_552, 117_018_152),
    ],
)
def test_parameter_counts_of_the_paper(size, separator, with_12, with_4):
    with torch.device("meta"):
        models = [BSLocoformer.from_size(size, n) for n in (12, 4)]
    count = [sum(p.numel() for p in model.parameters()) for model in models]
    assert count == [with_12, with_4]
    assert sum(p.numel() for p in models[0].separator.parameters()) == separator


def test_selected_outputs_equal_the_full_networks(official):
    model, mixture, _, _ = official
    with torch.no_grad():
        full = model(mixture)
        for chosen in ([2, 0], [1], [0, 1, 2], [2, 2, 1, 0]):
            selected = model.select_sources(chosen)
            assert selected.num_sources == len(chosen)
            torch.testing.assert_close(selected(mixture), full[:, chosen], rtol=0, atol=1e-12)


def test_selection_leaves_the_network_alone():
    model = small_network()
    selected = model.select_sources([1])
    with torch.no_grad():
        for parameter in selected.parameters():
            parameter.zero_()
    assert all(p.abs().sum() > 0 for p in model.separator.parameters())
    with pytest.raises(ValueError, match=r"between 0 and 2, got \[3\]"):
        model.select_sources([3])


def test_activation_checkpointing_changes_memory_but_no_gradient():
    model = small_network().train()
    mixture = torch.randn(2, 2, 500)
    kept = []

    def gradients():
        kept.append(0)

        def note(tensor):
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = model(mixture)
        return torch.autograd.grad(output.square().mean(), list(model.parameters()))

    usual = gradients()
    model.activation_checkpointing = True
    for mine, expected in zip(gradients(), usual, strict=True):
        torch.testing.assert_close(mine, expected)
    assert kept[1] < kept[0] / 2  # the blocks' alone would be less than a third


def test_half_precision_stays_close(official):
    """Within 0.1 dB of float32 in SNR against targets 10 dB away, the worse source."""
    model, mixture, _, _ = official
    model, mixture = copy.deepcopy(model).float(), mixture.float()
    with torch.no_grad():
        exact = model(mixture)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(mixture)
    torch.manual_seed(0)
    noise = torch.randn_like(exact)
    scale = exact.norm(dim=(-2, -1), keepdim=True) / noise.norm(dim=(-2, -1), keepdim=True)
    target = exact + noise * scale * 10 ** (-10 / 20)
    worst = (thresholded_snr(rounded, target) - thresholded_snr(exact, target)).abs().max()
    assert rounded.dtype == torch.float32
    assert 0 < worst < 0.1


@pytest.mark.parametrize("length", [1, 5, 31, 63, 64, 65, 79, 500, 1023])
@pytest.mark.parametrize("hop", [16, 32])
def test_any_length_comes_back_finite_and_bounded(length, hop):
    model = small_network(hop=hop)
    mixture = torch.randn(2, 2, length)
    with torch.no_grad():
        estimates = model(mixture)
    assert estimates.shape == (2, 3, 2, length)
    # an unsafe last frame would be divided by a window near zero
    assert estimates.abs().max() < 100 * mixture.abs().max()


def test_gain_of_each_channel_passes_through():
    model = small_network()
    mixture, gain = torch.randn(1, 2, 400), torch.tensor([[[3.0], [0.01]]])
    with torch.no_grad():
        torch.testing.assert_close(
            model(mixture * gain), model(mixture) * gain, rtol=1e-4, atol=1e-6
        )


def test_silence_gives_silence_and_finite_gradients():
    model = small_network().train()
    mixture = torch.zeros(1, 2, 300, requires_grad=True)
    estimates = model(mixture)
    assert estimates.abs().max() == 0
    (estimates.square().sum() + estimates.sum()).backward()
    assert mixture.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_gradients_equal_finite_differences():
    model = small_network(2, num_blocks=1).double()
    mixture = torch.randn(1, 2, 200, dtype=torch.float64)

    def loss():
        return model(mixture).sin().sum()

    loss().backward()
    for name, parameter in model.named_parameters():
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            difference = 0.0
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign * 1e-6)
                difference += sign * loss().item() / 2e-6
                parameter.add_(direction, alpha=-sign * 1e-6)
        slope = (parameter.grad * direction).sum().item()
        assert slope == pytest.approx(difference, rel=1e-4, abs=1e-6), name


def test_frozen_separator_still_passes_gradients_to_the_encoder():
    model = small_network().train()
    model.separator.requires_grad_(False)
    model(torch.randn(1, 2, 300)).square().sum().backward()
    assert all(p.grad is None for p in model.separator.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.encoder.parameters())


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (torch.zeros(1, 1, 100), "2 channels"),
        (torch.zeros(2, 100), "2 channels"),
        (torch.zeros(1, 2, 0), "empty"),
        (torch.zeros(1, 2, 100, dtype=torch.int16), "floating-point samples, got torch.int16"),
        (torch.full((1, 2, 100), torch.nan), "NaN or infinite"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(mixture, message):
    with pytest.raises(ValueError, match=message):
        small_network()(mixture)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "unet"}, "no model 'unet'"),
        ({"name": "bs_locoformer", "size": "huge"}, "small, medium, large"),
        ({"name": "bs_locoformer", "size": "small", "num_heads": 5}, "not divisible by num_heads"),
        ({"name": "bs_locoformer", "size": "small", "n_fft": 1024}, "bands hold 1025 bins"),
        ({"name": "bs_locoformer", "size": "small", "depth": 3}, "depth"),
        ({"name": "bs_locoformer", "num_sources": 2}, "num_blocks"),
        ({"name": "bs_locoformer", "size": "small", "hop": 1500}, "hop must be between"),
    ],
)
def test_impossible_networks_say_so(config, message):
    with pytest.raises(ValueError, match=message):
        build_model(**config)


def test_layers_start_as_pytorch_starts_them():
    model = BSLocoformer.from_size("small", 4)
    ffn = model.separator[0].band_path.ffn1
    for weight, bound in (
        (ffn.conv_weight, (96 * 8) ** -0.5),
        (ffn.deconv_weight, (96 * 8) ** -0.5),
        (model.decoder.hidden2.weight, 384**-0.5),
        (model.encoder.linears[0].weight, 8**-0.5),
    ):
        assert 0.95 * bound < weight.abs().max() <= bound
