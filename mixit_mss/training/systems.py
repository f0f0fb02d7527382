"""The two training steps, on asteroid's ``System``: MixIT and supervised."""

from __future__ import annotations

import torch
from asteroid.engine.system import System
from torch import Tensor
from torch.optim import Optimizer

from mixit_mss.losses import mixit_loss, thresholded_snr, zero_reference_snr
from mixit_mss.losses.mixit import assign_outputs, remix
from mixit_mss.models.network import Masking, Network
from mixit_mss.selection.channel_votes import snr_matrix
from mixit_mss.training.health import BadSteps, warn_of_collapse
from mixit_mss.training.loaders import Loaders
from mixit_mss.training.validation import SongScores, Sums


class TrainingSystem(System):
    """Base of both trainings: loaders per device, seeds, skipped steps, sums over devices.

    Args:
        model: the network.
        optimizer: of its trainable weights.
        loaders: with ``train(rank, world_size)`` and ``valid(rank, world_size)``; None if nothing
            is trained.
        scheduler: as asteroid's ``System`` takes it.
        config: the settings, saved in checkpoints.
        loss_options: keyword arguments of the loss.
        seed: of the network's random draws (dropout).
        bad_steps: handles steps without a finite gradient; None if nothing is trained.
    """

    model: Network
    bad_steps: BadSteps

    def __init__(
        self,
        model: Network,
        optimizer: Optimizer | None,
        loaders: Loaders | None,
        scheduler: dict | None,
        config: dict,
        loss_options: dict,
        seed: int = 0,
        bad_steps: BadSteps | None = None,
    ):
        super().__init__(model, optimizer, None, None, None, scheduler, config)
        if loaders is not None and bad_steps is not None:
            self.loaders, self.bad_steps = loaders, bad_steps
        self.loss_options, self.seed = loss_options, seed
        self.validated_at = -1
        self._losses: list[Tensor] = []
        self._examples: list[int] = []
        self._of_step: list[Tensor] = []  # losses of the examples since the last step

    @property
    def skipped_steps(self) -> int:
        """Number of steps skipped so far because their gradient was not finite."""
        return self.bad_steps.count

    def training_step(self, batch: Tensor, batch_nb: int) -> Tensor:
        """The loss; random draws depend only on the seed and the batch's position in the run."""
        trainer = self.trainer
        place = (trainer.global_step, batch_nb % trainer.accumulate_grad_batches)
        torch.manual_seed(hash((self.seed, *place, trainer.global_rank)))
        losses = self.example_losses(batch)
        loss = losses.mean()
        self._losses.append(loss.detach())
        self._examples.append(len(batch))
        self._of_step = [*self._of_step[-(trainer.accumulate_grad_batches - 1) :], losses.detach()]
        self.log("loss", loss, prog_bar=True)
        # an infinite loss can have a gradient of 0, which would not count as bad
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

    def common_step(self, batch: Tensor, batch_nb: int, train: bool = True) -> Tensor:
        """Mean loss (dB) of a batch."""
        return self.example_losses(batch).mean()

    def example_losses(self, batch: Tensor) -> Tensor:
        """Loss (dB) of each example, (batch,); not finite if the network's output is not."""
        raise NotImplementedError

    def take_losses(self) -> Tensor:
        """Sum of the finite losses of all examples since the last call, and their number; (2,)."""
        losses = torch.stack(self._losses).double().cpu() if self._losses else torch.zeros(0)
        examples = torch.tensor(self._examples, dtype=torch.float64) * losses.isfinite()
        self._losses.clear()
        self._examples.clear()
        total = (losses.nan_to_num(0, 0, 0) * examples).sum()
        return torch.stack([total, examples.sum()]).to(self.device)

    def configure_gradient_clipping(
        self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
    ) -> None:
        """Clip by the norm of the whole gradient; skip the step if the norm is not finite."""
        trained = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(trained, gradient_clip_val)
        if not self._scale_is_sought() and self.bad_steps.is_bad(norm, self._of_step, self.trainer):
            optimizer.zero_grad(set_to_none=True)  # without gradients not even weight decay acts

    def _scale_is_sought(self) -> bool:
        """Whether the float16 scaler skips the step itself: it finds its scale by overflow.

        False if the loss itself is not finite; the same on all devices.
        """
        if self.trainer.precision != "16-mixed":
            return False
        finite = all(bool(losses.isfinite().all()) for losses in self._of_step)
        return bool(self.trainer.strategy.reduce_boolean_decision(finite, all=True))

    def on_validation_epoch_start(self) -> None:
        """Reset the sums."""
        self.sums = Sums(self.device)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the examples of all devices."""
        self.validated_at = self.trainer.global_step
        left_out, examples = self.sums.left_out("val_loss", self.trainer.strategy)
        if left_out and self.trainer.is_global_zero:
            print(
                f"warning: {left_out} of {examples} validation examples have outputs that are NaN "
                "or infinite; validation's means leave them out",
                flush=True,
            )
        means = self.sums.means(self.trainer.strategy)
        for name, mean in means.items():
            self.log(name, mean, prog_bar=name == "val_loss")

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Save the settings and the bad steps."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["bad_steps"] = self.bad_steps.rows

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Restore the bad steps."""
        self.bad_steps.rows = list(checkpoint["bad_steps"])

    def train_dataloader(self):
        """This device's share of the training examples."""
        return self.loaders.train(self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self):
        """This device's share of the validation examples."""
        return self.loaders.valid(self.trainer.global_rank, self.trainer.world_size)


