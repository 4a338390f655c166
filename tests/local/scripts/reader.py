"""Read runs as the Public API tells of them. Arguments: their paths below the entity, project/run."""

import sys

import wandb

from tests.local.scripts import kit

if __name__ == "__main__":
    entity = wandb.Api().default_entity
    kit.save("read.json", {path: kit.read(f"{entity}/{path}") for path in sys.argv[1:]})
