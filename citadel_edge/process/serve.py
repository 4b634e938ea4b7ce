"""From a loaded configuration to an exit code: signals, the loop."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from citadel_edge.config.load import Loaded
from citadel_edge.control.inherited import inherited_sockets
from citadel_edge.control.notify import Notifier
from citadel_edge.errors import StartError
from citadel_edge.process.run import Signals, Surroundings, run
from citadel_edge.telemetry.logs import Logs


def serve(loaded: Loaded, *, reload: Callable[[], Loaded]) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 0 after a drain.

    Raises:
        StartError: nothing was started, or everything that was is stopped again.
    """
    with Logs.open(loaded.config.logs) as logs:
        log = logs.logger()
        with Notifier.take(os.environ, log=log) as notifier:
            around = Surroundings(logs, sys.stdout, notifier, inherited_sockets(os.environ))
            try:
                asyncio.run(_main(loaded, reload, around))
            except* StartError as failures:
                raise _first(failures) from None
    return 0


async def _main(loaded: Loaded, reload: Callable[[], Loaded], around: Surroundings) -> None:
    signals = Signals()
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()

    def stop() -> None:
        signals.stop.set()
        if running is not None and not signals.serving.is_set():
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, signals.reload.set)
    try:
        await run(loaded, reload=reload, signals=signals, around=around)
    except asyncio.CancelledError:
        if running is None or not signals.stop.is_set():
            raise
        running.uncancel()
        around.logs.logger().info("stopped_while_starting")


def _first(failures: BaseExceptionGroup[StartError]) -> StartError:
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, StartError):
        return error
    raise TypeError("only StartErrors were selected")