class MixITSystem(TrainingSystem):
    """Separate the sum of mixtures; score the best remix of the estimates (Eq. 1 and 2).

    Batches are mixtures (batch, mixture, channel, sample); ``loss_options`` go to
    :func:`mixit_mss.losses.mixit_loss`.
    """

    def example_losses(self, batch: Tensor) -> Tensor:
        """MixIT loss (dB) of each example."""
        if isinstance(self.model, Masking):
            return mixit_loss_by_masks(self.model, batch, **self.loss_options)
        return mixit_loss(self(batch.sum(1)), batch, **self.loss_options, check=False)[0]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_nb: int) -> None:
        """Loss, and measures of separation and collapse; see :mod:`mixit_mss.training.health`."""
        mixtures, _ = batch
        estimates = self(mixtures.sum(1))
        loss, assignment = mixit_loss(estimates, mixtures, **self.loss_options, check=False)
        self.sums.add("val_loss", loss)
        fine = loss.isfinite()
        loss, assignment, mixtures = loss[fine], assignment[fine], mixtures[fine]
        estimates = estimates[fine]
        power = estimates.float().square().mean((-2, -1))
        active = power > power.amax(1, keepdim=True) / 100
        one_output = torch.from_numpy(snr_matrix(estimates.float(), mixtures)).amax(1)
        self.sums.add("active_outputs", active.sum(1))
        self.sums.add("outputs_to_first_mixture", assignment[:, 0].float().mean(-1))
        self.sums.add("snr_of_remix", -loss / mixtures.shape[1])
        self.sums.add("snr_of_one_output", one_output.nanmean(-1))
        share = power / power.sum(1, keepdim=True).clamp_min(1e-12)
        for output, energy in enumerate(share.unbind(1)):
            self.sums.add(f"energy_share_{output:02d}", energy)

    def on_validation_epoch_end(self) -> None:
        """Log, and warn if the outputs are the mixtures."""
        super().on_validation_epoch_end()
        warn_of_collapse(self.trainer)


def mixit_loss_by_masks(model: Masking, mixtures: Tensor, solver: str, **options) -> Tensor:
    """:func:`mixit_mss.losses.mixit_loss` of a masking model's estimates, with a cheaper gradient.

    The masks of outputs that belong to one mixture are summed.  The estimates are linear in the
    masks, so the loss and its gradient are the same, but the gradient passes through one inverse
    STFT per mixture instead of one per output.  An example with NaN or infinite estimates has a
    loss that is not finite.

    Args:
        model: with ``masks`` and ``apply_masks``, as :class:`mixit_mss.models.BSLocoformer`.
        mixtures: (batch, mixture, channel, sample).
        solver: as for ``mixit_loss``, and so are ``options``.

    Returns:
        The loss (batch,) in dB.
    """
    length = mixtures.shape[-1]
    masks, spectrum = model.masks(mixtures.sum(1))
    with torch.no_grad():
        estimates = model.apply_masks(masks, spectrum, length)
        owner = assign_outputs(estimates, mixtures, solver, **options, check=False)
        del estimates
    remixed = model.apply_masks(remix(masks, owner, mixtures.shape[1]), spectrum, length)
    return thresholded_snr(remixed, mixtures, **options).sum(-1)


class SupervisedSystem(TrainingSystem):
    """Separate the sum of stems; score each estimate against its stem (Eq. 4).

    Batches are references (batch, source, channel, sample), in the order of the model's stems;
    validation batches also have the index of each chunk in the validation set.

    Attributes:
        song_of: (chunk,) song of each chunk of the validation set.
    """

    song_of: Tensor

    def example_losses(self, batch: Tensor) -> Tensor:
        """Mean loss (dB) over the stems of each example."""
        mixture = batch.sum(1)
        estimates = self(mixture)
        loss = zero_reference_snr(estimates, batch, mixture[:, None], **self.loss_options)
        return loss.flatten(1).mean(1)

    def on_validation_epoch_start(self) -> None:
        """Reset the sums."""
        super().on_validation_epoch_start()
        songs = int(self.song_of.max()) + 1
        self.scores = SongScores(songs, self.model.num_sources, self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_nb: int) -> None:
        """Loss, and energies for the uSDR of whole songs."""
        stems, place = batch
        mixture = stems.sum(1)
        estimates = self(mixture)
        loss = zero_reference_snr(estimates, stems, mixture[:, None], **self.loss_options)
        self.sums.add("val_loss", loss.flatten(1).mean(1))
        self.scores.add(self.song_of[place.cpu()], estimates, stems)

    def on_validation_epoch_end(self) -> None:
        """Log loss and uSDR."""
        super().on_validation_epoch_end()
        self.log("val_usdr", self.scores.usdr(self.trainer.strategy))


def freeze_separator(model: Network) -> None:
    """Leave only encoder and decoder trainable (paper section 4.5, Table 2)."""
    for block in model.blocks():
        block.requires_grad_(False)
