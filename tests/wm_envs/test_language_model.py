import json

import numpy as np
import pytest

from tests.support.misbehaving_server import completion, serving
from wm_envs.debate.language_relevance import LanguageModelRelevance
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.errors import LanguageModelError, OptionError
from wm_envs.language_model import LanguageModelClient, parse_json


def client(url, **options):
    return LanguageModelClient(url, "small", **{"timeout": 5.0, "backoff": 0.001, **options})


def accept(answer):
    if answer != {"ok": True}:
        raise ValueError("not ok")
    return "accepted"


GOOD = (200, completion({"ok": True}))
FAILURES = {
    "rate limit": (429, "slow down"),
    "server error": (500, "oops"),
    "bad gateway": (502, ""),
    "no JSON": (200, "<html>"),
    "no completion": (200, '{"choices": []}'),
    "no text": (200, '{"choices": [{"message": {"content": null}}]}'),
    "malformed content": (200, completion("{ok: true")),
    "wrong content": (200, completion({"ok": False})),
    "NaN": (200, completion('{"ok": NaN}')),
    "twice the key": (200, completion('{"ok": false, "ok": true}')),
    "deep": (200, completion("[" * 50_000)),
    "dropped": (200, ("drop", 0, "")),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_fails_once_is_asked_again(failure):
    with serving(failure, GOOD) as (url, requests):
        assert client(url).ask("be exact", "well?", accept) == "accepted"
    assert len(requests) == 2
    assert requests[0]["path"] == "/v1/chat/completions"
    assert [message["content"] for message in requests[0]["messages"]] == ["be exact", "well?"]


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_keeps_failing_is_one_clear_error(failure):
    with (
        serving(failure) as (url, requests),
        pytest.raises(LanguageModelError, match="no usable answer in 3 tries") as e,
    ):
        client(url, max_tries=3).ask("", "", accept)
    assert url in str(e.value)
    assert len(requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_final(status):
    message = f"HTTP {status}.*Check url, model and key"
    with (
        serving((status, "no")) as (url, requests),
        pytest.raises(LanguageModelError, match=message),
    ):
        client(url).ask("", "", accept)
    assert len(requests) == 1


@pytest.mark.parametrize(
    "manner", [("slow", 1.0, GOOD[1]), ("trickle", 0.05, GOOD[1])], ids=["slow", "trickle"]
)
def test_a_slow_server_is_given_up(manner):
    with serving((200, manner), GOOD) as (url, requests):
        assert client(url, timeout=0.3).ask("", "", accept) == "accepted"
    assert len(requests) == 2


def test_a_dead_endpoint_is_an_error_that_names_it():
    with serving(GOOD) as (url, _):
        pass
    with pytest.raises(LanguageModelError, match=r"not reachable.*Is the endpoint up"):
        client(url, max_tries=2).ask("", "", accept)


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr("wm_envs.language_model.MAX_ANSWER_BYTES", 1000)
    with serving((200, "x" * 100_000), GOOD) as (url, _):
        assert client(url).ask("", "", accept) == "accepted"


def test_the_key_is_sent_and_not_shown():
    with serving(GOOD) as (url, requests):
        keyed = client(url, api_key="secret")
        keyed.ask("", "", accept)
    assert requests[0]["key"] == "Bearer secret"
    assert "secret" not in repr(keyed)


def test_waits_double_and_are_capped():
    patient = LanguageModelClient("http://localhost", "m", backoff=1.0, max_wait=5.0)
    waits = [patient._wait_seconds(number, 0.0) for number in range(4)]
    assert all(2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits[:2]))
    assert waits[3] == 5.0
    assert patient._wait_seconds(0, 4.0) == 4.0
    assert patient._wait_seconds(0, 400.0) == 5.0


def test_fenced_json_is_json():
    assert parse_json('```json\n{"a": 1}\n```') == {"a": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://x"},
        {"model": ""},
        {"max_tries": 0},
        {"timeout": -1},
        {"backoff": float("nan")},
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(OptionError):
        LanguageModelClient(**{"url": "http://x", "model": "m", **options})


# Relevance


def judge(request):
    """Relevance 0.9 for the tendency that a text names and 0.1 for the others."""
    question = json.loads(request["messages"][1]["content"])
    scores = {
        row["id"]: {t: 0.9 if t in row["text"] else 0.1 for t in TENDENCIES} for row in question
    }
    return 200, completion(scores)


TEXTS = [f"{TENDENCIES[i % 7]} number {i}" for i in range(45)]


def altered(change):
    def answer(request):
        status, body = judge(request)
        scores = json.loads(json.loads(body)["choices"][0]["message"]["content"])
        change(scores)
        return status, completion(scores)

    return answer


def test_batches_of_twenty():
    with serving(judge) as (url, requests):
        scorer = LanguageModelRelevance(client(url))
        scores = scorer.score(TEXTS)
        again = scorer.score(TEXTS[::-1])
    assert [len(json.loads(request["messages"][1]["content"])) for request in requests] == [
        20,
        20,
        5,
    ]
    assert scores.argmax(axis=1).tolist() == [i % 7 for i in range(45)]
    np.testing.assert_array_equal(again, scores[::-1])


LIES = {
    "wrong id": lambda scores: scores.update(o99=scores.pop("o0")),
    "one too many": lambda scores: scores.update(o99=scores["o0"]),
    "one missing": lambda scores: scores.pop("o3"),
    "tendency missing": lambda scores: scores["o1"].pop("status"),
    "tendency unknown": lambda scores: scores["o1"].update(hunger=0.5),
    "above one": lambda scores: scores["o1"].update(status=1.5),
    "truth value": lambda scores: scores["o1"].update(status=True),
    "text": lambda scores: scores["o1"].update(status="0.5"),
    "null": lambda scores: scores.update(o2=None),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_never_a_score(lie):
    with serving(altered(lie), judge) as (url, requests):
        assert LanguageModelRelevance(client(url)).score(TEXTS[:5]).max() == 0.9
    assert len(requests) == 2
    with serving(altered(lie)) as (url, _), pytest.raises(LanguageModelError):
        LanguageModelRelevance(client(url, max_tries=2)).score(TEXTS[:5])


def test_a_failed_batch_raises_and_only_it_is_asked_again():
    with serving(judge, (500, ""), (500, ""), judge) as (url, requests):
        scorer = LanguageModelRelevance(client(url, max_tries=2))
        with pytest.raises(LanguageModelError):
            scorer.score(TEXTS)
        assert scorer.score(TEXTS).shape == (45, 7)
    assert len(requests) == 5  # 20, twice refused, 20, 5


def test_batch_sizes_are_checked():
    with pytest.raises(OptionError):
        LanguageModelRelevance(client("http://x"), batch_size=0)
