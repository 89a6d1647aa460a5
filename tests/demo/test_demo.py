"""The local page: what it answers, what it refuses, many at a time, and in a real browser."""

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import text_files

from tf_prune_ofa.demo import contest
from tf_prune_ofa.demo.contest import Contest
from tf_prune_ofa.demo.server import LARGEST_REQUEST, DemoServer
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.text_settings import TextSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, content in {
        "one.tflite": text_files.classifier(),
        # The labels the other way round: it never agrees with the first.
        "other.tflite": text_files.classifier(labels=("good", "bad")),
        "sets.tflite": text_files.classifier(settings=TextSettings(thresholds=(0.4,))),
        "strict.tflite": text_files.classifier(settings=TextSettings(thresholds=(0.8,))),
        "span.tflite": text_files.span(),
        "tagger.tflite": text_files.tagger(),
    }.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with DemoServer(Contest([folder / "one.tflite", folder / "other.tflite"])) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def send(server, body=b"", *, method="POST", path="/ask", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def ask(server, **values):
    status, content = send(server, json.dumps(values).encode())
    return status, json.loads(content)


def test_both_files_answer(server):
    status, found = ask(server, text="the film is good", runs=2)
    assert status == 200
    assert [one["says"] for one in found["files"]] == ["good", "bad"]
    assert found["agree"] is False and found["runs"] == 2
    assert all(one["ms"] > 0 for one in found["files"])
    for one in found["files"]:
        assert sum(share for _, share in one["shares"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("rate", "busy"), [(0.1, True), (2.0, False)])
def test_runs_that_were_kept_waiting_are_not_compared(server, monkeypatch, rate, busy):
    """By the clock a run took long, of the processor it had little."""
    monkeypatch.setattr(contest.time, "process_time", lambda: rate * contest.time.perf_counter())
    assert ask(server, text="the film is good", runs=2)[1]["busy"] is busy


def test_a_file_alone_is_compared_with_itself(folder):
    contest = Contest([folder / "one.tflite"])
    assert [one.name for one in contest.contenders] == ["one.tflite"] * 2
    assert contest.ask("the film is good")["agree"] is True


@pytest.mark.parametrize(
    ("name", "text", "second", "says"),
    [
        ("span.tflite", "who wrote the film ?", "by ann in may .", "ann in may"),
        ("tagger.tflite", "by ann .", "", "ann (person)"),
        ("tagger.tflite", "the film", "", "nothing found"),
    ],
)
def test_answers_and_entities(folder, name, text, second, says):
    found = Contest([folder / name]).ask(text, second)
    assert found["files"][0]["says"] == says


def test_sets_of_labels_agree_where_all_labels_do(folder):
    # The likeliest label is the same; 0.5 and 0.73 are their probabilities.
    found = Contest([folder / "sets.tflite", folder / "strict.tflite"]).ask("the film is good")
    assert [one["says"] for one in found["files"]] == ["bad, good", "no label"]
    assert found["agree"] is False


def test_files_of_two_kinds_are_refused(folder):
    with pytest.raises(UserError, match="gives labels, .*gives answers"):
        Contest([folder / "one.tflite", folder / "span.tflite"])
    with pytest.raises(UserError, match="one or two files"):
        Contest([])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no JSON", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[]", 400, "an object"),
        (b'{"text": "a", "file": "/etc/passwd"}', 400, "an object"),
        (b"{}", 400, "some text"),
        (b'{"text": 3}', 400, "some text"),
        (b'{"text": "  "}', 400, "some text"),
        (b'{"text": "a", "runs": 10000}', 400, "1 to 20"),
        (b'{"text": "a", "runs": true}', 400, "1 to 20"),
        (json.dumps({"text": "a" * 20_001}).encode(), 413, "20,000"),
        (b" " * (LARGEST_REQUEST + 1), 413, "bytes"),
    ],
)
def test_what_the_page_would_not_send_is_refused(server, body, status, message):
    found, content = send(server, body)
    assert found == status and message in json.loads(content)["error"]
    assert ask(server, text="good")[0] == 200  # and the next one is answered


def test_other_ways_in_are_refused(server):
    assert send(server, b"{}", path="/other")[0] == 404
    assert send(server, method="GET", path="/../setup.cfg")[0] == 404
    assert send(server, b"{}", Content_Type="text/plain")[0] == 415
    assert send(server, b"{}", Host="evil.example")[0] == 403
    assert send(server, method="DELETE")[0] == 501
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as one:
        host = f"Host: 127.0.0.1:{server.server_port}\r\nContent-Type: application/json\r\n"
        one.sendall(f"POST /ask HTTP/1.1\r\n{host}Content-Length: -5\r\n\r\n".encode())
        assert one.recv(100).startswith(b"HTTP/1.1 411")


def test_odd_texts_are_answered(server):
    for text in ("\0", "\ud800", "🙂" * 50, "<script>alert(1)</script>", "a" * 20_000):
        assert ask(server, text=text, runs=1)[0] == 200


def test_many_at_a_time_are_all_answered(server):
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda _: ask(server, text="good film", runs=1), range(400)))
    assert {status for status, _ in found} == {200}
    assert {one["files"][0]["says"] for _, one in found} == {"good"}


def test_it_listens_on_loopback_and_says_what_it_cannot_have(server, folder):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(UserError, match="choose another --port"):
        DemoServer(server.contest, port=server.server_port)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1280])
def test_in_a_browser(server, open_page, width, scheme):
    page = open_page(server.address, width, scheme)
    page.fill("#text", "the film is good <b>&")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bar")
    assert page.locator(".says").all_text_contents() == ["good", "bad"]
    assert "They differ" in page.text_content("#verdict")
    # Nothing is wider than the screen, and what is pressed is large enough for a thumb.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heights = page.evaluate("[...document.querySelectorAll('button')].map(b => b.offsetHeight)")
    assert all(height == 0 or height >= 44 for height in heights)
    page.fill("#text", "  ")
    page.click("#run")
    assert "Type a text first" in page.text_content("#verdict")
