"""Trains small networks on scikit-learn's handwritten digits and logs each to wandb: an ordinary training script.

It knows nothing of runtap. WANDB_BASE_URL and WANDB_API_KEY say where the runs go.
"""

from __future__ import annotations

import argparse
import itertools
import warnings

import wandb
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

GRID = list(itertools.product((0.0005, 0.002, 0.02), (16, 64)))


def main() -> None:
    """Trains one network per point of the grid."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--project", default="runtap-demo")
    options.add_argument("--runs", type=int, default=len(GRID))
    options.add_argument("--epochs", type=int, default=40)
    asked = options.parse_args()
    # An epoch at a time is on purpose; scikit-learn would rather train to the end.
    warnings.simplefilter("ignore", ConvergenceWarning)
    images, digits = load_digits(return_X_y=True)
    data = train_test_split(images / 16.0, digits, test_size=0.25, random_state=0, stratify=digits)
    for learning_rate, hidden in GRID[: asked.runs]:
        train(asked.project, learning_rate, hidden, asked.epochs, data)


def train(project: str, learning_rate: float, hidden: int, epochs: int, data: list[object]) -> None:
    """Trains one network."""
    train_images, test_images, train_digits, test_digits = data
    config = {"learning_rate": learning_rate, "hidden": hidden, "epochs": epochs, "data": "digits"}
    settings = wandb.Settings(x_file_stream_transmit_interval=1.0, x_stats_sampling_interval=0.5)
    with wandb.init(project=project, config=config, tags=["demo"], settings=settings) as run:
        network = MLPClassifier((hidden,), learning_rate_init=learning_rate, batch_size=64, random_state=0)
        for epoch in range(epochs):
            network.partial_fit(train_images, train_digits, classes=range(10))
            row = {"epoch": epoch, "loss": network.loss_}
            if epoch % 5 == 4:  # as in many scripts, validation is not logged at every step
                row["accuracy"] = network.score(test_images, test_digits)
            run.log(row)
        accuracy = network.score(test_images, test_digits)
        run.summary["accuracy"] = accuracy
        print(
            f"  {run.name:<24} lr={learning_rate:<7} hidden={hidden:<3} accuracy={accuracy:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
