"""BS-RoFormer of the package against the package's own network, and what our recipes ask of it."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from bs_roformer import BSRoformer as Package
from rotary_embedding_torch import RotaryEmbedding

from mixit_mss.bin import main as door
from mixit_mss.errors import UserError
from mixit_mss.losses import mixit_loss, thresholded_snr
from mixit_mss.models import BSRoFormer, build_model
from mixit_mss.models.bs_roformer import Rotation
from mixit_mss.models.hub import load_model, save_model
from mixit_mss.training.config import FinetuneConfig, PretrainConfig
from mixit_mss.training.memory.step_cost import TrainingStep, flop_counter, simulate_step
from mixit_mss.training.systems import MixITSystem, freeze_separator

TINY = {"dim": 8, "depth": 2, "heads": 2, "dim_head": 4}
TINY |= {"n_fft": 64, "hop": 16, "bands": 5, "sample_rate": 8000}
RUN = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "chunk_seconds": 0.1}


def network(num_sources=12, **changes):
    torch.manual_seed(0)
    return build_model("bs_roformer", num_sources=num_sources, **{**TINY, **changes}).eval()


def packages(model, **more):
    """The package's own network with the weights of ours."""
    names = ("dim", "depth", "heads", "dim_head", "mask_estimator_depth", "num_residual_streams")
    twin = Package(
        **{name: model.config[name] for name in names},
        stereo=model.num_channels == 2,
        num_stems=model.num_sources,
        time_transformer_depth=1,
        freq_transformer_depth=1,
        freqs_per_bands=tuple(model.config["bands"]),
        stft_n_fft=model.n_fft,
        stft_win_length=model.n_fft,
        stft_hop_length=model.hop,
        **more,
    )
    twin.load_state_dict(model.network.state_dict())
    return twin.eval()


@pytest.mark.parametrize(
    ("num_sources", "changes"),
    [(12, {}), (3, {"num_residual_streams": 2}), (2, {"num_channels": 1}), (1, {})],
)
def test_it_is_the_packages_network(num_sources, changes):
    model = network(num_sources, **changes)
    mixture = torch.randn(2, model.num_channels, 40 * model.hop)
    with torch.no_grad():
        ours, theirs = model(mixture), packages(model)(mixture)
    assert ours.shape == (2, num_sources, *mixture.shape[1:])
    torch.testing.assert_close(ours.flatten(), theirs.flatten(), rtol=1e-5, atol=1e-6)
    assert ours.abs().max() > 1e-3


@pytest.mark.parametrize("chosen", [[3, 0, 7, 9], [5], [1, 1], list(range(12))])
def test_selected_outputs_are_exactly_the_full_networks(chosen):
    model, mixture = network(stems=[f"part {i}" for i in range(12)]), torch.randn(2, 2, 500)
    selected = model.select_sources(chosen)
    assert selected.num_sources == len(chosen)
    assert selected.stems == tuple(f"part {i}" for i in chosen)
    with torch.no_grad():
        full = model(mixture)
        assert selected(mixture).equal(full[:, chosen])
        for parameter in selected.parameters():
            parameter.zero_()
        assert model(mixture).equal(full)
    with pytest.raises(ValueError, match=r"between 0 and 11, got \[12\]"):
        model.select_sources([12])


@pytest.mark.parametrize("length", [1, 15, 16, 32, 33, 64, 500, 1023])
@pytest.mark.parametrize("hop", [16, 32])
def test_any_length_comes_back_as_long_finite_and_bounded(length, hop):
    mixture = torch.randn(2, 2, length)
    with torch.no_grad():
        estimates = network(2, hop=hop)(mixture)
    assert estimates.shape == (2, 2, 2, length)
    assert estimates.abs().max() < 100 * mixture.abs().max()


def test_half_precision_stays_close_and_nothing_is_remembered():
    """Within 0.1 dB in SNR; frames beyond the 256 that bfloat16 can count; float32 as before."""
    model, mixture = network(3), torch.randn(1, 2, 16 * 600)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(mixture)
        exact = model(mixture)
        assert exact.equal(network(3)(mixture))
    assert rounded.dtype == torch.float32
    noise = torch.randn_like(exact)
    scale = exact.norm(dim=(-2, -1), keepdim=True) / noise.norm(dim=(-2, -1), keepdim=True)
    target = exact + noise * scale * 10 ** (-10 / 20)
    worst = (thresholded_snr(rounded, target) - thresholded_snr(exact, target)).abs().max()
    assert 0 < worst < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_on_a_gpu(half):
    model, mixture = network(3).cuda(), torch.randn(1, 2, 16 * 600, device="cuda")
    exact = model(mixture)
    with torch.autocast("cuda", half):
        rounded = model(mixture)
    rounded.square().sum().backward()
    assert rounded.dtype == torch.float32
    assert (-thresholded_snr(rounded, exact)).min() > 20  # dB


