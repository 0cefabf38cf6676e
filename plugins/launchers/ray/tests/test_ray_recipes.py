"""The recipes and the README say what Ray and penstock understand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import attrs
import pytest
import yaml
from penstock_ray.plugin import RayOptions

from penstock.options import describe

HERE = Path(__file__).parent.parent
README = (HERE / "README.md").read_text()
SLURM = (HERE / "recipes" / "slurm.sh").read_text()
KUBERAY = yaml.safe_load((HERE / "recipes" / "kuberay.yaml").read_text())
#: What Ray takes at least, and what we give it at most.
LEAST, MOST = 75 * 1024**2, 100_000_000


def test_the_manifest_is_a_cluster_as_penstock_wants_it():
    assert (KUBERAY["apiVersion"], KUBERAY["kind"]) == ("ray.io/v1", "RayCluster")
    spec = KUBERAY["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (led,), (working,) = (group["template"]["spec"]["containers"] for group in (head, workers))
    assert led["image"] == working["image"]
    for container in (led, working):
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    (rule,) = workers["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert rule["labelSelector"]["matchLabels"] == workers["template"]["metadata"]["labels"]
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert LEAST < int(group["rayStartParams"]["object-store-memory"]) <= MOST


def test_the_script_is_one():
    subprocess.run(["bash", "-n", str(HERE / "recipes" / "slurm.sh")], check=True)
    assert "#SBATCH --exclusive" in SLURM
    assert "umask 077" in SLURM.partition("/dev/urandom")[0]


@pytest.mark.parametrize("text", [README, SLURM], ids=["README", "slurm"])
def test_what_is_said_to_ray_is_known_to_it(text):
    from ray.scripts.scripts import cli

    words = {name.lstrip("-") for name in re.findall(r"(?<=\s)`?(--[a-z-]+)", re.sub(r"--launcher\S*", "", text))}
    known = {
        option.lstrip("-")
        for command in ("start", "get-auth-token", "symmetric-run")
        for parameter in cli.commands[command].params
        for option in parameter.opts
    }
    ours = {"workers", "exclusive", "nodes", "ntasks", "ntasks-per-node", "job-name", "time"}
    assert words - known - ours == set()
    assert all(LEAST < int(size) <= MOST for size in re.findall(r"object-store-memory=(\d+)", text))


def test_the_options_are_those_that_there_are():
    names = {field.name for field in attrs.fields(RayOptions)}
    assert set(re.findall(r"--launcher-option \"?(\w+)=", README + SLURM)) <= names
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == [field.name for field in describe(RayOptions)]
