"""The files of `deploy/` against the program: without Docker, all that can be held of them."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from xfm.cli import index as index_command
from xfm.cli import serve as serve_command
from xfm.config.options import parse_options
from xfm.config.serving import ServeConfig
from xfm.search.trusted_hosts import HOSTS
from xfm.serving.middleware import OPEN

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for line in joined.splitlines() if line for name, _, rest in [line.partition(" ")]]


def last(name: str) -> str:
    return [rest for found, rest in instructions() if found == name][-1]


def words(value: str) -> list[str]:
    return yaml.safe_load(value)


def served(arguments: list[str]) -> Any:
    program, verb, *fixed = words(last("ENTRYPOINT"))
    assert (program, verb) == ("xfm", "serve")
    given = [*fixed, *arguments]
    return parse_options(serve_command.parser(given), given)


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def manifests() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def container() -> Any:
    (only,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


# ---------------------------------------------------------------- the image
def test_the_image_runs_what_the_command_line_knows() -> None:
    chosen = served(words(last("CMD")))
    assert (chosen.models, chosen.host, str(chosen.port)) == ("small", "0.0.0.0", last("EXPOSE"))
    assert chosen.port == ServeConfig().port
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"\.\[([a-z,]+)\]", (DEPLOY / "Dockerfile").read_text())
    assert {*installed.split(",")} <= {*extras}
    assert {"serve", "index", "postgres"} <= {*installed.split(",")}


def test_the_health_check_asks_a_route_without_a_key() -> None:
    command = words(last("HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", command[2])[0]
    assert port == last("EXPOSE")
    assert path in OPEN


# ---------------------------------------------------------------- compose
def test_compose_runs_what_the_command_line_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    services = compose()["services"]
    chosen = served(services["api"]["command"])
    index = [*services["index"]["entrypoint"], *services["index"]["command"]]
    assert index[:2] == ["xfm", "index"]
    made = parse_options(index_command.parser(index[2:]), index[2:])
    assert made.action == "build"
    assert str(made.out) == chosen.index  # what one makes, the other serves
    assert made.store == "postgresql://xfm@database/xfm"
    assert services["database"]["environment"]["POSTGRES_DB"] == "xfm"
    assert serve_command.KEYS in services["api"]["environment"]
    (store,) = [word for word in services["index"]["command"] if word.startswith("--store=")]
    assert services["api"]["environment"][HOSTS] == urlsplit(store.removeprefix("--store=")).hostname
    monkeypatch.setenv(serve_command.KEYS, "a" * 20)
    assert serve_command.read_keys(None) == ["a" * 20]


# ---------------------------------------------------------------- Kubernetes
def test_the_pod_runs_what_the_command_line_knows() -> None:
    only = container()
    chosen = served(only["args"])
    (port,) = only["ports"]
    assert port["containerPort"] == chosen.port
    assert serve_command.KEYS in {one["name"] for one in only["env"]}
    probes = [only[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [one["path"] for one in probes] == ["/ready", "/ready", "/health"]
    assert {one["path"] for one in probes} <= OPEN
    assert {one["port"] for one in probes} == {port["name"]}


def test_the_pod_has_no_rights() -> None:
    pod, only = manifests()["Deployment"]["spec"]["template"]["spec"], container()
    user, _, group = last("USER").partition(":")
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsGroup"] == int(group)
    rights = only["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]
    assert {*only["resources"]} == {"requests", "limits"}
    assert [one["mountPath"] for one in only["volumeMounts"]] == ["/tmp"]


# ---------------------------------------------------------------- the page
def commands() -> Iterator[list[str]]:
    texts = [path.read_text() for path in (ROOT / "docs" / "deployment.md", *DEPLOY.iterdir())]
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            if (line := line.lstrip("# ")).startswith(("docker ", "kubectl ")):
                yield shlex.split(re.sub(r"\$\([^)]*\)", "x", line), comments=True)


def test_the_commands_of_the_page_name_what_is_there() -> None:
    found = list(commands())
    assert len(found) > 8
    for line in found:
        for option, value in pairwise(line):
            if option in ("--file", "--filename"):
                assert (ROOT / value).exists(), line
        if "xfm-serve" in line and line[1] == "run":
            assert served(line[line.index("xfm-serve") + 1 :])
