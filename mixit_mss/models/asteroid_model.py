"""Our networks as asteroid models, for code that is written for asteroid."""

from __future__ import annotations

from asteroid.models.base_models import BaseModel
from torch import Tensor

from mixit_mss.models import Network, build_model


class AsteroidModel(BaseModel):
    """Any network of :data:`mixit_mss.models.MODELS` as an asteroid ``BaseModel``.

    ``serialize``, ``from_pretrained`` on a dict or a local file, and ``separate`` on tensors and
    arrays work as asteroid's users expect, with one more axis: estimates are (batch, source,
    channel, sample).  Asteroid's interface for *files* is for one channel only, and everything that
    goes through its ``separate`` is rescaled to the mixture's mean magnitude, which is wrong for
    estimates that add up to the mixture; so ``mixit-mss separate`` does not use it.

    Args:
        name: of the network, as in a config.
        sample_rate: in Hz; asteroid stores it beside the other arguments.
        config: the network's arguments.
    """

    def __init__(self, name: str = "bs_locoformer", sample_rate: int = 44100, **config):
        super().__init__(sample_rate=sample_rate, in_channels=config.get("num_channels", 2))
        self.name = name
        self.network = build_model(name, sample_rate=sample_rate, **config)

    @classmethod
    def wrap(cls, network: Network, name: str = "bs_locoformer") -> AsteroidModel:
        """Wrap a trained network; its weights are shared, not copied."""
        model = cls(name, **network.config)
        model.network = network
        return model.train(network.training)

    def forward(self, mixture: Tensor) -> Tensor:
        """Mixture ([batch,] channel, sample) -> estimates ([batch,] source, channel, sample)."""
        if mixture.ndim == 2:
            return self.network(mixture[None])[0]
        return self.network(mixture)

    def serialize(self) -> dict:
        """As in asteroid, but with versions as plain strings, so that loading runs no code."""
        conf = super().serialize()
        versions = conf["infos"]["software_versions"]
        conf["infos"]["software_versions"] = {name: str(v) for name, v in versions.items()}
        return conf

    def get_model_args(self) -> dict:
        """What ``from_pretrained`` needs to build the model again."""
        return {"name": self.name, **self.network.config}
