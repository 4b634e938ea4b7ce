"""Framing and shapes that both sides of the edge speak. Pure: no sockets, no clock."""
