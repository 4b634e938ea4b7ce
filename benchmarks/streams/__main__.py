"""`python -m benchmarks.streams COMMAND`: what streams and their readers cost, and what they do to each other."""

import argparse
import asyncio

from benchmarks.streams import commands


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_commands(known)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    asyncio.run(options.run(options))
