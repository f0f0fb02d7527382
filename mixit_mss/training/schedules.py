"""The learning rate over a run (paper section 4.3)."""

from __future__ import annotations

import math


def lr_factor(
    step: int,
    *,
    steps_per_epoch: int,
    warmup_steps: int,
    hold_epochs: int = 0,
    decay: float = 1.0,
    decay_every_epochs: int = 1,
) -> float:
    """Share of the peak learning rate at optimiser step ``step`` (0 for the first).

    Linear from 0 over ``warmup_steps``; then constant until the warm-up's last epoch and the first
    ``hold_epochs`` epochs are over; then times ``decay`` every ``decay_every_epochs`` epochs.
    Pre-training decays by 0.965 at every epoch end, fine-tuning holds for 550 epochs and decays by
    0.98 every two.
    """
    if step < warmup_steps:
        return step / warmup_steps
    constant = max(hold_epochs, math.ceil(warmup_steps / steps_per_epoch))
    past = max(0, step // steps_per_epoch - constant)
    return decay ** (past // decay_every_epochs)
