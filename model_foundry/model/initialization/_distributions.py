"""What tensors are drawn from, each with its moments in closed form, so that a model can be held to them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn


class Moments(NamedTuple):
    """Of a distribution; a standard deviation of 0 means that nothing is drawn."""

    mean: float
    std: float
    kurtosis: float
    """Fourth central moment over the squared variance: 3 for a normal, 1.8 for a uniform distribution."""


class Distribution(ABC):
    """What a tensor is drawn from. Equal ones are measured together."""

    @property
    @abstractmethod
    def moments(self) -> Moments:
        """Of the values that ``measured`` returns."""

    @abstractmethod
    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Overwrite ``target``, which lies where the generator does."""

    def measured(self, values: torch.Tensor) -> torch.Tensor:
        """Return what was drawn, given what was made of it; nothing, usually."""
        return values


@dataclass(frozen=True)
class Constant(Distribution):
    """One value everywhere."""

    value: float

    @property
    def moments(self) -> Moments:
        """No spread."""
        return Moments(self.value, 0.0, 1.0)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draws nothing."""
        target.fill_(self.value)


@dataclass(frozen=True, eq=False)
class Fixed(Distribution):
    """Stated values, one by one."""

    values: torch.Tensor

    @property
    def moments(self) -> Moments:
        """Those of the difference from the stated values."""
        return Moments(0.0, 0.0, 1.0)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draws nothing."""
        target.copy_(self.values)

    def measured(self, values: torch.Tensor) -> torch.Tensor:
        """Return the difference, which must be 0."""
        return values - self.values.to(values.device, values.dtype)


@dataclass(frozen=True)
class Normal(Distribution):
    """N(0, sigma)."""

    sigma: float

    @property
    def moments(self) -> Moments:
        """Of a normal distribution."""
        return Moments(0.0, self.sigma, 3.0)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw each value by itself."""
        target.normal_(0.0, self.sigma, generator=generator)


@dataclass(frozen=True)
class TruncatedNormal(Distribution):
    """N(0, sigma) within ``cutoff`` sigmas, drawn anew beyond; its deviation is less than sigma."""

    sigma: float
    cutoff: float

    @property
    def moments(self) -> Moments:
        """With phi and Z the normal's density at, and mass within, the cutoff c.

        E z^2 = 1 - 2 c phi / Z and E z^4 = 3 - 2 c (c^2 + 3) phi / Z (by parts).
        """
        c = self.cutoff
        edge = 2 * c * math.exp(-c * c / 2) / math.sqrt(2 * math.pi) / math.erf(c / math.sqrt(2))
        second, fourth = 1 - edge, 3 - (c * c + 3) * edge
        return Moments(0.0, self.sigma * math.sqrt(second), fourth / second**2)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw each value by itself."""
        limit = self.cutoff * self.sigma
        nn.init.trunc_normal_(target, 0.0, self.sigma, -limit, limit, generator=generator)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Between ``-bound`` and ``bound``."""

    bound: float

    @property
    def moments(self) -> Moments:
        """Of a uniform distribution."""
        return Moments(0.0, self.bound / math.sqrt(3), 1.8)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw each value by itself."""
        target.uniform_(-self.bound, self.bound, generator=generator)


@dataclass(frozen=True)
class ForgetGate(Distribution):
    """A bias of an LSTM, uniform but for one value in the rows of the forget gate, the second of four."""

    bound: float
    value: float

    @property
    def moments(self) -> Moments:
        """Of the rows that are drawn."""
        return Uniform(self.bound).moments

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw all, then set those of the forget gate."""
        target.uniform_(-self.bound, self.bound, generator=generator)
        target.chunk(4)[1].fill_(self.value)

    def measured(self, values: torch.Tensor) -> torch.Tensor:
        """Return the other gates' rows; NaN if the forget gate's are not as stated."""
        cell, forget, output, other = values.chunk(4)
        drawn = torch.cat([cell, output, other])
        return drawn if bool((forget == self.value).all()) else torch.full_like(drawn, math.nan)


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Logarithm of a value that is uniform between ``low`` and ``high``."""

    low: float
    high: float

    @property
    def moments(self) -> Moments:
        """Of the value itself."""
        return Moments((self.low + self.high) / 2, (self.high - self.low) / math.sqrt(12), 1.8)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw each value by itself."""
        target.uniform_(self.low, self.high, generator=generator).log_()

    def measured(self, values: torch.Tensor) -> torch.Tensor:
        """Return the value itself."""
        return values.exp()


@dataclass(frozen=True)
class TimeStep(Distribution):
    """Inverse softplus of a step whose logarithm is uniform between those of ``low`` and ``high``.

    Gu and Dao 2023 (Mamba, arXiv 2312.00752, section 3.6); steps below ``floor`` are raised to it.
    """

    low: float
    high: float
    floor: float

    @property
    def moments(self) -> Moments:
        """Of the step's logarithm: uniform on [a, b], and what is below f is f."""
        a, b = math.log(self.low), math.log(self.high)
        f = min(max(a, math.log(self.floor)), b)
        share = (f - a) / (b - a)
        mean = share * f + (1 - share) * (f + b) / 2

        def central(power: int) -> float:
            above = ((b - mean) ** (power + 1) - (f - mean) ** (power + 1)) / ((power + 1) * (b - a))
            return share * (f - mean) ** power + above

        return Moments(mean, math.sqrt(central(2)), central(4) / central(2) ** 2)

    def draw(self, target: torch.Tensor, generator: torch.Generator) -> None:
        """Draw each value by itself; x + log(1 - exp(-x)) is softplus backwards."""
        target.uniform_(math.log(self.low), math.log(self.high), generator=generator)
        target.exp_().clamp_(min=self.floor)
        target.add_(target.neg().expm1().neg().log())

    def measured(self, values: torch.Tensor) -> torch.Tensor:
        """Return the step's logarithm."""
        return nn.functional.softplus(values).log()
