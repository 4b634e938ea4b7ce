"""How each engine speaks, a file each. Pure: requests, values and bytes."""
