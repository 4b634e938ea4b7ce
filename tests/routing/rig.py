"""A fleet to choose from."""

from citadel_edge.config.shape import Config, DeploymentConfig, ModelConfig, UpstreamConfig
from citadel_edge.fleet.table import Deployment, Row, Table, Verdict

NOW = 1000.0


def half() -> float:
    return 0.5


def fleet(*weights: float) -> Table:
    names = [f"u{index}" for index in range(len(weights))]
    config = Config(
        upstreams=tuple(UpstreamConfig(id=name, url=f"http://127.0.0.1:1/{name}") for name in names),
        models=(
            ModelConfig(
                name="m",
                deployments=tuple(
                    DeploymentConfig(upstream=name, weight=weight) for name, weight in zip(names, weights, strict=True)
                ),
            ),
        ),
    )
    table = Table(config)
    for row in table.rows.values():
        table.probe_succeeded(row, "ok")
    return table


def place(table: Table, row: Row) -> Deployment:
    return next(one for one in table.deployments("m") if one.row is row)


def open_breaker(table: Table, row: Row) -> None:
    for _ in range(5):
        table.give_back(table.take(place(table, row), now=NOW), Verdict.FAULT, now=NOW, rng=half)
