"""Numbered SQL files, applied once each, in order, under an advisory lock."""
