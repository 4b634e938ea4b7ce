"""What a request costs on a model: by its price, or where it has none, by what its GPU costs and does.

A GPU costs the same whether it works or not, so what a token of it costs depends on how many it makes::

    usd per second    = gpu_hour_usd / 3600
    usd per token out = usd per second / max(tokens per second of late, tokens per second of a single stream)
    usd per token in  = usd per second / max(prompt tokens per second, the rate of tokens out)

The throughput is that of all streams together, as measured: a replica at work on thirty streams makes its tokens far
cheaper than one at work on two. An idle one is priced as if the request ran alone: its hours are paid for anyway, and
to charge the first request for a night of idling would keep everybody away from it. A prompt token is cheaper by as
much as prefill is faster than decoding; where nobody measured that, by ten. Before a replica's first answer a single
stream is taken to make 30 tokens a second.

Decides prices only. Refuses to know where figures come from: throughput, utilisation and predictions come in as values.
What is charged is a `Decimal`: a rate is rounded once, to 10^-15 dollars, and everything after it is exact.

Source of the idea: the serving cost of a token is the price of an accelerator-second over the throughput at the
utilisation that is kept (Pope et al., Efficiently Scaling Transformer Inference, arXiv 2211.05102, figure 1).
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import ModelConfig, PriceConfig

_MTOK: Final = 1_000_000
_HOUR_S: Final = 3600.0
_GRAIN: Final = Decimal("1e-15")
_PREFILL_GAIN: Final = 10.0
_UNMEASURED: Final = 30.0
_SLOWEST: Final = 0.1
_FASTEST: Final = 1e7
_DEAREST_HOUR: Final = 1e6


class TokenCost(Struct, frozen=True, gc=False):
    """US dollars a token, exactly."""

    input_usd: Decimal
    output_usd: Decimal

    def of(self, tokens_in: int, tokens_out: int) -> Decimal:
        """What so many tokens cost."""
        return self.input_usd * tokens_in + self.output_usd * tokens_out


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model with its price as exact numbers: US dollars a token."""

    config: ModelConfig
    input_usd: Decimal
    output_usd: Decimal

    @property
    def name(self) -> str:
        """Its own name, whatever alias a client used."""
        return self.config.name

    @property
    def has_price(self) -> bool:
        """Whether the configuration gives it one; zero is none."""
        return bool(self.input_usd or self.output_usd)

    def cost_usd(self, tokens_in: int, tokens_out: int, gpu: TokenCost | None = None) -> Decimal:
        """What so many tokens cost, exactly: by the price, else by `gpu`, else nothing."""
        if gpu is not None and not self.has_price:
            return gpu.of(tokens_in, tokens_out)
        return self.input_usd * tokens_in + self.output_usd * tokens_out


def priced(config: ModelConfig) -> Model:
    """A model with its price a token."""
    price: PriceConfig = config.price
    return Model(
        config,
        input_usd=Decimal(str(price.input_per_mtok_usd)) / _MTOK,
        output_usd=Decimal(str(price.output_per_mtok_usd)) / _MTOK,
    )


def gpu_cost(
    gpu_hour_usd: float,
    *,
    tokens_per_s: float,
    token_s: float,
    prefill_token_s: float | None = None,
) -> TokenCost:
    """What a token of a GPU costs at the throughput measured.

    Args:
        gpu_hour_usd: what an hour of the replica costs.
        tokens_per_s: output tokens a second of late, all its streams together.
        token_s: seconds a token of a single stream.
        prefill_token_s: seconds a prompt token, if anybody measured it.
    """
    a_second = min(gpu_hour_usd, _DEAREST_HOUR) / _HOUR_S
    out = max(_rate(token_s, _UNMEASURED), _bounded(tokens_per_s))
    prefill = max(out, _rate(prefill_token_s or 0.0, out * _PREFILL_GAIN))
    return TokenCost(input_usd=_exact(a_second / prefill), output_usd=_exact(a_second / out))


def _rate(seconds: float, unmeasured: float) -> float:
    """Tokens a second at so many seconds a token; what takes no time, or no finite one, was never measured."""
    return _bounded(1.0 / seconds) if seconds > 0 and isfinite(seconds) else unmeasured


def _bounded(rate: float) -> float:
    return min(_FASTEST, max(_SLOWEST, rate)) if isfinite(rate) else _SLOWEST


def _exact(usd: float) -> Decimal:
    return Decimal(repr(usd)).quantize(_GRAIN, rounding=ROUND_HALF_EVEN)
