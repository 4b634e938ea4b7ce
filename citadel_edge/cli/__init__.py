"""The command line, citadel-edge."""
