"""MixIT against planted assignments, brute force over waveforms, and what breaks solvers."""

import numpy as np
import pytest
import torch
from reference import mixit_loops

from mixit_mss.losses import mixit_loss, thresholded_snr
from mixit_mss.losses.gram import BLOCK_SAMPLES, cross_products, gram_matrix

SOLVERS = ["exact", "least_squares"]


def planted(owners, samples=300, noise_db=-40.0, num_mixtures=2, dtype=torch.float64, seed=0):
    """Outputs and mixtures that are known sums of them, plus noise: one row of owners a example."""
    generator = torch.Generator().manual_seed(seed)
    owners = torch.tensor(owners)
    shape = (*owners.shape, 2, samples)
    estimates = torch.randn(shape, generator=generator, dtype=dtype)
    estimates *= 10 ** (torch.rand(shape[:2], generator=generator)[..., None, None] - 1)
    assignment = torch.nn.functional.one_hot(owners, num_mixtures).mT.to(dtype)
    mixtures = torch.einsum("bmn,bncs->bmcs", assignment, estimates)
    noise = torch.randn(mixtures.shape, generator=generator, dtype=dtype)
    return estimates, mixtures + 10 ** (noise_db / 20) * noise, assignment


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_planted_assignments_are_found(solver, dtype):
    owners = [[0, 1, 0, 1, 0], [1, 1, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]]
    estimates, mixtures, assignment = planted(owners, dtype=dtype)
    loss, found = mixit_loss(estimates, mixtures, solver)
    assert loss.shape == (4,) and found.dtype == dtype
    torch.testing.assert_close(found, assignment)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("num_sources", "num_mixtures"), [(1, 2), (3, 1), (5, 3), (4, 4)])
def test_any_numbers_of_sources_and_mixtures(solver, num_sources, num_mixtures):
    generator = np.random.default_rng(1)
    owners = generator.integers(0, num_mixtures, (6, num_sources)).tolist()
    estimates, mixtures, assignment = planted(owners, num_mixtures=num_mixtures)
    loss, found = mixit_loss(estimates, mixtures, solver)
    torch.testing.assert_close(found, assignment)
    remixed = torch.einsum("bmn,bncs->bmcs", assignment, estimates)
    torch.testing.assert_close(loss, thresholded_snr(remixed, mixtures).sum(-1))


@pytest.mark.parametrize("joint_channels", [True, False])
@pytest.mark.parametrize(("num_sources", "num_mixtures"), [(2, 2), (6, 2), (8, 2), (4, 3)])
def test_exact_equals_brute_force(num_sources, num_mixtures, joint_channels):
    generator = np.random.default_rng(num_sources)
    mixtures = generator.standard_normal((3, num_mixtures, 2, 50))
    shares = generator.standard_normal((3, num_sources, num_mixtures))
    estimates = np.einsum("bnm,bmcs->bncs", shares, mixtures) / num_sources
    estimates += 0.5 * generator.standard_normal(estimates.shape)
    loss, found = mixit_loss(
        torch.from_numpy(estimates),
        torch.from_numpy(mixtures),
        "exact",
        threshold=1e-2,
        joint_channels=joint_channels,
    )
    for example in range(3):
        expected, owner = mixit_loops.best_assignment(
            estimates[example], mixtures[example], 1e-2, joint_channels
        )
        assert loss[example].item() == pytest.approx(expected, abs=1e-8)
        assert tuple(found[example].argmax(0).tolist()) == owner


def test_exact_and_joint_channels_matter():
    """Some random examples where the least-squares choice, or the joint one, is not the best."""
    generator = torch.Generator().manual_seed(3)
    mixtures = torch.randn(40, 2, 2, 30, generator=generator, dtype=torch.float64)
    estimates = torch.randn(40, 6, 2, 30, generator=generator, dtype=torch.float64)
    exact, _ = mixit_loss(estimates, mixtures, "exact")
    projected, _ = mixit_loss(estimates, mixtures, "least_squares")
    assert (exact <= projected + 1e-9).all() and (exact < projected - 1e-3).any()
    _, joint = mixit_loss(estimates, mixtures, "exact")
    _, split = mixit_loss(estimates, mixtures, "exact", joint_channels=False)
    assert (joint != split).any()


