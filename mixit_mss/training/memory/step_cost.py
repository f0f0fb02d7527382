"""Count the FLOPs and the memory of a training step without computing anything.

The step runs on tensors that have a shape but no content, so even the largest network takes only
seconds on a slow machine.  Torch's own counter still sees every operation of the real forward and
backward pass, including those in our own gradients.
"""

from __future__ import annotations

import contextlib
import math
import sys
import weakref
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mixit_mss.models import rms_group_norm
from mixit_mss.models.network import Masking, Network
from mixit_mss.training.memory.step import TrainingStep

COUNTED = (
    "matrix products, convolutions and attention of the network, forward and backward, with what "
    "the backward pass computes again; two per multiply-add, padding included; not the Fourier "
    "transforms, element-wise operations, loss, optimiser or validation"
)
"""What the FLOPs include."""


class StepCost(NamedTuple):
    """Cost of one optimiser step; FLOPs are per example of its batch."""

    parameters: int
    trainable: int
    sample_rate: int
    parts: int
    forward_flops: int
    backward_flops: int
    fixed_bytes: int
    example_bytes: int

    def bytes(self, batch: int) -> int:
        """Peak memory of a step: weights, gradients, AdamW's two moments, and activations."""
        return self.fixed_bytes + batch * self.example_bytes


def simulate_step(step: TrainingStep, half: bool) -> StepCost:
    """Count the FLOPs and the peak memory of a training step, without the loss.

    Memory is the largest sum of live tensors at any moment of the step: those kept for the
    gradient, and temporary results.  Gradients of the previous step live until the backward pass,
    as in Lightning's loop.  Scratch space within operators and the inverse Fourier transform are
    not counted.

    Args:
        step: the network and its training.
        half: bfloat16 autocast, else float32.

    Raises:
        ValueError: the network is invalid.
    """
    with _whole_products(), FakeTensorMode(), LiveBytes() as memory:
        net = step.build()
        trained = [p for p in net.parameters() if p.requires_grad]
        moments = [(torch.empty_like(p), torch.empty_like(p)) for p in trained]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        runs = [_fake_run(net, batch, step.samples(net), half, memory) for batch in (1, 2)]
        del moments
    (forward, backward, peak), (_, _, peak_of_two) = runs
    example = peak_of_two - peak
    parameters, trainable = count_parameters(net)
    return StepCost(
        parameters=parameters,
        trainable=trainable,
        sample_rate=net.sample_rate,
        parts=step.parts(net),
        forward_flops=forward,
        backward_flops=backward,
        fixed_bytes=peak - example,
        example_bytes=example,
    )


def count_parameters(net: Network) -> tuple[int, int]:
    """Numbers of a network's parameters, and of those that are trained."""
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return net.num_parameters, trained


def flop_counter() -> FlopCounterMode:
    """torch's FLOP counter, extended by the CPU operators that it lacks.

    In torch 2.11 these are attention and products that are added to a tensor in place, which
    :mod:`mixit_mss.models.conv_ffn` uses for the gradient of its weights.
    """
    aten = torch.ops.aten
    attention = aten._scaled_dot_product_flash_attention_for_cpu
    attention_backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    mapping = {
        aten.addmm_: _product_flops,
        attention: _attention_flops,
        attention_backward: _attention_backward_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live tensors that its context creates: ``live`` now, ``peak`` at most."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._storages:
            self._storages[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.live -= self._storages.pop(key)


@contextlib.contextmanager
def _whole_products() -> Iterator[None]:
    """Compute gradients of the blocks in one piece; smaller pieces only help the cache."""
    rows, rms_group_norm.ROWS = rms_group_norm.ROWS, sys.maxsize
    try:
        yield
    finally:
        rms_group_norm.ROWS = rows


@contextlib.contextmanager
def _inverse_transform_by_shape() -> Iterator[None]:
    """``torch.istft`` that reads no values: frames are put side by side, not overlap-added."""

    def side_by_side(spectrum, n_fft, hop_length=None, *_, length=None, **__):
        frames = torch.fft.irfft(spectrum, n_fft, dim=-2)
        signal = frames[..., : hop_length or n_fft // 4, 1:].flatten(-2)
        return signal if length is None else functional.pad(signal, (0, length - signal.shape[-1]))

    with mock.patch.object(torch, "istft", side_by_side):
        yield


def _fake_run(
    net: Network, batch: int, samples: int, half: bool, memory: LiveBytes
) -> tuple[int, int, int]:
    """FLOPs forward and backward, and the peak of memory in bytes."""
    memory.peak = memory.live
    mixture = torch.empty(batch, net.num_channels, samples)
    with flop_counter() as counter:
        loss = _sum_of_outputs(net, mixture, half)
        forward = counter.get_total_flops()
        net.zero_grad(set_to_none=True)
        loss.backward()
        total = counter.get_total_flops()
    return forward, total - forward, memory.peak


def _sum_of_outputs(net: Network, mixture: Tensor, half: bool) -> Tensor:
    """The forward pass, with a sum in place of the inverse transform and the loss.

    Those read values, which fake tensors do not have.
    """
    precision = torch.autocast("cpu", torch.bfloat16, enabled=half)
    if not isinstance(net, Masking):
        with precision, _inverse_transform_by_shape():
            return net(mixture).sum()
    with precision:
        masks, spectrum = net.masks(mixture)
    return torch.view_as_real(masks * spectrum[:, None]).sum()


def _product_flops(total, left, right, *_, **__) -> int:
    """Product (row, inner) by (inner, column), added to a tensor."""
    return 2 * math.prod(left) * right[1]


def _attention_flops(query, key, *_, **__) -> int:
    """Two products of (row, head, query, feature) with (row, head, key, feature)."""
    return 4 * math.prod(query) * key[2]


def _attention_backward_flops(grad, query, key, *_, **__) -> int:
    """Five products: the scores again, then the gradients of scores, queries, keys and values."""
    return 10 * math.prod(query) * key[2]
