"""What a run will cost: against counts by hand, real tensors, and the memory of a real process."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.cost import plan as planning
from mixit_mss.data.manifest import make_manifest
from mixit_mss.errors import UserError
from mixit_mss.models import BSLocoformer, conv_ffn
from mixit_mss.models.hub import save_model
from mixit_mss.training.config import FinetuneConfig, PretrainConfig
from mixit_mss.training.memory.dry_run import dry_step
from mixit_mss.training.memory.step import TrainingStep, stage_of, training_step
from mixit_mss.training.memory.step_cost import (
    LiveBytes,
    StepCost,
    count_parameters,
    flop_counter,
    simulate_step,
)

# bands of 1, 2 and 30 bins: two of them are computed together
TINY = {"num_blocks": 2, "dim": 8, "ffn_dim": 12, "num_heads": 2, "num_groups": 2, "kernel_size": 4}
TINY |= {"n_fft": 64, "hop": 16, "bands": [1, 1, 31], "sample_rate": 800, "num_channels": 2}
FRAMES = 100  # of 2 s
RUN = {"epochs": 3, "steps_per_epoch": 10, "batch_size": 6, "chunk_seconds": 2.0}
RUN |= {"precision": "32-true"}
COST = StepCost(100, 60, 800, 2, 10**9, 2 * 10**9, 1600, 50)


def tiny_step(num_sources=3, kind=PretrainConfig, frozen=False, **run):
    network = {"name": "bs_locoformer", "num_sources": num_sources, **TINY}
    return TrainingStep(network, kind(run={**RUN, **run}), frozen)


def by_hand(num_sources, frozen):
    """FLOPs (forward, backward) of one example through ``TINY``, layer by layer on paper."""
    blocks, d, c, taps, widths = 2, TINY["dim"], TINY["ffn_dim"], TINY["kernel_size"], TINY["bands"]
    bands, bins, channels = len(widths), sum(widths), TINY["num_channels"]
    forward = backward = 0
    encoder = 2 * FRAMES * (2 * channels * bins) * d
    hidden = 2 * FRAMES * bands * (d * 4 * d + 4 * d * 4 * d)
    masks = 2 * FRAMES * 4 * d * (4 * num_sources * channels * bins)
    forward += encoder + hidden + masks
    # each product has two gradients; the last layer is computed once more
    backward += 2 * encoder + 2 * hidden + 3 * masks
    for length, others in ((bands, FRAMES), (FRAMES, bands)):
        longer = length + taps - 1
        first = 2 * others * longer * taps * d * 2 * c
        second = 2 * others * length * taps * c * d
        # gradients: of x and of the hidden features; then of the two weights, at all `longer` places
        inputs = 2 * others * taps * d * c * (2 * length + longer)
        weights = 2 * others * longer * taps * d * c * (2 + 1)
        linear = 2 * others * length * d * 4 * d
        scores = 2 * others * length * length * d
        forward += blocks * (2 * (first + second) + linear + 2 * scores)
        # attention computes its scores again
        backward += blocks * (2 * inputs + linear + 5 * scores)
        backward += 0 if frozen else blocks * (2 * weights + linear)
    return forward, backward


@pytest.mark.parametrize(("num_sources", "frozen"), [(3, False), (12, True)])
def test_flops_are_those_counted_by_hand(num_sources, frozen):
    cost = simulate_step(tiny_step(num_sources, FinetuneConfig, frozen), half=False)
    expected = by_hand(num_sources, frozen)
    assert (cost.forward_flops, cost.backward_flops) == pytest.approx(expected, rel=1e-3)


def test_flops_are_those_of_a_real_step_on_the_cpu():
    step = tiny_step()
    cost = simulate_step(step, half=False)
    net = step.build()
    with flop_counter() as counter:
        estimates = net(torch.randn(2, 2, 1600))
        forward = counter.get_total_flops()
        estimates.square().mean().backward()
        total = counter.get_total_flops()
    assert (forward, total - forward) == (2 * cost.forward_flops, 2 * cost.backward_flops)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_gradient_for_gpus_counts_as_much_as_that_for_cpus(axis):
    counts = []
    longer = (2, 43, 7, 24) if axis == 1 else (2, 40, 10, 24)
    for device in ("cpu", "meta"):  # all devices but the CPU take the other way
        shapes = ((2, 40, 7, 8), longer, (24, 8, 4))
        features, grad, weight = (torch.ones(shape, device=device) for shape in shapes)
        total = conv_ffn._WeightGradient(features, weight, axis)
        with flop_counter() as counter:
            for block in conv_ffn._blocks(grad):
                total.add(block, grad[block])
        assert total.result().shape == (24, 8, 4)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("size", "num_sources", "expected"),
    [
        ("small", 12, 54_800_552),
        ("medium", 12, 86_374_760),
        ("large", 12, 167_464_552),
        ("small", 4, 29_544_552),
        ("medium", 4, 52_721_960),
        ("large", 4, 117_018_152),
    ],
)
def test_parameters_of_the_papers_networks(size, num_sources, expected):
    network = {"name": "bs_locoformer", "size": size, "num_sources": num_sources}
    with torch.device("meta"):
        whole = TrainingStep(network, FinetuneConfig(run=RUN)).build()
        frozen = TrainingStep(network, FinetuneConfig(run=RUN), frozen_separator=True).build()
    blocks = {"small": 5_021_440, "medium": 14_959_104, "large": 45_157_248}[size]
    assert count_parameters(whole) == (expected, expected)
    assert count_parameters(frozen) == (expected, expected - blocks)


def test_live_bytes_are_those_of_the_tensors_that_live():
    with LiveBytes() as memory:
        a = torch.zeros(1000)
        b = a.view(10, 100) + 1
        assert memory.live == 8000
        del b
        c = a.double()
        assert (memory.live, memory.peak) == (12000, 12000)
        del a, c
        assert (memory.live, memory.peak) == (0, 12000)


def test_memory_holds_weights_gradients_and_moments_and_grows_with_batch_and_length():
    short, long = (simulate_step(tiny_step(chunk_seconds=s), half=False) for s in (2.0, 4.0))
    assert short.example_bytes > 0
    assert long.example_bytes == pytest.approx(2 * short.example_bytes, rel=0.1)
    assert short.bytes(5) - short.bytes(3) == 2 * short.example_bytes
    # old gradients are given up before the peak, while the first new ones come
    three, four = (4 * copies * short.parameters for copies in (3, 4))
    assert 0.95 * three < short.fixed_bytes < 1.15 * four


def test_half_precision_and_checkpointing_keep_less_and_checkpointing_computes_more():
    plain = simulate_step(tiny_step(), half=False)
    half = simulate_step(tiny_step(), half=True)
    checkpointed = simulate_step(tiny_step(activation_checkpointing=True), half=False)
    assert half.example_bytes < 0.8 * plain.example_bytes
    assert half[4:6] == plain[4:6]  # FLOPs
    assert checkpointed.example_bytes < plain.example_bytes
    assert checkpointed.forward_flops == plain.forward_flops
    again = checkpointed.backward_flops - plain.backward_flops
    assert 0.3 * plain.forward_flops < again <= plain.forward_flops


def test_the_estimate_of_memory_is_near_that_of_a_real_process():
    sizes = {"num_blocks": 2, "dim": 32, "ffn_dim": 64, "num_heads": 4, "num_groups": 4}
    stft = {"n_fft": 1024, "hop": 512, "bands": 32, "sample_rate": 16000}
    network = {"name": "bs_locoformer", "num_sources": 4, **sizes, **stft}
    step = TrainingStep(network, PretrainConfig(run=RUN))
    estimated = simulate_step(step, half=False).bytes(6)
    measured = dry_step(step, "cpu", 6, half=False)
    assert estimated > 100e6
    assert 0.5 < estimated / measured < 1.5


@pytest.fixture
def known_cost(monkeypatch):
    """A network that costs ``COST``, on a machine without a GPU whose dry steps are told to us."""
    calls = []

    def fake_dry_step(step, device, batch, half):
        calls.append((device, batch, half))
        return 1840 + 100 * batch

    monkeypatch.setattr(planning, "simulate_step", lambda step, half: COST)
    monkeypatch.setattr(planning, "dry_step", fake_dry_step)
    monkeypatch.setattr(planning, "can_weigh", lambda device: True)
    monkeypatch.setattr(planning, "free_bytes", lambda: 10**6)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return calls


def test_steps_hours_and_days(known_cost):
    plan = planning.make_plan(tiny_step(), ngpu=3, tflops=0.002, dry_run=False)
    assert (plan.steps, plan.batch_per_device) == (30, 2)
    assert plan.network_hours == pytest.approx(30 * 6 * 2 / 3600)
    assert plan.drawn_hours == pytest.approx(2 * plan.network_hours)
    assert plan.flops_per_step == 6 * 3 * 10**9
    assert plan.gpu_hours == pytest.approx(30 * 18e9 / 2e9 / 3600)
    assert plan.days == pytest.approx(plan.gpu_hours / 3 / 24)
    # several devices exchange one more copy of the gradients
    assert plan.memory_bytes == COST.bytes(2) + 4 * COST.trainable
    assert known_cost == []


def test_memory_is_measured_and_says_how(known_cost, monkeypatch):
    plan = planning.make_plan(tiny_step())
    assert (plan.memory_source, plan.memory_bytes) == ("measured-cpu", 1840 + 600)
    assert known_cost == [("cpu", 6, False)]
    monkeypatch.setattr(planning, "DRY_RUN_BYTES", 1600 + 2 * 50)
    plan = planning.make_plan(tiny_step())
    fixed = 4 * (100 + 3 * 60)
    assert plan.memory_bytes == fixed + 3 * (1840 + 200 - fixed)
    assert "2 of 6 examples" in plan.memory_note


def test_memory_is_estimated_where_it_cannot_be_measured(known_cost, monkeypatch):
    def source():
        plan = planning.make_plan(tiny_step())
        assert plan.memory_bytes == (COST.bytes(6) if plan.memory_source == "estimated" else 2440)
        return plan.memory_source

    assert source() == "measured-cpu"
    for name, value in (("free_bytes", 2000), ("can_weigh", False), ("dry_step", None)):
        with monkeypatch.context() as patch:
            patch.setattr(planning, name, lambda *_, value=value: value)
            assert source() == "estimated", name


def test_a_step_too_large_for_the_gpu_is_measured_with_fewer_examples(known_cost, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tried = []

    def small_gpu(step, device, batch, half):
        tried.append((device, batch, half))
        return None if batch > 2 else 1840 + 100 * batch

    monkeypatch.setattr(planning, "dry_step", small_gpu)
    plan = planning.make_plan(tiny_step(precision="auto"))
    assert tried == [("cuda", 6, True), ("cuda", 3, True), ("cuda", 1, True)]
    assert plan.memory_source == "measured-cuda"
    assert "1 of 6 examples" in plan.memory_note


@pytest.mark.parametrize(
    ("options", "words"),
    [({"ngpu": 4}, "6.*4 devices"), ({"ngpu": 0}, "0 devices"), ({"tflops": 0.0}, "positive")],
)
def test_numbers_that_cannot_be_are_refused(known_cost, options, words):
    with pytest.raises(UserError, match=words):
        planning.make_plan(tiny_step(), **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_outputs: 8", "pretrain"),
        ("loss: {solver: exact}", "pretrain"),
        ("mixing: {drop: 0.1}", "finetune"),
        ("loss: {inactive: fuss}", "finetune"),
        ("loss: {threshold: 0.1}", None),
        ("{num_outputs: 8, mixing: {drop: 0.1}}", None),
    ],
)
def test_the_stage_is_told_by_keys_of_its_own(tmp_path, text, expected):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    if expected:
        assert stage_of(path) == expected
    else:
        with pytest.raises(UserError, match="--stage pretrain or --stage finetune"):
            stage_of(path)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("run: {epochs: 2, steps_per_epoch: 3, batch_size: 4}")
    return path


def test_the_number_of_outputs_comes_from_config_stems_manifest_or_folder(config, tmp_path):
    def outputs(stage="finetune", **options):
        return training_step(config, stage=stage, **options).network["num_sources"]

    assert outputs("pretrain", model="small") == 12
    assert outputs(model="small") == 4
    assert outputs(model="small", stems=["voice", "rest"]) == 2
    row = {"split": "train", "path": "x.wav", "frames": 9, "sample_rate": 8000, "channels": 2}
    rows = [{**row, "song": "a", "stem": stem, "license": ""} for stem in ("mixture", "a", "b")]
    manifest = make_manifest(rows, [(np.array([0]), 9)] * 3, "songs")
    assert outputs(model="small", manifest=manifest) == 2
    save_model(BSLocoformer(5, stems=list("abcde"), **TINY), tmp_path / "model")
    assert outputs(None, init=str(tmp_path / "model")) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stage": "pretrain", "model": "small", "trainable": "encoder_decoder"}, "fine-tuning"),
        ({"stage": "pretrain", "init": "x"}, "fine-tuning"),
        ({"stage": "finetune", "init": "unnamed"}, "no stems"),
        ({"stage": "finetune", "model": "none.yaml"}, "none.yaml.*cannot be read"),
        ({"stage": "finetune", "model": "broken.yaml"}, "broken.yaml.*unet"),
        ({"stage": "pretrain", "model": "slow.yaml"}, "chunk_seconds"),
    ],
)
def test_parts_that_do_not_fit_are_refused(config, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    save_model(BSLocoformer(5, **TINY), tmp_path / "unnamed")
    (tmp_path / "broken.yaml").write_text("name: unet")
    (tmp_path / "slow.yaml").write_text("{name: bs_locoformer, size: small, bands: 62}")
    if "chunk" in words:
        config.write_text(
            "run: {epochs: 1, steps_per_epoch: 1, batch_size: 1, chunk_seconds: 1e-6}"
        )
    with pytest.raises(UserError, match=words):
        training_step(config, **options)


def test_disk_is_the_size_of_each_file_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((3600, 2)), 3600, subtype="PCM_16")
    row = {"song": "a", "split": "train", "frames": 3600, "sample_rate": 3600, "channels": 2}
    row |= {"path": str(tmp_path / "a.wav"), "license": ""}
    rows = [{**row, "stem": stem} for stem in ("mixture", "vocals")]
    disk = planning.files_on_disk(make_manifest(rows, [(np.array([0]), 9)] * 2, "songs"))
    assert (disk.corpus, disk.bytes) == ("songs", (tmp_path / "a.wav").stat().st_size)
    assert disk.bytes == 44 + 3600 * 4
    assert planning.archive_on_disk("musdb18hq").bytes == 22_656_664_047
    gib = {"small": 7.2, "medium": 22, "large": 93, "full": 879}
    for subset, size in gib.items():
        assert planning.archive_on_disk(f"fma_{subset}").bytes == pytest.approx(size * 2**30)
