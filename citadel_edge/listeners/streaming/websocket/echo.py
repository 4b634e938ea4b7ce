"""`GET /v1/ws/echo`: every message back, unchanged. For suites that test whether a WebSocket keeps to RFC 6455."""

from aiohttp import WSMsgType, web

from citadel_edge.listeners.common.websocket.closing import answer_close

MAX_ECHO_BYTES = 32 * 2**20


async def echo(request: web.Request) -> web.StreamResponse:
    """Text for text, bytes for bytes, until the client closes."""
    socket = web.WebSocketResponse(max_msg_size=MAX_ECHO_BYTES, compress=True, autoclose=False)
    await socket.prepare(request)
    while True:
        message = await socket.receive()
        match message.type:
            case WSMsgType.TEXT:
                await socket.send_str(message.data)
            case WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            case WSMsgType.CLOSE:
                await answer_close(socket, message.data)
                return socket
            case _:
                return socket
