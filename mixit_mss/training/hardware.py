"""Which devices train, and how a global batch is spread over them."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_utilities.core.rank_zero import rank_zero_only

from mixit_mss.errors import UserError


@dataclass(frozen=True)
class Hardware:
    """The requested devices; they do not change which examples a step sees.

    Attributes:
        device: ``cuda``, ``cpu``, or ``auto``: GPUs where there are any.
        ngpu: devices per node: GPUs, or processes on the CPU.
        num_nodes: machines.
        batch_per_device: examples per forward pass on a device; gradients are accumulated over
            several passes if needed.  None: found by trial on GPUs, all at once on a CPU.
        find_batch: find the batch by trial on a CPU, too.
        checkpoint_minutes: between two checkpoints within an epoch.
        wandb: also log to Weights & Biases.
    """

    device: str = "auto"
    ngpu: int = 1
    num_nodes: int = 1
    batch_per_device: int | None = None
    find_batch: bool = False
    checkpoint_minutes: float = 10.0
    wandb: bool = False

    @property
    def accelerator(self) -> str:
        """``cuda`` or ``cpu``.

        Raises:
            UserError: the requested devices are not available.
        """
        import torch

        gpus = torch.cuda.device_count()
        if self.device == "cuda" and not gpus:
            raise UserError("--device cuda: torch sees no GPU here; try --device cpu")
        if self.device == "cpu" or not gpus:
            if self.device == "auto" and self.ngpu > 1:
                raise UserError(
                    f"--ngpu {self.ngpu}: torch sees no GPU here; --device cpu makes that many "
                    "processes on the CPU"
                )
            return "cpu"
        if self.ngpu > gpus:
            raise UserError(f"--ngpu {self.ngpu}: this machine has {gpus}")
        return "cuda"

    @property
    def world_size(self) -> int:
        """Number of devices on all nodes."""
        return self.ngpu * self.num_nodes

    def share(self, batch_size: int) -> int:
        """Number of examples in a step's batch per device.

        Raises:
            UserError: the batch does not divide over the devices, or a share into equal passes.
        """
        share, rest = divmod(batch_size, self.world_size)
        if rest:
            raise UserError(
                f"run.batch_size {batch_size} does not divide over {self.world_size} devices "
                f"(--ngpu {self.ngpu}, --num-nodes {self.num_nodes})"
            )
        if self.batch_per_device and share % self.batch_per_device:
            raise UserError(
                f"--batch-per-device {self.batch_per_device} does not divide a device's {share} of "
                f"run.batch_size {batch_size}; choose one of {', '.join(map(str, divisors(share)))}"
            )
        return share


def divisors(number: int) -> list[int]:
    """Divisors in ascending order."""
    return [n for n in range(1, number + 1) if number % n == 0]


def is_first_process() -> bool:
    """Whether this is rank 0 of the run, as far as the environment tells."""
    return getattr(rank_zero_only, "rank", 0) in (0, None)
