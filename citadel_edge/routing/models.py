"""Which models there are by the names clients use, and which of them somebody may use.

Decides what a name means and what is answered to a name that means nothing. Refuses to know where models run and who
is asking: what a caller may use comes in as a predicate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypedDict

from citadel_edge.config.shape import ModelConfig, PriceConfig
from citadel_edge.errors import Code, RequestError

OWNER: Final = "citadel-edge"
_MTOK: Final = 1_000_000
_LONGEST_ECHO: Final = 128

MayUse = Callable[[str], bool]


class ModelEntry(TypedDict):
    """One model as OpenAI's API lists it. `created` is in seconds since 1970."""

    id: str
    object: str
    created: int
    owned_by: str


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

    def cost_usd(self, tokens_in: int, tokens_out: int) -> Decimal:
        """What so many tokens cost, exactly."""
        return self.input_usd * tokens_in + self.output_usd * tokens_out


class Catalogue:
    """The models of one configuration. Immutable: a new configuration makes a new one.

    Args:
        created: seconds since 1970 that the entries bear.
    """

    def __init__(self, models: Sequence[ModelConfig], *, created: int) -> None:
        self._created = created
        self._by_name: dict[str, Model] = {}
        for config in models:
            model = _priced(config)
            for name in (config.name, *config.aliases):
                self._by_name.setdefault(name, model)

    def resolve(self, name: str, may_use: MayUse) -> Model:
        """The model of a name or alias. A tier that lists either may use it.

        Raises:
            RequestError: MODEL_NOT_FOUND, MODEL_NOT_ALLOWED.
        """
        model = self._by_name.get(name)
        if model is None:
            raise RequestError(
                Code.MODEL_NOT_FOUND,
                f"The model '{_echo(name)}' does not exist. GET /v1/models lists the models that you may use.",
                param="model",
            )
        if not _allowed(model, name, may_use):
            raise RequestError(
                Code.MODEL_NOT_ALLOWED,
                f"Your tier does not include the model '{name}'. GET /v1/models lists the models that you may use.",
                param="model",
            )
        return model

    def entry(self, name: str, may_use: MayUse) -> ModelEntry:
        """One model, as `GET /v1/models/{id}` answers. Raises as `resolve`."""
        self.resolve(name, may_use)
        return self._entry(name)

    def entries(self, may_use: MayUse) -> list[ModelEntry]:
        """Every name and alias that may be used, as `GET /v1/models` answers in its `data`."""
        return [self._entry(name) for name, model in self._by_name.items() if _allowed(model, name, may_use)]

    def _entry(self, name: str) -> ModelEntry:
        return ModelEntry(id=name, object="model", created=self._created, owned_by=OWNER)

    def __iter__(self) -> Iterator[Model]:
        return (model for name, model in self._by_name.items() if name == model.name)


def _allowed(model: Model, name: str, may_use: MayUse) -> bool:
    return may_use(model.name) or may_use(name)


def _priced(config: ModelConfig) -> Model:
    price: PriceConfig = config.price
    return Model(
        config,
        input_usd=Decimal(str(price.input_per_mtok_usd)) / _MTOK,
        output_usd=Decimal(str(price.output_per_mtok_usd)) / _MTOK,
    )


def _echo(name: str) -> str:
    """A name of a stranger's, short and visible."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_LONGEST_ECHO])
    return shown if len(name) <= _LONGEST_ECHO else f"{shown}…"
