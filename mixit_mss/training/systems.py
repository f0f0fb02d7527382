"""The two training steps, on asteroid's ``System``: MixIT and supervised."""

from __future__ import annotations

import torch
from asteroid.engine.system import System
from torch import Tensor

from mixit_mss.losses import mixit_loss, thresholded_snr, zero_reference_snr
from mixit_mss.losses.mixit import assign_outputs, remix


class MixITSystem(System):
    """Separate the sum of mixtures; score the best remix of the estimates (Eq. 1 and 2).

    Batches are mixtures (batch, mixture, channel, sample); ``loss_options`` go to
    :func:`mixit_mss.losses.mixit_loss`.
    """

    def __init__(self, model, optimizer, loaders, scheduler, config, loss_options):
        super().__init__(model, optimizer, mixit_loss, *loaders, scheduler, config)
        self.loss_options = loss_options

    def common_step(self, batch: Tensor, batch_nb: int, train: bool = True) -> Tensor:
        """Mean MixIT loss (dB) of a batch."""
        if train and hasattr(self.model, "apply_masks"):
            return mixit_loss_by_masks(self.model, batch, **self.loss_options).mean()
        estimates = self(batch.sum(1))
        loss, assignment = self.loss_func(estimates, batch, **self.loss_options)
        if not train:
            self._log_outputs(estimates, assignment)
        return loss.mean()

    def _log_outputs(self, estimates: Tensor, assignment: Tensor) -> None:
        """How many outputs are active: within 20 dB of the loudest one."""
        power = estimates.detach().float().square().mean((-2, -1))
        active = (power > power.amax(1, keepdim=True) / 100).sum(1)
        first = assignment[:, 0].sum(-1) / assignment.shape[-1]
        self.log("active_outputs", active.float().mean(), on_epoch=True)
        self.log("outputs_to_first_mixture", first.float().mean(), on_epoch=True)


def mixit_loss_by_masks(model: torch.nn.Module, mixtures: Tensor, solver: str, **options) -> Tensor:
    """:func:`mixit_mss.losses.mixit_loss` of a masking model's estimates, with a leaner gradient.

    Outputs that belong to one mixture are added up as masks.  The estimates are linear in the
    masks, so the loss and its gradient are the same, but the gradient passes through one inverse
    STFT per mixture instead of one per output.

    Args:
        model: with ``masks`` and ``apply_masks``, as :class:`mixit_mss.models.BSLocoformer`.
        mixtures: (batch, mixture, channel, sample).
        solver: and ``options``, as for ``mixit_loss``.

    Returns:
        The loss (batch,) in dB.
    """
    length = mixtures.shape[-1]
    masks, spectrum = model.masks(mixtures.sum(1))
    with torch.no_grad():
        estimates = model.apply_masks(masks, spectrum, length)
        owner = assign_outputs(estimates, mixtures, solver, **options)
        del estimates
    remixed = model.apply_masks(remix(masks, owner, mixtures.shape[1]), spectrum, length)
    return thresholded_snr(remixed, mixtures, **options).sum(-1)


class SupervisedSystem(System):
    """Separate the sum of stems; score each estimate against its stem (Eq. 4).

    Batches are references (batch, source, channel, sample), in the order of the model's stems.
    """

    def __init__(self, model, optimizer, loaders, scheduler, config, loss_options):
        super().__init__(model, optimizer, zero_reference_snr, *loaders, scheduler, config)
        self.loss_options = loss_options

    def common_step(self, batch: Tensor, batch_nb: int, train: bool = True) -> Tensor:
        """Mean loss (dB) over the batch and its stems."""
        mixture = batch.sum(1)
        estimates = self(mixture)
        loss = self.loss_func(estimates, batch, mixture[:, None], **self.loss_options)
        return loss.mean()


def freeze_separator(model: torch.nn.Module) -> None:
    """Leave only encoder and decoder trainable (paper section 4.5, Table 2)."""
    model.separator.requires_grad_(False)
