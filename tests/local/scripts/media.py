"""Log media, tables and files of all policies; and what this server does not keep: artifacts."""

import base64
import json
import pathlib
import sys
import wave
from typing import Any

import numpy as np
import wandb
from PIL import Image

from tests.local.scripts import kit


def content(data: str | bytes) -> str:
    """Bytes as a record spells them."""
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def media() -> dict[str, Any]:
    """One of each kind, from data and from files; what is read back is the very bytes the SDK wrote."""
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save("i.png")
    with wave.open("a.wav", "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\1" * 100)
    run = kit.begin("media", "media")
    run.log({"image": wandb.Image(pixels, caption="ü"), "file": wandb.Image("i.png")})
    run.log({"images": [wandb.Image(Image.fromarray(pixels)), wandb.Image(pixels[::-1])]})
    run.log({"audio": wandb.Audio("a.wav", caption="c"), "html": wandb.Html("<p>ü</p>", inject=False)})
    run.log({"table": wandb.Table(columns=["a", "ü"], data=[[1, "x"], [2.5, None], [3, "ü"]])})
    histogram = np.histogram([1.0, 2.0, 2.5], bins=4)
    run.log({"hist": wandb.Histogram([1, 2, 3], num_bins=2), "np": wandb.Histogram(np_histogram=histogram)})
    run.log(
        {
            "deep": {"html": wandb.Html("<b>deep</b>", inject=False)},
            "points": wandb.Object3D(np.zeros((3, 3))),
        }
    )
    run.log({"line": wandb.plot.line(wandb.Table(columns=["x", "y"], data=[[1, 2]]), "x", "y", title="t")})
    run.summary["last"] = wandb.Histogram(np_histogram=histogram)
    folder = pathlib.Path(run.dir)
    run.finish()
    written = {
        path.relative_to(folder).as_posix(): content(path.read_bytes())
        for path in folder.glob("media/**/*.*")
    }
    return {
        "files": written,
        "html": content("<p>ü</p>"),
        "histogram": [list(map(float, part)) for part in histogram],
    }


def files() -> dict[str, Any]:
    """``save`` with each policy, in folders, by patterns, with odd names, and changed after it was saved."""
    pathlib.Path("sub/deep").mkdir(parents=True)
    names = [
        "now.txt",
        "end.txt",
        "live.txt",
        "sub/a.txt",
        "sub/deep/b.txt",
        "g1.dat",
        "g2.dat",
        "ü x#%&+'.txt",
    ]
    for name in names:
        pathlib.Path(name).write_text(f"first {name}")
    pathlib.Path("empty.bin").touch()
    raw = bytes(range(256)) * 4096
    pathlib.Path("megabyte.bin").write_bytes(raw)
    run = kit.begin("media", "files")
    for policy in ("now", "end", "live"):
        run.save(f"{policy}.txt", policy=policy)
    run.save("sub/*.txt")
    run.save("sub/deep/b.txt", base_path="sub")
    for name in ("g*.dat", "ü x#%&+'.txt", "empty.bin", "megabyte.bin"):
        run.save(name)
    pathlib.Path(run.dir, "written.txt").write_text("into the folder of the run")
    run.save(str(pathlib.Path(run.dir, "written.txt")), base_path=run.dir)
    run.log({"a": 1})
    for name in ("live.txt", "end.txt"):
        pathlib.Path(name).write_text(f"changed {name}")
    run.finish()
    expected = {
        "live.txt": "changed live.txt",
        "end.txt": "changed end.txt",
        "sub/a.txt": "first sub/a.txt",
        "deep/b.txt": "first sub/deep/b.txt",
        "g1.dat": "first g1.dat",
        "g2.dat": "first g2.dat",
        "ü x#%&+'.txt": "first ü x#%&+'.txt",
        "empty.bin": "",
        "written.txt": "into the folder of the run",
        "now.txt": "first now.txt",
    }
    return {
        "files": {**{name: content(text) for name, text in expected.items()}, "megabyte.bin": content(raw)}
    }


def artifacts() -> dict[str, Any]:
    """What is refused is refused in words, and the run goes on to a good end."""
    run = kit.begin("media", "artifacts")
    artifact = wandb.Artifact("data", type="dataset")
    artifact.add_file("i.png")
    run.log_artifact(artifact)
    refused = [
        kit.error_of(lambda: artifact.wait(timeout=20)),
        kit.error_of(lambda: run.use_artifact("data:latest")),
        kit.error_of(lambda: run.link_model("i.png", registered_model_name="m")),
    ]
    run.log_code(".", include_fn=lambda path: path.endswith("none.py"))
    run.log_model("i.png", name="model")
    run.alert("a title ü", "some text", level="WARN")
    run.log({"after": 1})
    run.finish()
    return {"rows": [{"_step": 0, "after": 1}], "refused": refused}


if __name__ == "__main__":
    logged = {work.__name__: work() for work in (media, files, artifacts)}
    kit.save("logged.json", logged)
    entity = wandb.Api().default_entity
    read = {name: kit.read(f"{entity}/media/{name}") for name in logged}
    table = next(name for name in read["media"]["files"] if name.startswith("media/table/table_"))
    read["media"]["table"] = json.loads(base64.b64decode(read["media"]["files"][table]))
    kit.save("read.json", read)
    sys.exit(0)
