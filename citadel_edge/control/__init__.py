"""How the process is steered from outside: operators by a socket, the service manager by its own protocol."""
