"""The command line: parse, call one room, print, answer an exit code.

Exit codes: 0 all is well, 1 something is down or cannot be started, 2 the configuration or the command is wrong.
"""
