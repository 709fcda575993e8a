"""`himac view`: what it answers, what it refuses, and that it follows the run."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from himac.errors import ConfigError, DataError
from himac.report.server import make_server, version
from himac.store.lock import locked
from support.run_folders import make_run, metric, told, write_lines

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Ask]]:
    servers = []

    def start(root: Path) -> Ask:
        server = make_server(root, 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def ask(path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
            connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        return ask

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_page_of_a_run(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    ask = serve(run)
    status, page = ask("/")
    assert status == 200
    assert f'"version":"{version(run)}"' in page
    assert "connect-src 'self'" in page
    assert json.loads(ask("/state")[1]) == {"version": version(run)}
    assert ask("/", method="HEAD") == (200, "")


def test_it_follows_the_run(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    ask = serve(run)
    before, page = ask("/state"), ask("/")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metric("train", 2, "macro", 300, 0.75)) + "\n")
        file.write('{"kind": "train", "itera')  # a line under way is left out
    assert ask("/state") != before
    assert '"env_steps":[100.0,200.0,300.0]' in ask("/")[1]
    assert '"env_steps":[100.0,200.0,300.0]' not in page[1]


def test_only_this_machine_by_its_own_names(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    ask = serve(make_run(tmp_path / "run"))
    for host in ("evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "[::1]:80"):
        status, text = ask("/", host)
        assert (status, "answers to 127.0.0.1" in text) == (403, True), host
    server = make_server(tmp_path, 0)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


@pytest.mark.parametrize(
    "path",
    [
        "/config.yaml",
        "/../secret",
        "/run/../state",
        "/run/a/../../secret/",
        "/%2e%2e/secret",
        "//etc/passwd",
        "/run//etc/",
    ],
)
def test_there_is_nothing_else(serve: Callable[[Path], Ask], tmp_path: Path, path: str) -> None:
    make_run(tmp_path / "secret")
    make_run(tmp_path / "here" / "a")
    assert serve(tmp_path / "here")(path)[0] == 404
    assert serve(tmp_path / "here" / "a")(path)[0] == 404


def test_a_link_out_of_the_run_is_not_followed(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_lines(tmp_path / "secret.jsonl", [told("secret-task")])
    (run / "eval" / "iteration-000002" / "results.jsonl").unlink()
    (run / "eval" / "iteration-000002" / "results.jsonl").symlink_to(tmp_path / "secret.jsonl")
    ask = serve(run)
    status, page = ask("/")
    assert (status, "secret-task" in page) == (200, False)
    (run / "episodes.jsonl").unlink()
    (run / "episodes.jsonl").symlink_to(tmp_path / "secret.jsonl")
    status, page = ask("/")
    assert (status, "link to a file outside the run" in page, "secret-task" in page) == (500, True, False)


def test_an_index_of_the_runs(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    ask = serve(tmp_path)
    assert "There is no run here yet" in ask("/")[1]
    hostile = make_run(tmp_path / "b" / "<b>&\u202e", gain=0.25)
    make_run(tmp_path / "a")
    for run, wanted in ((tmp_path / "a", 2), (hostile, 9)):
        text = (run / "config.yaml").read_text().replace("train: {learner", f"train: {{iterations: {wanted}, learner")
        (run / "config.yaml").write_text(text)
    with locked(hostile):
        index = ask("/")[1]
    assert "<td>ended</td><td>2 of 2</td><td>200</td><td>50.0 %</td>" in index
    assert "<td>running</td><td>2 of 9</td><td>200</td><td>25.0 %</td>" in index
    assert "b/&lt;b&gt;&amp;\\u202e" in index
    assert '<a href="run/b/%3Cb%3E%26%E2%80%AE/">' in index
    assert "<td>stopped</td><td>2 of 9</td>" in ask("/")[1]
    assert "Success" in ask("/run/b/%3Cb%3E%26%E2%80%AE/")[1]
    assert ask("/run/a/state")[0] == 200


def test_a_damaged_file_is_told(serve: Callable[[Path], Ask], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_lines(run / "metrics.jsonl", [{"iteration": "x"}])
    status, text = serve(run)("/")
    assert (status, "line 1 of" in text) == (500, True)


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        make_server(tmp_path / "nowhere", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="choose another --port"):
            make_server(tmp_path, taken.getsockname()[1])
