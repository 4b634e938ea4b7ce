"""`python -m benchmarks.limits COMMAND`: what limits cost, and what becomes of them while Redis is away."""

import argparse
import asyncio

from benchmarks.limits import commands, script


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_commands(known)
    script.add_commands(known)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    asyncio.run(options.run(options))
