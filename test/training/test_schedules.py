"""The paper's two schedules at their corners (section 4.3)."""

import pytest

from mixit_mss.training.schedules import lr_factor

PRETRAIN = {"steps_per_epoch": 1000, "warmup_steps": 5000, "decay": 0.965}
FINETUNE = {
    "steps_per_epoch": 110,
    "warmup_steps": 5000,
    "hold_epochs": 550,
    "decay": 0.98,
    "decay_every_epochs": 2,
}


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.0),
        (1, 1 / 5000),
        (4999, 4999 / 5000),
        (5000, 1.0),
        (5999, 1.0),
        (6000, 0.965),
        (6999, 0.965),
        (7000, 0.965**2),
        (149_999, 0.965**144),
    ],
)
def test_pretraining(step, factor):
    assert lr_factor(step, **PRETRAIN) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (3999, 3999 / 4000),
        (4000, 1),
        (6113, 1),
        (6114, 0.965),
        (8152, 0.965**2),
        (152_849, 0.965**72),
    ],
)
def test_pretraining_as_in_the_release(step, factor):
    shape = {"steps_per_epoch": 2038, "warmup_steps": 4000, "decay": 0.965}
    assert lr_factor(step, **shape) == pytest.approx(factor)
    assert 75 * 2038 == 152_850  # its last step


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(60, 1.0), (549, 1.0), (551, 1.0), (552, 0.98), (553, 0.98), (554, 0.98**2), (899, 0.98**174)],
)
def test_finetuning(epoch, factor):
    assert lr_factor(epoch * 110, **FINETUNE) == pytest.approx(factor)


def test_warmup_inside_an_epoch_lasts_to_its_end():
    factors = [lr_factor(s, steps_per_epoch=10, warmup_steps=4, decay=0.5) for s in range(30)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert factors[5:20] == [1] * 15  # the first whole epoch at the peak is the second
    assert factors[20:] == [0.5] * 10
