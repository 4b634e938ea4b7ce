"""Private PostgreSQL, Valkey and llama.cpp as supervised child processes."""
