"""Citadel Edge: one asyncio process in front of self-hosted model servers."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("citadel-edge")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
