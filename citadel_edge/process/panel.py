"""The one panel that a newcomer sees: where the four services are, the keys, and a line to try. Pure text."""

from collections.abc import Mapping
from dataclasses import dataclass

from citadel_edge.config.shape import ListenerName

_QUESTION = "What is the capital of France?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What the panel shows. Keys are null when they must not be shown again."""

    version: str
    environment: str
    urls: Mapping[ListenerName, str]
    model: str | None
    admin_key: str | None
    demo_key: str | None
    credentials: str | None
    notes: tuple[str, ...] = ()


def render(panel: Panel) -> str:
    """The panel as lines, framed; the line to copy stands outside of the frame, so that nothing clings to it."""
    rows = [f"Citadel Edge {panel.version} · {panel.environment}", ""]
    rows += [f"{name.value:<18} {url}" for name, url in panel.urls.items()]
    rows += _key_rows(panel)
    rows += ["", *panel.notes] if panel.notes else []
    framed = _frame(rows)
    line = curl_line(panel)
    return framed if line is None else f"{framed}\n\nTry it:\n\n{line}\n"


def curl_line(panel: Panel) -> str | None:
    """A command that gets an answer from the model; null without a key or a model."""
    if panel.demo_key is None or panel.model is None:
        return None
    body = f'{{"model": "{panel.model}", "messages": [{{"role": "user", "content": "{_QUESTION}"}}], "max_tokens": 32}}'
    return (
        f"curl -s {panel.urls[ListenerName.ROUTING]}/v1/chat/completions"
        f" -H 'Authorization: Bearer {panel.demo_key}' -H 'Content-Type: application/json' -d '{body}'"
    )


def _key_rows(panel: Panel) -> list[str]:
    rows = []
    if panel.admin_key is not None:
        rows.append(f"{'admin key':<18} {panel.admin_key}")
    if panel.demo_key is not None:
        rows.append(f"{'demo key':<18} {panel.demo_key}")
    if panel.credentials is not None:
        rows.append(f"{'keys are kept in':<18} {panel.credentials}")
    return ["", *rows] if rows else []


def _frame(rows: list[str]) -> str:
    width = max(len(row) for row in rows)
    edge = "─" * (width + 2)
    body = "\n".join(f"│ {row:<{width}} │" for row in rows)
    return f"╭{edge}╮\n{body}\n╰{edge}╯"
