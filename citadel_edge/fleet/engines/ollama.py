"""Ollama. 503 past its queue."""

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.engines.dialect import Dialect, FactPage, Resumes
from citadel_edge.fleet.engines.facts import Facts, count, entries, loads, member


def read_loaded(page: bytes) -> Facts:
    """The models in memory. A name without a tag means the tag `latest`."""
    contexts: dict[str, int] = {}
    for model in entries(member(loads(page), "models")):
        name, tokens = member(model, "name"), count(member(model, "context_length"))
        if isinstance(name, str) and tokens:
            contexts[name] = contexts[name.removesuffix(":latest")] = tokens
    return Facts(contexts=contexts)


OLLAMA = Dialect(
    engine=Engine.OLLAMA,
    probe_path="/api/version",
    resumes=Resumes.UNSURE,
    resumes_raw=Resumes.UNSURE,  # it puts a template around the prompt
    keeps_end=False,
    slots=1,  # its default of OLLAMA_NUM_PARALLEL, which it does not tell
    facts=(FactPage("/api/ps", read_loaded),),
)
