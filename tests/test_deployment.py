"""The files of `deploy/` against the program: without Docker, all that can be held of them."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
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


def test_the_image_has_what_it_copies() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for name, rest in instructions() if name == "COPY" and "--from" not in rest
              for word in rest.split()[:-1]]  # fmt: skip
    assert copied
    for word in copied:
        assert (ROOT / word).exists()
        assert any(fnmatch(word, line[1:]) for line in ignored)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {build["readme"], *build.get("license-files", ["LICENSE"])} <= {*copied}


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


def test_compose_fits_together() -> None:
    told = compose()
    services = told["services"]
    volumes = [one.split(":")[0] for service in services.values() for one in service.get("volumes", [])]
    assert {one for one in volumes if one.isalpha()} == {*told["volumes"]}
    assert services["database"]["image"].endswith(":pg17")
    assert int(services["api"]["stop_grace_period"].rstrip("s")) > ServeConfig().drain_seconds
    (port,) = services["api"]["ports"]
    assert port.split(":")[0] == "127.0.0.1"
    assert port.split(":")[-1] == last("EXPOSE")
    for name in ("api", "index"):
        assert services[name]["read_only"]
        assert services[name]["depends_on"] == {"database": {"condition": "service_healthy"}}
        assert (DEPLOY / services[name]["build"]["context"] / services[name]["build"]["dockerfile"]).exists()
    secrets = re.findall(r"\$\{(\w+)(.)", (DEPLOY / "compose.yaml").read_text())
    assert {name for name, mark in secrets if mark == ":"} == {
        "POSTGRES_PASSWORD",
        "XFM_API_KEYS",
        "XFM_PHOTOS",
    }


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


def test_the_pod_ends_in_order() -> None:
    pod, only = manifests()["Deployment"]["spec"]["template"]["spec"], container()
    before = float(only["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + served(only["args"]).drain_seconds
    assert pod["terminationGracePeriodSeconds"] >= 45


def test_the_pod_has_no_rights() -> None:
    pod, only = manifests()["Deployment"]["spec"]["template"]["spec"], container()
    user, _, group = last("USER").partition(":")
    assert pod["securityContext"]["runAsNonRoot"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (
        int(user),
        int(group),
    )
    rights = only["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]
    assert {*only["resources"]} == {"requests", "limits"}
    assert [one["mountPath"] for one in only["volumeMounts"]] == ["/tmp"]


def test_the_service_finds_the_pods() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["Service"]["spec"]["selector"].items() <= labels.items()
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (port,) = found["Service"]["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in container()["ports"]}
    assert found["Deployment"]["spec"]["replicas"] > found["PodDisruptionBudget"]["spec"]["minAvailable"]


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
