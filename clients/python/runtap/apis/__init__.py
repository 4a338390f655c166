"""The path under which scripts written for the wandb SDK look for its Public API."""
