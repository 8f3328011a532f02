"""Networks that OpenVINO has compiled once in a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.engines import compiled as module
from pipeline.engines.compiled import compiled


class Model:
    released = 0

    def release_memory(self) -> None:
        self.released += 1


class User:
    pass


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "_entries", type(module._entries)())
    yield


def test_what_is_asked_for_twice_is_made_once() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(Model())
        return made[-1]

    users = [User(), User(), User()]
    assert compiled(users[0], "a", make) is compiled(users[1], "a", make)
    assert compiled(users[2], "b", make) is made[1]
    assert len(made) == 2


def test_activations_go_with_the_last_user() -> None:
    model: Any = Model()
    one, two = User(), User()
    for user in (one, two):
        compiled(user, "a", lambda: model)
    del one
    gc.collect()
    assert model.released == 0
    del two, user
    gc.collect()
    assert model.released == 1
    assert compiled(User(), "a", lambda: pytest.fail("it is kept")) is model


def test_few_are_kept() -> None:
    user = User()
    for number in range(2 * module._KEPT):
        compiled(user, number, Model)  # type: ignore[arg-type]
    assert list(module._entries) == list(range(module._KEPT, 2 * module._KEPT))


def test_a_user_may_be_collected_while_another_compiles() -> None:
    old = User()
    compiled(old, "old", Model)  # type: ignore[arg-type]
    users = [old]
    del old

    def make() -> Any:
        users.clear()
        return Model()

    assert compiled(User(), "new", make) is not None
