"""Every read of accounts in one place, for the doors: `reads.get_user(edge.postgres, user_id)`.

Decides nothing itself: each read stands with its subject. Lists are pages that follow a key, at most 200 rows long.
"""

from citadel_edge.accounts.api_keys import find_key, first_keys, get_key, list_keys
from citadel_edge.accounts.audit import get_entry, list_audit
from citadel_edge.accounts.organisations import get_organisation, get_organisations, list_organisations
from citadel_edge.accounts.pages import Page, PageRequest
from citadel_edge.accounts.quotas import get_quota
from citadel_edge.accounts.tiers import get_tier, get_tiers, list_tiers
from citadel_edge.accounts.top_ups import counting_top_ups, get_top_up, list_top_ups
from citadel_edge.accounts.users import get_user, get_users, list_users

__all__ = [
    "Page",
    "PageRequest",
    "counting_top_ups",
    "find_key",
    "first_keys",
    "get_entry",
    "get_key",
    "get_organisation",
    "get_organisations",
    "get_quota",
    "get_tier",
    "get_tiers",
    "get_top_up",
    "get_user",
    "get_users",
    "list_audit",
    "list_keys",
    "list_organisations",
    "list_tiers",
    "list_top_ups",
    "list_users",
]
