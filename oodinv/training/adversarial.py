"""Discriminators with their optimisers and losses."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Adam

from oodinv.models.discriminator import Discriminator, LatentDiscriminator
from oodinv.recipe.train import Adversarial, LatentAdversarial
from oodinv.training import losses
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute


def weigh(reports: Sequence[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """Mean of reports, weighted by their shares of the batch, which sum to 1."""
    return {name: sum(share * report[name] for share, report in reports) for name in reports[0][1]}


class Critic:
    """A discriminator with its optimiser."""

    def __init__(
        self, network: nn.Module, settings: Adversarial | LatentAdversarial, compute: Compute, name: str = ""
    ) -> None:
        self.settings, self.compute, self.name = settings, compute, name
        self.network = network
        self.optimizer = Adam(self.network.parameters(), lr=settings.learning_rate, betas=(0.0, 0.99), eps=1e-8)

    def parts(self) -> dict[str, Stateful]:
        """Module and optimiser by name."""
        return {f"{self.name}discriminator": self.network, f"{self.name}discriminator_optimizer": self.optimizer}

    def judge(self, generated: Tensor) -> Tensor:
        """Adversarial loss of generated samples (B, …); the discriminator's weights get no gradient."""
        self.network.requires_grad_(False)
        return losses.generator_adversarial(self.network(generated))

    def step(self, pairs: Sequence[tuple[Tensor, Tensor]], step: int) -> dict[str, float]:
        """Updates the discriminator on pairs of real and generated samples (B, …), accumulating their gradients.

        Returns the losses, and the mean sign of D(real), which measures overfitting.
        """
        self.network.requires_grad_(True)
        self.optimizer.zero_grad(set_to_none=True)
        total = sum(len(real) for real, _ in pairs)
        reports = [(len(real) / total, self._backward(real, fake, step, len(real) / total)) for real, fake in pairs]
        self.compute.team.average_gradients(self.network)
        self.optimizer.step()
        return weigh(reports)

    def _backward(self, real: Tensor, generated: Tensor, step: int, share: float) -> dict[str, float]:
        logits = self.network(real)
        loss = losses.discriminator_adversarial(logits, self.network(generated.detach()))
        report = {f"{self.name}discriminator": loss.item(), f"{self.name}sign": logits.detach().sign().mean().item()}
        if self.settings.r1 > 0 and step % self.settings.r1_interval == 0:
            penalty = losses.r1_penalty(self.network, real)
            report[f"{self.name}r1"] = penalty.item()
            loss = loss + self.settings.r1 * self.settings.r1_interval * penalty
        (loss * share).backward()
        return report


def image_critic(settings: Adversarial, size: int, compute: Compute) -> Critic:
    """Builds a StyleGAN2 discriminator for images (B, 3, size, size)."""
    return Critic(compute.place(Discriminator(size, settings.channels)), settings, compute)


def latent_critic(settings: LatentAdversarial, w_dim: int, compute: Compute) -> Critic:
    """Builds a discriminator for latents (B, w_dim)."""
    network = LatentDiscriminator(w_dim, settings.layers).to(compute.device)
    return Critic(network, settings, compute, name="latent_")
