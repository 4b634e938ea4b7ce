"""The program of one embedded replica: llama.cpp's own HTTP server on loopback, out of the wheel `xllamacpp`.

Run as a script, not imported by the edge: `python -P llama_server.py --model FILE --port N …`. It serves completions,
chat and embeddings of one model, `/health`, `/slots` and `/metrics`. The chat template is for a base model: questions
and answers, where an answer's text stands exactly where generation starts, so that a trailing assistant message is
continued without a seam. An embedding's input is at most 512 tokens: this build computes logits for each of them, 2 MB
a token, and a wider batch would take gigabytes.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import xllamacpp

# "Answer:" has no space of its own: the model's next token owns it, and so does a given beginning of an answer.
TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{%- if loop.last -%}
{{ 'Answer:' + message.content }}
{%- else -%}
{{ 'Answer: ' + message.content | trim + '\\n\\n' }}
{%- endif -%}
{%- elif message.role == 'user' -%}
{{ 'Question: ' + message.content | trim + '\\n' }}
{%- else -%}
{{ message.content | trim + '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'Answer:' }}
{%- endif -%}
"""
# A base model goes on with the next question by itself; there its answer has ended.
STOPS = ("\n\nQuestion:", "\nQuestion:", "\n\nAnswer:", "\nAnswer:")
VERBOSITY_WARNINGS = 2
PROMPT_CACHE_MB = 64
CHECKPOINTS = 4
COURTESY = 5


def main(arguments: Sequence[str]) -> None:
    """Serve until killed."""
    options = _options(arguments)
    with suppress(PermissionError):  # a sandbox may forbid it
        os.nice(COURTESY)  # the edge's loop comes first on a small machine
    server = xllamacpp.Server(_parameters(options))
    sys.stderr.write(f"listening on {server.listening_address}\n")
    while True:
        signal.pause()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="one llama.cpp server on loopback")
    parser.add_argument("--model", required=True, help="the model's file (GGUF)")
    parser.add_argument("--alias", required=True, help="the name it answers to")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--slots", required=True, type=int, help="requests served at once")
    parser.add_argument("--context-tokens", required=True, type=int, help="per slot")
    parser.add_argument("--threads", required=True, type=int)
    return parser.parse_args(arguments)


def _parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.reuse_port = True  # the edge holds the port bound, so that nobody takes it between two lives
    parameters.cors_origins = ""  # a loopback port is no place for web pages
    parameters.ui = False
    parameters.endpoint_metrics = True
    parameters.use_jinja = True
    parameters.chat_template = TEMPLATE
    parameters.antiprompt = list(STOPS)
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.verbosity = VERBOSITY_WARNINGS
    _size(parameters, options)
    return parameters


def _size(parameters: xllamacpp.CommonParams, options: argparse.Namespace) -> None:
    """What it may use: the defaults would keep 8 GiB of old prompts and probe the machine for a second."""
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context_tokens * options.slots
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.fit_params = False
    parameters.cache_ram_mib = PROMPT_CACHE_MB
    parameters.n_ctx_checkpoints = CHECKPOINTS


if __name__ == "__main__":
    main(sys.argv[1:])
