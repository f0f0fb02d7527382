"""What only a GPU can show: flash attention runs in half precision, and the result stays."""

import pytest
import torch

from mixit_mss.losses import thresholded_snr
from mixit_mss.models import BSLocoformer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def model_and_mixture():
    torch.manual_seed(0)
    model = BSLocoformer.from_size("small", 4).cuda().eval()
    return model, torch.randn(1, 2, 3 * 44100, device="cuda")


def test_attention_runs_the_flash_kernel_in_half_precision(model_and_mixture):
    model, mixture = model_and_mixture
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with (
        torch.profiler.profile(activities=activities) as profile,
        torch.autocast("cuda", torch.bfloat16),
    ):
        model(mixture).sum().backward()
    ran = " ".join(event.key for event in profile.key_averages())
    assert "_scaled_dot_product_flash_attention" in ran
    assert "_scaled_dot_product_flash_attention_backward" in ran
    assert "_scaled_dot_product_attention_math" not in ran


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(model_and_mixture, half):
    model, mixture = model_and_mixture
    with torch.no_grad():
        exact = model(mixture)
        with torch.autocast("cuda", half):
            rounded = model(mixture)
    assert (-thresholded_snr(rounded, exact)).min() > 20  # dB; 0.1 dB on targets 3 dB away
