import pytest

from citadel_edge.accounts import reads
from citadel_edge.accounts.organisations import NewOrganisation
from citadel_edge.accounts.reads import PageRequest
from citadel_edge.accounts.users import NewUser, UserFilter
from citadel_edge.config.shape import TierConfig
from citadel_edge.errors import Code, RequestError


async def test_pages_give_each_row_once_in_order_while_rows_come_and_go(instance, by):
    users = [await instance.changes.create_user(NewUser(name=f"u{n}", tier="unlimited"), by=by) for n in range(7)]
    first = await reads.list_users(instance.postgres, PageRequest(limit=3))
    await instance.changes.delete_user(users[1].id, by=by)
    await instance.changes.delete_user(users[4].id, by=by)
    late = await instance.changes.create_user(NewUser(name="late", tier="unlimited"), by=by)
    names = [user.name for user in first.data]
    cursor = first.next
    while cursor is not None:
        page = await reads.list_users(instance.postgres, PageRequest(limit=3, after=cursor))
        names += [user.name for user in page.data]
        cursor = page.next
    assert names == ["u0", "u1", "u2", "u3", "u5", "u6", late.name]


async def test_a_last_page_that_is_full_has_no_next(instance, by):
    for number in range(2):
        await instance.changes.create_user(NewUser(name=f"u{number}", tier="unlimited"), by=by)
    page = await reads.list_users(instance.postgres, PageRequest(limit=2))
    assert (len(page.data), page.next) == (2, None)


async def test_lists_are_narrowed(instance, by):
    await instance.changes.create_tier(TierConfig(name="gold"), by=by)
    acme = await instance.changes.create_organisation(NewOrganisation(name="acme"), by=by)
    await instance.changes.create_user(NewUser(name="ada", tier="gold"), by=by)
    await instance.changes.create_user(NewUser(name="bob", tier="unlimited", organisation=acme.id), by=by)
    of_acme = await reads.list_users(instance.postgres, PageRequest(), UserFilter(organisation=acme.id))
    golden = await reads.list_users(instance.postgres, PageRequest(), UserFilter(tier="gold"))
    assert [user.name for user in of_acme.data] == ["bob"]
    assert [user.name for user in golden.data] == ["ada"]


async def test_everything_has_its_list(instance):
    user, made = await instance.user_with_key()
    assert [tier.name for tier in (await reads.list_tiers(instance.postgres, PageRequest())).data] == [
        "free",
        "pro",
        "unlimited",
    ]
    organisations = (await reads.list_organisations(instance.postgres, PageRequest())).data
    assert [organisation.name for organisation in organisations] == ["default"]
    assert [key.id for key in (await reads.list_keys(instance.postgres, user.id, PageRequest())).data] == [made.key.id]


async def test_the_trail_is_read_backwards_in_pages(instance):
    await instance.user_with_key()
    whole = (await reads.list_audit(instance.postgres, PageRequest(limit=200))).data
    first = await reads.list_audit(instance.postgres, PageRequest(limit=2))
    second = await reads.list_audit(instance.postgres, PageRequest(limit=200, after=first.next))
    assert first.data + second.data == whole
    assert [entry.id for entry in whole] == sorted((entry.id for entry in whole), reverse=True)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_is_bounded(limit):
    with pytest.raises(RequestError) as caught:
        PageRequest(limit=limit)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "limit")


@pytest.mark.parametrize("cursor", ["%%%", "é", "=", "a" * 5000, "AAAA", "", "a\n"])
def test_a_made_up_cursor_is_refused(cursor):
    with pytest.raises(RequestError) as caught:
        _ = PageRequest(after=cursor).key
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "after")


async def test_a_cursor_of_another_list_is_refused_by_the_trail(instance, by):
    for name in ("a", "b"):
        await instance.changes.create_tier(TierConfig(name=name), by=by)
    cursor = (await reads.list_tiers(instance.postgres, PageRequest(limit=1))).next
    with pytest.raises(RequestError) as caught:
        await reads.list_audit(instance.postgres, PageRequest(after=cursor))
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "after")