def test_least_squares_equals_numpy():
    generator = np.random.default_rng(0)
    estimates = generator.standard_normal((20, 7, 2, 60))
    mixtures = generator.standard_normal((20, 3, 2, 60))
    _, found = mixit_loss(torch.from_numpy(estimates), torch.from_numpy(mixtures), "least_squares")
    for example in range(20):
        owner = mixit_loops.least_squares_owner(estimates[example], mixtures[example])
        assert tuple(found[example].argmax(0).tolist()) == owner


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
class TestDegenerateOutputs:
    """Outputs 0 to 5 make the mixtures; what stands in place of 6 to 8 must not disturb them."""

    owners = (0, 1, 0, 1, 1, 0)

    def solve(self, dtype, extra):
        estimates, mixtures, assignment = planted([self.owners, self.owners[::-1]], dtype=dtype)
        estimates = torch.cat([estimates, extra(estimates)], dim=1).requires_grad_()
        losses = {}
        for solver in SOLVERS:
            loss, found = mixit_loss(estimates, mixtures, solver)
            (gradient,) = torch.autograd.grad(loss.sum(), estimates)
            assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()
            losses[solver] = loss
        return losses, found, assignment

    def test_dead(self, dtype):
        losses, found, assignment = self.solve(dtype, lambda s: torch.zeros_like(s[:, :3]))
        assert max(loss.max().item() for loss in losses.values()) < -30
        torch.testing.assert_close(found[..., :6], assignment)
        assert found[:, 0, 6:].all()  # where it makes no difference: the first mixture

    def test_nearly_dead(self, dtype):
        losses, found, assignment = self.solve(dtype, lambda s: 1e-18 * torch.randn_like(s[:, :3]))
        assert max(loss.max().item() for loss in losses.values()) < -30
        torch.testing.assert_close(found[..., :6], assignment)

    def test_duplicate(self, dtype):
        """Two halves of one output, and a quarter of another four times."""

        def halves(s):
            s[:, 0] /= 2
            s[:, 1] /= 4
            return torch.stack([s[:, 0], s[:, 1], s[:, 1], s[:, 1]], dim=1)

        losses, found, assignment = self.solve(dtype, halves)
        assert max(loss.max().item() for loss in losses.values()) < -30
        torch.testing.assert_close(found[..., :6], assignment)
        torch.testing.assert_close(found[..., 6:], assignment[..., [0, 1, 1, 1]])

    def test_linearly_dependent(self, dtype):
        """An output that repeats a share of the sum of two of one mixture."""

        def share(s):
            first, second = s[0, [0, 2]].sum(0), s[1, [1, 2]].sum(0)
            s[0, [0, 2]] *= 0.7
            s[1, [1, 2]] *= 0.7
            return 0.3 * torch.stack([first, second])[:, None]

        losses, found, assignment = self.solve(dtype, share)
        assert max(loss.max().item() for loss in losses.values()) < -30
        torch.testing.assert_close(found[..., :6], assignment)
        torch.testing.assert_close(found[..., 6], assignment[..., 2])


@pytest.mark.parametrize("solver", SOLVERS)
def test_silence_everywhere(solver):
    estimates = torch.zeros(1, 4, 2, 50, requires_grad=True)
    loss, _ = mixit_loss(estimates, torch.zeros(1, 2, 2, 50), solver)
    loss.sum().backward()
    assert loss.item() == 0 and not estimates.grad.any()


def test_float32_signals_suffice_for_the_exact_minimum():
    """Random outputs, many nearly equal assignments: none that is chosen is worse by 1e-4 dB."""
    generator = torch.Generator().manual_seed(5)
    mixtures = torch.randn(20, 2, 2, 4000, generator=generator)
    estimates = 0.4 * torch.randn(20, 10, 2, 4000, generator=generator)
    estimates += mixtures.repeat_interleave(5, dim=1) / 5
    loss, _ = mixit_loss(estimates, mixtures, "exact")
    least, _ = mixit_loss(estimates.double(), mixtures.double(), "exact")
    assert (loss - least).abs().max() < 1e-4


