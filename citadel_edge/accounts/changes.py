"""Every change of accounts in one place, for the doors: `edge.changes.create_user(new, by=actor)`.

Decides nothing itself: each change stands with its subject. A change is one transaction with its line in the audit
trail; the caller carries it to its end, and a client that leaves does not undo it.
"""

from citadel_edge.accounts import api_keys, once, organisations, quotas, tiers, top_ups, users
from citadel_edge.accounts.desk import Desk


class Changes(Desk):
    """The subjects' functions as methods: their first parameter is the desk."""

    create_organisation = organisations.create_organisation
    update_organisation = organisations.update_organisation
    delete_organisation = organisations.delete_organisation
    create_tier = tiers.create_tier
    update_tier = tiers.update_tier
    delete_tier = tiers.delete_tier
    create_user = users.create_user
    update_user = users.update_user
    delete_user = users.delete_user
    create_key = api_keys.create_key
    rotate_key = api_keys.rotate_key
    revoke_key = api_keys.revoke_key
    set_overrides = quotas.set_overrides
    create_top_up = top_ups.create_top_up
    delete_top_up = top_ups.delete_top_up
    once = once.once
