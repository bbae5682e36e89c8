"""A device downloads by a signed link, and by no other."""

from __future__ import annotations

import pytest

from tests.controller.api.served import Served, artifact
from wainwright_controller.links import BadLink, Links
from wainwright_controller.store import Store

NOW = 1_800_000_000.0


def test_a_link_fetches_its_artifact_without_a_token_and_continues_where_it_broke_off(served: Served) -> None:
    blob = artifact("linked-1")
    about = served.upload(blob).json()
    uri, expires = served.controller.links.make(served.url, about["id"], served.controller.context.clock())
    path = uri.removeprefix(served.url)
    assert served.call("GET", path).content == blob
    rest = served.call("GET", path, headers={"Range": "bytes=100-", "If-Range": f'"{about["sha256"]}"'})
    assert (rest.status_code, rest.content) == (206, blob[100:])
    assert expires.tzinfo is not None


def test_a_forged_link_and_an_expired_one_are_refused(served: Served) -> None:
    links, clock = served.controller.links, served.controller.context.clock
    about = served.release("linked-2")
    other = served.release("linked-3")
    uri, _ = links.make("", about["id"], clock())
    old, _ = links.make("", about["id"], clock() - 100 * 86_400)
    rows = [
        (uri.replace(about["id"], other["id"]), "link-invalid"),
        (uri.replace("expires=", "expires=1"), "link-invalid"),
        (uri[:-1] + ("0" if uri[-1] != "0" else "1"), "link-invalid"),
        (uri.split("signature=")[0] + "signature=%C3%A9", "link-invalid"),
        (old, "link-expired"),
        (old.replace("expires=", "expires=9"), "link-invalid"),
    ]
    for path, code in rows:
        answer = served.call("GET", path)
        assert (path, answer.status_code, answer.json()["code"]) == (path, 403, code)
    assert served.call("GET", uri.partition("&")[0]).status_code == 422


def test_a_link_is_valid_up_to_its_time_and_not_longer() -> None:
    links = Links(bytes(32), lifetime_s=60)
    uri, expires = links.make("http://controller/", "a1", NOW)
    assert uri.startswith("http://controller/download/a1?expires=1800000060&signature=")
    assert expires.timestamp() == NOW + 60
    signature = uri.rpartition("=")[2]
    links.check("a1", int(NOW) + 60, signature, NOW + 59.9)
    with pytest.raises(BadLink, match="expired"):
        links.check("a1", int(NOW) + 60, signature, NOW + 60)
    with pytest.raises(BadLink, match="not made by this controller"):
        Links(b"k" * 32).check("a1", int(NOW) + 60, signature, NOW)


def test_the_key_outlives_the_controller(store: Store, store_url: str) -> None:
    uri, _ = Links.of_store(store).make("", "a1", NOW)
    reopened = Store(store_url)
    assert Links.of_store(reopened).make("", "a1", NOW)[0] == uri
    reopened.close()
