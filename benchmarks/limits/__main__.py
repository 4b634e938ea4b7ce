"""`python -m benchmarks.limits COMMAND`: what limits cost, and what becomes of them while Redis is away."""

import argparse
import asyncio

from benchmarks.limits import over_http


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    over_http.add_commands(commands)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    asyncio.run(options.run(options))