def test_positions_are_those_of_the_package_in_any_precision():
    features = torch.randn(2, 3, 600, 8)
    exact = RotaryEmbedding(dim=8).rotate_queries_or_keys(features)
    torch.testing.assert_close(Rotation(8).rotate_queries_or_keys(features), exact)
    rounded = Rotation(8).rotate_queries_or_keys(features.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).abs().max() < 0.03
    # why it is ours: the package counts positions in the precision of the features
    package = RotaryEmbedding(dim=8).rotate_queries_or_keys(features.bfloat16())
    assert (package - exact).abs().max() > 0.5


def test_a_saved_model_comes_back_the_same(tmp_path):
    model, mixture = network(2, stems=["solo", "rest"]), torch.randn(1, 2, 500)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    with torch.no_grad():
        assert loaded(mixture).equal(model(mixture))
    assert isinstance(loaded, BSRoFormer) and loaded.stems == ("solo", "rest")


def test_without_the_package_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    save_model(network(2), tmp_path)
    monkeypatch.setitem(sys.modules, "bs_roformer", None)
    for attempt in (lambda: network(2), lambda: load_model(tmp_path)):
        with pytest.raises(UserError, match=r"package bs_roformer: pip install 'mixit_mss\[bs_rof"):
            attempt()


def test_mixit_trains_it_by_waveforms():
    config = PretrainConfig(run=RUN)
    step = TrainingStep({"name": "bs_roformer", "num_sources": 12, **TINY}, config)
    torch.manual_seed(0)
    net, mixtures = step.build(), 0.1 * torch.randn(2, 2, 2, 800)
    system = MixITSystem(net, None, None, None, {}, config.loss.model_dump())
    loss = system.common_step(mixtures, 0)
    options = config.loss.model_dump()
    assert loss == mixit_loss(net(mixtures.sum(1)), mixtures, **options)[0].mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert sum(p.grad.abs().sum() > 0 for p in net.network.mask_estimators.parameters()) > 100


def test_the_separator_can_be_frozen_alone():
    model = network(2).train()
    freeze_separator(model)
    inner = model.network
    frozen = {id(p) for p in inner.layers.parameters()}
    assert {id(p) for p in model.parameters() if not p.requires_grad} == frozen
    model(torch.randn(1, 2, 300)).square().sum().backward()
    for part in (inner.band_split, inner.mask_estimators):
        assert sum(p.grad.abs().sum() for p in part.parameters()) > 0
    # what run.compile compiles: the transformers over frames and over bands
    parts = [part for block in model.blocks() for part in block.children()]
    assert parts == [transformer for pair in inner.layers for transformer in pair]


@pytest.mark.parametrize("half", [False, True])
def test_a_plan_counts_what_a_real_step_computes(half):
    network_config = {"name": "bs_roformer", "num_sources": 3, **TINY, "depth": 1}
    step = TrainingStep(network_config, FinetuneConfig(run=RUN))
    cost = simulate_step(step, half)
    net = step.build()
    with flop_counter() as counter:
        estimates = net(torch.randn(2, 2, step.samples(net)))
        forward = counter.get_total_flops()
        estimates.sum().backward()
        total = counter.get_total_flops()
    assert (forward, total - forward) == (2 * cost.forward_flops, 2 * cost.backward_flops)
    assert cost.parameters == sum(p.numel() for p in net.parameters())
    # estimates and their spectra at least, four bytes each, two for a complex number
    assert cost.example_bytes > 3 * 2 * step.samples(net) * 4 * 5


def test_the_plan_as_people_call_it(tmp_path, capsys):
    (tmp_path / "model.yaml").write_text(json.dumps({"name": "bs_roformer", **TINY, "depth": 1}))
    (tmp_path / "pretrain.yaml").write_text(json.dumps({"num_outputs": 3, "run": RUN}))
    argv = ["plan", "--config", str(tmp_path / "pretrain.yaml"), "--no-dry-run"]
    assert door.main([*argv, "--model", str(tmp_path / "model.yaml")]) in (0, None)
    assert "pretrain, 3 outputs" in capsys.readouterr().out
    checkpointed = {"num_outputs": 3, "run": {**RUN, "activation_checkpointing": True}}
    (tmp_path / "pretrain.yaml").write_text(json.dumps(checkpointed))
    assert door.main([*argv, "--model", str(tmp_path / "model.yaml")]) == 1
    error = capsys.readouterr().err
    assert "run.activation_checkpointing: false" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": "small"}, "bs_roformer has no named sizes"),
        ({"num_channels": 3}, "num_channels must be 1 or 2"),
        ({"dim_head": 3}, "dim_head must be even"),
        ({"hop": 33}, "hop must be between 1 and half of n_fft 64"),
        ({"bands": 1}, "bands must be at least 2"),
        ({"bands": [3, 4]}, "bands hold 7 bins"),
        ({"stems": ["one"]}, "1 stems are named, but num_sources is 2"),
        ({"width": 3}, "width"),
    ],
)
def test_impossible_networks_say_so(config, message):
    with pytest.raises(ValueError, match=message):
        network(2, **config)


def test_bad_input_is_refused():
    for bad, message in (
        (torch.zeros(2, 9), "2 channels"),
        (torch.full((1, 2, 9), torch.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            network(2)(bad)
