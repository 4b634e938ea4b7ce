"""`route`: ask the running process where a request would go, and why. Nothing is sent to a model.

Decides how an explanation reads. Refuses to decide where a request goes: `POST /v1/route` does.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from citadel_edge.cli.asking import Question, ask, door_of, key_of
from citadel_edge.cli.console import Cell, Tone, show_table
from citadel_edge.cli.options import add_asking, loaded, read_input

_NUMBER = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `route`."""
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("prompt", nargs="*", default=[], metavar="PROMPT", help="what a user would say")
    asked.add_argument("--body", metavar="FILE", help="a whole request's JSON instead; - reads standard input")
    parser.add_argument("--model", default="auto", help="the model to ask for (auto)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the bound on the answer")
    parser.add_argument("--optimize", choices=["balanced", "cost", "latency", "quality"], help="what auto chooses by")
    parser.add_argument("--session", metavar="NAME", help="ask for affinity, as X-Citadel-Session does")
    add_asking(parser, "routing-api")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation. 0 when a replica would be asked, 1 when none could be.

    Raises:
        ConfigError: the configuration, or the body, is wrong.
        StartError: there is no key, or the process does not answer.
        Refused: it refuses the request.
    """
    config = loaded(arguments).config
    key = key_of(arguments.key, config)
    question = Question(method="POST", path="/v1/route", body=_body(arguments), headers=_wishes(arguments))
    answer = ask(door_of(arguments.url, config), question, key=key).read()
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        _show(answer)
    return 0 if answer["chosen"] is not None else 1


def _wishes(arguments: argparse.Namespace) -> dict[str, str]:
    wishes = {"X-Citadel-Optimize": arguments.optimize, "X-Citadel-Session": arguments.session}
    return {name: value for name, value in wishes.items() if value is not None}


def _body(arguments: argparse.Namespace) -> bytes:
    if arguments.body is not None:
        return read_input(arguments.body, "--body")
    request = {"model": arguments.model, "messages": [{"role": "user", "content": " ".join(arguments.prompt)}]}
    if arguments.max_tokens is not None:
        request["max_tokens"] = arguments.max_tokens
    return json.dumps(request).encode()


def _show(answer: Mapping[str, Any]) -> None:
    chosen = answer["chosen"] or "nobody: no replica can take it now"
    asked = answer.get("asked", answer["model"])
    named = "" if asked == answer["model"] else f" (asked for: {asked})"
    print(f"model     {answer['model']}{named}\nreplica   {chosen}")
    print(f"by        strategy {answer['strategy']}, objective {answer.get('objective') or 'none'}")
    _show_features(answer.get("features"))
    _show_estimate(answer.get("estimate"))
    _show_models(answer.get("models") or [])
    _show_candidates(answer["candidates"], answer["chosen"])


def _show_features(features: Mapping[str, Any] | None) -> None:
    if not features:
        return
    tasks = ", ".join(f"{task} {share:.0%}" for task, share in features.get("tasks", {}).items() if share > 0)
    needs = ", ".join(features.get("needs", ())) or "nothing"
    print(f"request   {tasks or 'unknown'}; language {features.get('language', 'und')}; needs {needs}")


def _show_estimate(estimate: Mapping[str, Any] | None) -> None:
    if not estimate:
        return
    times = (("first token", estimate.get("ttft_s")), ("whole", estimate.get("total_s")))
    known = "".join(f", {name} in {seconds:.3g} s" for name, seconds in times if seconds is not None)
    tokens = f"{estimate['tokens_in']} tokens in, {estimate['tokens_out']} out"
    print(f"estimate  {tokens}, {estimate['cost_usd']:.6f} USD{known}")


def _show_models(models: list[Mapping[str, Any]]) -> None:
    if len(models) > 1:
        print()
        _show_scored("MODEL", [(model["name"], model) for model in models], chosen=None)


def _show_candidates(candidates: list[Mapping[str, Any]], chosen: str | None) -> None:
    if candidates:
        print()
        _show_scored("REPLICA", [(each["upstream"], each) for each in candidates], chosen=chosen)


def _show_scored(head: str, rows: list[tuple[str, Mapping[str, Any]]], *, chosen: str | None) -> None:
    """A column a part of the score, and what speaks against it."""
    parts = list(dict.fromkeys(part for _, row in rows for part in row.get("parts") or {}))
    columns = [head, "SCORE", *(part.upper() for part in parts), "OUT"]
    show_table(columns, [_scored(name, row, parts, chosen=chosen) for name, row in rows])


def _scored(name: str, row: Mapping[str, Any], parts: list[str], *, chosen: str | None) -> list[Cell]:
    excluded = row.get("excluded")
    tone = Tone.GOOD if name == chosen else Tone.QUIET if excluded else Tone.PLAIN
    numbers = [row.get("score"), *((row.get("parts") or {}).get(part) for part in parts)]
    reason = f"{excluded['code']}: {excluded['reason']}" if excluded else ""
    return [Cell(name, tone), *(Cell(_number(number)) for number in numbers), Cell(reason, Tone.ODD)]


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.{_NUMBER}g}"
