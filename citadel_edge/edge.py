"""The edge: every part of the running product, put together once from a configuration. The one composition root.

Tests build it with their own parts; doors get it by `EDGE`. Refuses to know of sockets that listen, of signals and of
child processes: those are the process's.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.health.board import Board
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub

T = TypeVar("T")
