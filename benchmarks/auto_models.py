"""What `auto` is worth: accuracy and cost beside always-best and always-cheapest, `python -m benchmarks.auto_models`.

A house of five models, whose skills are known, is asked labelled prompts (`tests/routing/prompts.tsv`): code, math,
reasoning and chat in eleven languages, some with tools, JSON or a long text. A choice is right when the model can do
what the request needs, has the context for it, and is at the labelled task no more than 0.2 worse than the best one
that can. `oracle` is the cheapest right choice, by the label. What a request costs is its prompt and 400 tokens out.
"""

import json
import statistics
import sys
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from citadel_edge.completions.estimate import TokenRatios
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.config.shape import Capability, DeploymentConfig, ModelConfig, Objective, PriceConfig
from citadel_edge.routing.cost import priced
from citadel_edge.routing.features import Features, full
from citadel_edge.routing.models import Catalogue, Model, Outlook

PROMPTS = Path(__file__).parents[1] / "tests" / "routing" / "prompts.tsv"
TOKENS_OUT = 400
NEAR = 0.2
FILLER = "The committee met again in the spring and went through the minutes of the year before, item by item. " * 500
TOOLS, JSON = Capability.TOOLS, Capability.JSON


def model(name: str, price: float, context: int, skills: tuple[float, ...], *able: Capability) -> Model:
    config = ModelConfig(
        name=name,
        deployments=(DeploymentConfig(upstream="gpu"),),
        context_tokens=context,
        price=PriceConfig(input_per_mtok_usd=price, output_per_mtok_usd=3 * price),
        skills=dict(zip(("chat", "code", "math", "reasoning"), skills, strict=True)),
        capabilities=able,
    )
    return priced(config)


HOUSE = (
    model("tiny-1b", 0.02, 8192, (0.75, 0.30, 0.25, 0.25)),
    model("talker-8b", 0.10, 32768, (0.85, 0.50, 0.45, 0.50), JSON),
    model("coder-14b", 0.20, 32768, (0.60, 0.85, 0.60, 0.50), TOOLS, JSON),
    model("thinker-32b", 0.60, 32768, (0.70, 0.70, 0.90, 0.88), JSON),
    model("all-rounder-70b", 1.20, 131072, (0.92, 0.90, 0.88, 0.90), TOOLS, JSON),
)
SECONDS = {"tiny-1b": 1.0, "talker-8b": 2.0, "coder-14b": 3.0, "thinker-32b": 12.0, "all-rounder-70b": 6.0}
CATALOGUE = Catalogue([each.config for each in HOUSE], created=0)


@dataclass(frozen=True)
class Case:
    task: str
    extra: str
    request: CompletionRequest
    features: Features


def cases() -> list[Case]:
    found = []
    for line in PROMPTS.read_text("utf-8").splitlines():
        task, _, text, *extra = line.split("\t")
        request = parse(_body(text.replace("\\n", "\n").replace("\\\\", "\\"), *extra), Kind.CHAT)
        found.append(Case(task, *extra or [""], request, look(request)))
    return found


def _body(text: str, extra: str = "") -> bytes:
    fields: dict[str, object] = {"model": "auto"}
    if extra == "json":
        fields["response_format"] = {"type": "json_object"}
    if extra == "tools":
        fields["tools"] = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object"}}}]
    content = f"{FILLER}\n\n{text}" if extra == "long" else text
    return json.dumps({**fields, "messages": [{"role": "user", "content": content}]}).encode()


def look(request: CompletionRequest) -> Features:
    tokens_in = TokenRatios().estimate("auto", prompt_bytes=request.prompt_bytes)
    return full(request.sample(), tokens_in=tokens_in, tokens_out=TOKENS_OUT, needs=request.needs)


def choose(objective: Objective) -> Callable[[Case], Model]:
    def outlook(one: Model) -> Outlook:
        return Outlook(predicted_ttft_s=0.2, predicted_total_s=SECONDS[one.name])

    def chosen(case: Case) -> Model:
        return CATALOGUE.select(
            "auto", case.features, may_use=lambda _: True, objective=objective, outlook=outlook
        ).ranked[0]

    return chosen


def able(case: Case) -> list[Model]:
    return [
        one
        for one in HOUSE
        if case.features.needs <= set(one.config.capabilities)
        and case.features.tokens_in + TOKENS_OUT <= one.config.context_tokens
    ]


def right(case: Case, one: Model) -> bool:
    best = max(each.config.skills[case.task] for each in able(case))
    return one in able(case) and one.config.skills[case.task] >= best - NEAR


def oracle(case: Case) -> Model:
    return min((one for one in HOUSE if right(case, one)), key=lambda one: cost(case, one))


def cost(case: Case, one: Model) -> float:
    return float(one.cost_usd(case.features.tokens_in, TOKENS_OUT))


@dataclass(frozen=True)
class Figures:
    """Of one way to choose: the shares of right choices, and means a request."""

    right: float
    skill: float
    usd_per_1000: float
    seconds: float
    by_extra: dict[str, float]


def figures(every: list[Case], way: Callable[[Case], Model]) -> Figures:
    chosen = [(case, way(case)) for case in every]
    count = len(chosen)
    return Figures(
        right=sum(right(*pair) for pair in chosen) / count,
        skill=sum(one.config.skills[case.task] for case, one in chosen) / count,
        usd_per_1000=sum(cost(*pair) for pair in chosen) / count * 1000,
        seconds=sum(SECONDS[one.name] for _, one in chosen) / count,
        by_extra={
            extra or "plain": statistics.mean(right(*pair) for pair in chosen if pair[0].extra == extra)
            for extra in ("", "json", "tools", "long")
        },
    )


def ways() -> dict[str, Callable[[Case], Model]]:
    return {
        "always best (all-rounder-70b)": lambda _: HOUSE[-1],
        "always cheapest (tiny-1b)": lambda _: HOUSE[0],
        "always the middle (coder-14b)": lambda _: HOUSE[2],
        **{f"auto, {objective.value}": choose(objective) for objective in Objective},
        "oracle": oracle,
    }


def main() -> None:
    every = cases()
    table = {name: figures(every, way) for name, way in ways().items()}
    tasks = statistics.mean(case.features.task == case.task for case in every)
    if "--json" in sys.argv:
        print(json.dumps({"prompts": len(every), "tasks": tasks, **{name: asdict(one) for name, one in table.items()}}))
        return
    print(f"{len(every)} prompts; the task is told right for {tasks:.1%}")
    print(f"\n| {'choice':<30} | right | skill | cost, $ a 1000 | seconds | plain | json | tools | long |")
    print(f"|{'-' * 32}|------:|------:|---------------:|--------:|------:|-----:|------:|-----:|")
    for name, one in table.items():
        parts = " | ".join(f"{part:5.0%}" for part in one.by_extra.values())
        money = f"{one.usd_per_1000:14.3f} | {one.seconds:7.1f}"
        print(f"| {name:<30} | {one.right:5.0%} | {one.skill:.3f} | {money} | {parts} |")
    print(f"\nfeatures and choice of one of {len(HOUSE)} models: {_microseconds(every[30].request):.0f} µs")


def _microseconds(request: CompletionRequest) -> float:
    balanced = choose(Objective.BALANCED)
    return min(timeit.repeat(lambda: balanced(Case("", "", request, look(request))), number=200, repeat=5)) / 200 * 1e6


if __name__ == "__main__":
    main()
