"""Conversations, messages and pictures: what is kept, found, changed and removed, over both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localgpt.errors import InputError
from localgpt.server.store.attachments import UPLOAD_GRACE_S
from localgpt.server.store.opening import Store, open_store
from localgpt.server.store.records import DataSummary, StoredMessage, StoredUsage, branch_of
from localgpt.settings import Settings
from tests.store.conftest import Clock

ME, OTHER = "local", "key_other"
NOTHING = DataSummary(num_conversations=0, num_messages=0, num_attachments=0, num_responses=0, num_bytes=0)


def said(message_id: str, text: str = "Hello", parent: str | None = None, **values: object) -> StoredMessage:
    return StoredMessage(id=message_id, parent_id=parent, role="user", text=text, **values)  # type: ignore[arg-type]


async def test_a_conversation_is_kept_over_a_restart(settings: Settings, clock: Clock) -> None:
    store = await open_store(settings, clock)
    conversation, is_new = await store.conversations.create(ME, "c", "Trip to 北京")
    assert is_new and conversation.title == "Trip to 北京" and conversation.leaf is None
    answer = StoredMessage(
        id="b",
        parent_id="a",
        role="assistant",
        text="Hi 🙂",
        notices=("a notice",),
        finish_reason="error",
        error="it broke",
        model="local/multimodal-base",
        usage=StoredUsage(prompt_tokens=3, completion_tokens=5),
    )
    await store.conversations.add(ME, "c", said("a"))
    await store.conversations.add(ME, "c", answer)
    await store.close()

    store = await open_store(settings, clock)
    kept = await store.conversations.get(ME, "c")
    assert kept is not None and (kept.num_messages, kept.leaf, kept.title) == (2, "b", "Trip to 北京")
    first, second = await store.conversations.messages(ME, "c")
    assert first.text == "Hello" and first.usage is None
    assert second == StoredMessage(**{**_fields(answer), "created_at": second.created_at})
    await store.close()


def _fields(message: StoredMessage) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__slots__}


async def test_the_same_id_again_changes_nothing(store: Store) -> None:
    await store.conversations.create(ME, "c", "first")
    again, is_new = await store.conversations.create(ME, "c", "second")
    assert (again.title, is_new) == ("first", False)
    await store.conversations.add(ME, "c", said("a", "one"))
    stored = await store.conversations.add(ME, "c", said("a", "two"))
    assert stored is not None and (stored[0].text, stored[1]) == ("one", False)
    kept = await store.conversations.get(ME, "c")
    assert kept is not None and kept.num_messages == 1


async def test_messages_form_a_tree(store: Store) -> None:
    await store.conversations.create(ME, "c")
    for message_id, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "b"), ("e", None)):
        await store.conversations.add(ME, "c", said(message_id, parent=parent))
    branch = branch_of(await store.conversations.messages(ME, "c"), "d")
    assert [message.id for message in branch] == ["a", "b", "d"]
    assert branch_of(branch, "x") == branch_of(branch, None) == []
    shown = await store.conversations.change(ME, "c", leaf="c")
    assert shown is not None and shown.leaf == "c"
    with pytest.raises(InputError, match="no such message") as refused:
        await store.conversations.change(ME, "c", leaf="x")
    assert refused.value.param == "leaf"
    with pytest.raises(InputError) as refused:
        await store.conversations.add(ME, "c", said("f", parent="x"))
    assert refused.value.param == "parent_id"


async def test_the_first_words_are_the_title_until_there_is_one(store: Store) -> None:
    await store.conversations.create(ME, "c")
    await store.conversations.add(ME, "c", said("a", "  What is\n" + "a very " * 20 + "long question?"))
    named = await store.conversations.get(ME, "c")
    assert named is not None and named.title.startswith("What is a very") and len(named.title) <= 60
    renamed = await store.conversations.change(ME, "c", title="Mine")
    assert renamed is not None and renamed.title == "Mine"
    await store.conversations.add(ME, "c", said("b", "More", "a"))
    kept = await store.conversations.get(ME, "c")
    assert kept is not None and kept.title == "Mine"


async def test_newest_first_in_pages(store: Store) -> None:
    for index in range(7):
        await store.conversations.create(ME, f"c{index}", f"number {index}")
    await store.conversations.create(OTHER, "theirs", "number 99")
    await store.conversations.add(ME, "c2", said("a"))
    seen, before = [], None
    for _ in range(3):
        page = await store.conversations.find(ME, limit=3, before=before)
        seen += [one.id for one in page.conversations]
        before = page.next
    assert seen == ["c2", "c6", "c5", "c4", "c3", "c1", "c0"] and before is None
    with pytest.raises(InputError, match="cursor"):
        await store.conversations.find(ME, before="nonsense")


async def test_search_reads_titles_and_texts(store: Store) -> None:
    for index in range(60):
        await store.conversations.create(ME, f"c{index:02}", f"title {index}")
    await store.conversations.add(ME, "c03", said("a", "Über den Straßenbau"))
    await store.conversations.create(OTHER, "c03", "straße")

    async def found(query: str, limit: int = 50) -> list[str]:
        page = await store.conversations.find(ME, query=query, limit=limit)
        return [one.id for one in page.conversations]

    assert await found("STRASSE") == ["c03"]
    assert await found("TITLE 7") == ["c07"]
    assert await found("nothing") == []
    first = await store.conversations.find(ME, query="title", limit=55)
    rest = await store.conversations.find(ME, query="title", limit=55, before=first.next)
    assert (len(first.conversations), len(rest.conversations), rest.next) == (55, 5, None)


async def test_owners_see_nothing_of_each_other(store: Store) -> None:
    await store.conversations.create(ME, "c", "mine")
    await store.conversations.add(ME, "c", said("a"))
    ref = await store.attachments.put(ME, b"picture", "image/png")
    assert await store.conversations.get(OTHER, "c") is None
    assert await store.conversations.messages(OTHER, "c") == []
    assert await store.conversations.change(OTHER, "c", title="x") is None
    assert await store.conversations.add(OTHER, "c", said("b")) is None
    assert not await store.conversations.delete(OTHER, "c")
    assert await store.attachments.get(OTHER, ref.id) is None
    await store.conversations.create(OTHER, "c", "theirs")  # an id says nothing about other owners' ids
    with pytest.raises(InputError, match="no attachment"):
        await store.conversations.add(OTHER, "c", said("a"), [ref.id])
    assert await store.conversations.delete_all(OTHER) == 1
    kept = await store.conversations.get(ME, "c")
    assert kept is not None and kept.title == "mine"


async def test_pictures_are_stored_once_and_go_with_their_last_message(store: Store) -> None:
    first = await store.attachments.put(ME, b"picture", "image/png", "a.png")
    again = await store.attachments.put(ME, b"picture", "image/png", "b.png")
    assert first.id == again.id and len(first.id) == 64
    for name in ("c", "d"):
        await store.conversations.create(ME, name)
        stored = await store.conversations.add(ME, name, said("a"), [first.id, first.id])
        assert stored is not None and [ref.name for ref in stored[0].attachments] == ["b.png"]
    assert (await store.summary(ME)).num_attachments == 1
    await store.conversations.delete(ME, "c")
    found = await store.attachments.get(ME, first.id)
    assert found is not None and (found.data, found.media_type) == (b"picture", "image/png")
    await store.conversations.delete(ME, "d")
    assert await store.attachments.get(ME, first.id) is None
    assert await store.summary(ME) == NOTHING


async def test_deleting_leaves_the_pictures_of_unsent_messages(store: Store) -> None:
    unsent = await store.attachments.put(ME, b"unsent", "image/png")
    sent = await store.attachments.put(ME, b"sent", "image/png")
    for name in ("c", "d"):
        await store.conversations.create(ME, name)
        await store.conversations.add(ME, name, said("a"), [sent.id])
    await store.conversations.delete(ME, "c")
    assert await store.conversations.delete_all(ME) == 1
    assert await store.attachments.get(ME, sent.id) is None
    assert await store.attachments.get(ME, unsent.id) is not None


async def test_uploads_nobody_used_go_after_a_day(store: Store, clock: Clock) -> None:
    used = await store.attachments.put(ME, b"used", "image/png")
    unused = await store.attachments.put(ME, b"unused", "image/png")
    await store.conversations.create(ME, "c")
    await store.conversations.add(ME, "c", said("a"), [used.id])
    await store.tidy()
    assert await store.attachments.get(ME, unused.id) is not None
    clock.now += UPLOAD_GRACE_S
    await store.tidy()
    assert await store.attachments.get(ME, unused.id) is None
    assert await store.attachments.get(ME, used.id) is not None


async def test_retention_removes_what_is_older(settings: Settings, clock: Clock) -> None:
    store = await open_store(settings.model_copy(update={"retention_days": 30}), clock)
    await store.conversations.create(ME, "old")
    await store.responses.put(ME, "old", b"payload")
    clock.now += 29 * 86400
    await store.conversations.create(ME, "new")
    await store.tidy()
    assert await store.conversations.get(ME, "old") is not None
    clock.now += 2 * 86400
    await store.tidy()
    assert await store.conversations.get(ME, "old") is None and await store.responses.get(ME, "old") is None
    assert await store.conversations.get(ME, "new") is not None
    await store.close()


async def test_a_conversation_is_read_as_it_was_at_one_moment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.conversations.create(ME, "c")
    await store.conversations.add(ME, "c", said("a"))
    rows, load = store.conversations._rows, store.conversations._rows.load

    async def load_late(*args: Any) -> list[StoredMessage]:
        monkeypatch.setattr(rows, "load", load)
        await store.conversations.add(ME, "c", said("b", parent="a"))
        return await load(*args)

    monkeypatch.setattr(rows, "load", load_late)
    whole = await store.conversations.whole(ME, "c")
    assert whole is not None and whole[0].leaf == whole[1][-1].id == "a"
    again = await store.conversations.whole(ME, "c")
    assert again is not None and again[0].leaf == again[1][-1].id == "b"
    assert await store.conversations.whole(OTHER, "c") is None


async def test_kept_responses_go_after_a_month_at_the_latest(settings: Settings, clock: Clock) -> None:
    for days, retention_days in ((30, None), (7, 7), (30, 90)):
        store = await open_store(settings.model_copy(update={"retention_days": retention_days}), clock)
        await store.responses.put(ME, "resp_1", b"payload")
        clock.now += (days - 1) * 86400
        await store.tidy()
        assert await store.responses.get(ME, "resp_1") is not None
        clock.now += 86400
        await store.tidy()
        assert await store.responses.get(ME, "resp_1") is None
        await store.close()


async def test_many_at_once(store: Store) -> None:
    await store.conversations.create(ME, "c")
    await asyncio.gather(*(store.conversations.add(ME, "c", said(f"m{index}")) for index in range(30)))
    kept = await store.conversations.get(ME, "c")
    assert kept is not None and kept.num_messages == 30
    assert len(await store.conversations.messages(ME, "c")) == 30


async def test_a_caller_who_is_cancelled_leaves_no_half_message(store: Store) -> None:
    await store.conversations.create(ME, "c")
    writing = asyncio.ensure_future(store.conversations.add(ME, "c", said("a")))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.conversations.add(ME, "c", said("b"))  # waits for its turn, so the first has ended
    kept = await store.conversations.get(ME, "c")
    assert kept is not None
    assert kept.num_messages == len(await store.conversations.messages(ME, "c"))


async def test_settings_are_each_owners_own(store: Store) -> None:
    await store.preferences.change(ME, theme="dark", system_prompt="Be kind.")
    chosen = await store.preferences.change(ME, theme=None, temperature=0.5)
    assert (chosen.theme, chosen.temperature, chosen.system_prompt) == (None, 0.5, "Be kind.")
    assert await store.preferences.get(ME) == chosen
    assert (await store.preferences.get(OTHER)).system_prompt == ""


async def test_kept_responses(store: Store) -> None:
    await store.responses.put(ME, "resp_1", b"one")
    await store.responses.put(ME, "resp_1", b"two")
    assert await store.responses.get(ME, "resp_1") == b"two"
    assert await store.responses.get(OTHER, "resp_1") is None
    assert not await store.responses.delete(OTHER, "resp_1")
    for bad in ("\x00", "\ud800", "响应"):
        assert await store.responses.get(ME, bad) is None and not await store.responses.delete(ME, bad)
    assert await store.responses.delete(ME, "resp_1")
    assert await store.responses.get(ME, "resp_1") is None


async def test_forgetting_an_owner_leaves_the_others(store: Store) -> None:
    for owner in (ME, OTHER):
        await store.conversations.create(owner, "c")
        await store.attachments.put(owner, b"unused", "image/png")
        await store.preferences.change(owner, system_prompt="Be kind.")
        await store.responses.put(owner, "resp_1", b"payload")
    forgotten = await store.forget(OTHER, with_settings=True)
    assert (forgotten.num_conversations, forgotten.num_attachments, forgotten.num_responses) == (1, 1, 1)
    assert await store.summary(OTHER) == NOTHING and await store.responses.get(OTHER, "resp_1") is None
    assert (await store.preferences.get(OTHER)).system_prompt == ""
    assert (await store.summary(ME)).num_attachments == 1
    assert await store.responses.get(ME, "resp_1") == b"payload"
