"""`deploy/pretrain.yaml` against torchrun, the program and itself: what can be held without a cluster."""

import os
import shlex
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml
from torch.distributed.run import get_args_parser

from tests.pages import blocks
from xfm.cli.main import SEVERAL, parse_command
from xfm.training.run_folder import LOG_FILE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "distributed.md"


def manifests() -> dict[str, Any]:
    found = list(yaml.safe_load_all((ROOT / "deploy" / "pretrain.yaml").read_text()))
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def job() -> Any:
    return manifests()["Job xfm-pretrain"]["spec"]


def pod() -> Any:
    return job()["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


def operator() -> Any:
    (told,) = [yaml.safe_load(block) for block in blocks(PAGE, "yaml") if "PyTorchJob" in block]
    return told["spec"]


def launched(words: list[str]) -> Namespace:
    assert words[0] == "torchrun"
    told = get_args_parser().parse_args(words[1:])
    assert (told.module, told.training_script) == (True, "xfm")
    command, chosen = parse_command(told.training_script_args)
    assert command in SEVERAL
    told.chosen = chosen
    return told


def ran(place: Path, only: Any, folder: Path | None = None) -> list[str]:
    """The words with which a container's script begins torchrun, for its own run or one in another folder."""
    told = place / "torchrun"
    told.write_text('#!/bin/sh\nfor word in torchrun "$@"; do echo "$word"; done\n')
    told.chmod(0o755)
    (script,) = only["args"]
    if folder is not None:
        script = script.replace("folder=/runs/base", f"folder={shlex.quote(str(folder))}")
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
    words = [*only["command"], script]
    assert words[:2] == ["sh", "-c"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.splitlines()


def test_the_script_begins_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = launched(ran(tmp_path, container(), folder))
    assert (str(first.chosen.out), first.chosen.resume) == (str(folder), False)
    folder.mkdir()
    (folder / LOG_FILE).touch()
    assert launched(ran(tmp_path, container(), folder)).chosen.resume


def test_the_pods_meet(tmp_path: Path) -> None:
    told, found = launched(ran(tmp_path, container())), manifests()
    service = found["Service xfm-pretrain"]
    host, _, port = told.rdzv_endpoint.partition(":")
    assert host == f"{found['Job xfm-pretrain']['metadata']['name']}-0.{pod()['subdomain']}"
    assert pod()["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": "xfm-pretrain"}
    assert {one["port"] for one in service["spec"]["ports"]} == {int(port)}
    assert {one["containerPort"] for one in container()["ports"]} == {int(port)}
    assert told.rdzv_backend == "c10d"
    assert told.rdzv_id
    assert job()["completionMode"] == "Indexed"
    assert job()["completions"] == job()["parallelism"] == int(told.nnodes)
    resources = container()["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"]
    assert resources["limits"]["nvidia.com/gpu"] == int(told.nproc_per_node)


def test_what_is_saved_outlives_the_pods(tmp_path: Path) -> None:
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in pod()["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert {f"PersistentVolumeClaim {name}" for name in claims.values()} <= {*manifests()}
    mounts = {one["mountPath"]: one for one in container()["volumeMounts"]}
    assert {one["name"] for one in mounts.values()} == {one["name"] for one in pod()["volumes"]}
    told = launched(ran(tmp_path, container()))
    assert mounts[f"/{Path(told.chosen.out).parts[1]}"]["name"] in claims
    assert not mounts["/runs"].get("readOnly")
    assert mounts[str(told.chosen.root)]["readOnly"]
    shared = next(one for one in pod()["volumes"] if one["name"] == mounts["/dev/shm"]["name"])
    assert shared["emptyDir"]["medium"] == "Memory"


def test_the_operators_job_says_the_same(tmp_path: Path) -> None:
    """Its operator tells torchrun by the environment what the options of the other one say."""
    worker = operator()["pytorchReplicaSpecs"]["Worker"]
    policy, (only,) = operator()["elasticPolicy"], worker["template"]["spec"]["containers"]
    other = launched(ran(tmp_path, container()))
    assert only["name"] == "pytorch"  # the operator looks for it
    assert worker["replicas"] == policy["minReplicas"] == policy["maxReplicas"] == int(other.nnodes)
    assert (policy["rdzvBackend"], policy["maxRestarts"]) == (other.rdzv_backend, other.max_restarts)
    assert str(operator()["nprocPerNode"]) == other.nproc_per_node
    assert only["resources"]["limits"]["nvidia.com/gpu"] == int(other.nproc_per_node)
    told = launched(ran(tmp_path, only))
    assert str(told.chosen.recipe) == str(other.chosen.recipe)
    assert {one["mountPath"] for one in only["volumeMounts"]} >= {"/data", "/runs", "/dev/shm"}
