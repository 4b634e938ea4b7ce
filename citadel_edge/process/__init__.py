"""The process: open the edge, start workers, open four doors, control socket, reload, drain."""