def test_exact_is_quick_and_right_at_sixteen_sources():
    owners = np.random.default_rng(0).integers(0, 2, (4, 16)).tolist()
    estimates, mixtures, assignment = planted(owners, samples=400, dtype=torch.float32)
    _, found = mixit_loss(estimates, mixtures, "exact")
    torch.testing.assert_close(found, assignment)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_loss_and_gradient_are_those_of_the_remixed_waveforms(solver, dtype, tolerance):
    estimates, mixtures, _ = planted([[0, 1, 1, 0, 1, 0]] * 2, samples=50_000, dtype=dtype)
    estimates.requires_grad_()
    loss, found = mixit_loss(estimates, mixtures, solver)
    (gradient,) = torch.autograd.grad(loss.sum(), estimates)
    double = estimates.detach().double().requires_grad_()
    remixed = torch.einsum("bmn,bncs->bmcs", found.double(), double)
    expected = thresholded_snr(remixed, mixtures.double()).sum(-1)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), double)
    assert (loss - expected).abs().max() < tolerance / 10
    error = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert error < tolerance


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_kind_of_pass_does_not_matter(solver, mode):
    """A first call without gradients must not spoil what is cached for later ones."""
    estimates, mixtures, _ = planted([[0, 1, 1, 0, 1, 0, 1]], dtype=torch.float32)
    with mode():
        before, _ = mixit_loss(estimates, mixtures, solver)
    estimates.requires_grad_()
    loss, _ = mixit_loss(estimates, mixtures, solver)
    loss.sum().backward()
    assert before.item() == loss.item() and estimates.grad.any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_autocast_changes_nothing(solver):
    estimates, mixtures, _ = planted([[0, 1, 1, 0, 1, 0]], samples=5000, dtype=torch.float32)
    outside, assignment = mixit_loss(estimates, mixtures, solver)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, found = mixit_loss(estimates, mixtures, solver)
    assert inside.dtype == torch.float32 and inside.item() == outside.item()
    torch.testing.assert_close(found, assignment)
    half, found = mixit_loss(estimates.bfloat16(), mixtures.bfloat16(), solver)
    assert half.dtype == torch.float32
    torch.testing.assert_close(found, assignment)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", SOLVERS)
def test_cuda_equals_cpu(solver):
    owners = np.random.default_rng(0).integers(0, 2, (4, 12)).tolist()
    estimates, mixtures, assignment = planted(owners, samples=50_000, dtype=torch.float32)
    expected, _ = mixit_loss(estimates, mixtures, solver)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss, found = mixit_loss(estimates.cuda(), mixtures.cuda(), solver)
    torch.testing.assert_close(found.cpu(), assignment)
    torch.testing.assert_close(loss.cpu(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-7)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_gram_matrix_is_accurate_over_block_borders(dtype, tolerance, offset):
    generator = torch.Generator().manual_seed(0)
    length = 20 * BLOCK_SAMPLES + 77
    first, second = (
        offset + torch.randn(2, rows, length, generator=generator, dtype=dtype) for rows in (3, 2)
    )
    rows = torch.cat([first, second], dim=1).double()
    expected = torch.einsum("bis,bjs->bij", rows, rows)
    found = gram_matrix([first, second])
    assert found.dtype == torch.float64
    assert (found - expected).abs().max() < tolerance * expected.max()
    energies = expected.diagonal(dim1=1, dim2=2)
    sums = cross_products(first, second)
    for total, exact in zip(
        sums, (expected[:, :3, 3:], energies[:, :3], energies[:, 3:]), strict=True
    ):
        assert total.dtype == torch.float64
        assert (total - exact).abs().max() < 3 * tolerance * expected.max()


class TestBadInput:
    estimates = torch.ones(2, 4, 2, 10)
    mixtures = torch.ones(2, 2, 2, 10)

    @pytest.mark.parametrize(
        ("estimates", "mixtures"),
        [
            (torch.ones(2, 4, 10), torch.ones(2, 2, 10)),
            (torch.ones(2, 4, 2, 10), torch.ones(3, 2, 2, 10)),
            (torch.ones(2, 4, 2, 10), torch.ones(2, 2, 1, 10)),
            (torch.ones(2, 4, 2, 10), torch.ones(2, 2, 2, 11)),
            (torch.ones(2, 0, 2, 10), torch.ones(2, 2, 2, 10)),
        ],
    )
    def test_axes(self, estimates, mixtures):
        with pytest.raises(ValueError) as error:
            mixit_loss(estimates, mixtures)
        assert str(tuple(estimates.shape)) in str(error.value)
        assert str(tuple(mixtures.shape)) in str(error.value)

    @pytest.mark.parametrize("solver", SOLVERS)
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_not_finite(self, solver, bad):
        for place in range(2):
            signals = [self.estimates.clone(), self.mixtures.clone()]
            signals[place][1, 0, 0, 3] = bad
            with pytest.raises(ValueError, match=r"\(2, 4, 2, 10\) or mixtures \(2, 2, 2, 10\)"):
                mixit_loss(*signals, solver)

    def test_too_many_assignments(self):
        many = torch.ones(1, 21, 1, 10)
        with pytest.raises(ValueError, match=r"2 mixtures and 21 sources have 2\^21"):
            mixit_loss(many, torch.ones(1, 2, 1, 10), "exact")
        mixit_loss(many, torch.ones(1, 2, 1, 10), "least_squares")

    def test_unknown_solver(self):
        with pytest.raises(ValueError, match="'fast'"):
            mixit_loss(self.estimates, self.mixtures, "fast")
