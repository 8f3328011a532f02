"""How good a network is inside the mosaic, on people that training never saw.

``python -m train.evaluate WEIGHTS --faces FOLDER [--clips SEGMENTS.npy]`` prints a Markdown table and
writes JSON: PSNR over the pixels of the mosaic for the blocks themselves, bicubic interpolation, the same
projected to data consistency, and the network; means with 95 % bootstrap intervals over pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nets import pixelation
from nets.checkpoint import load
from nets.grid import HALF_STEP, observe
from nets.idn import IDN
from nets.nar import NAR
from train.data import Segments, Stills
from train.degrade import Degradation, Example, degrade

CELLS = 64
BLOCKS = (8, 10, 12)
FRAMES = 8
"""Of a clip: a window of the shipped NAR."""

METHODS = ("blocks", "bicubic", "bicubic + projection", "network")


def psnr_inside(pred: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(M, 3, S, S) twice and (M, 1, S, S), 1 in the mosaic -> (M,) dB, peak 1."""
    error = ((pred.clamp(0, 1) - truth) ** 2 * weight).sum((1, 2, 3))
    return -10 * torch.log10(error / (3 * weight.sum((1, 2, 3))) + 1e-10)


@torch.no_grad()
def score(net: IDN | NAR, example: Example) -> dict[str, Tensor]:
    """PSNR of each method on the frames that a NAR would restore (all frames for one that takes one)."""
    T = example.truth.shape[1]
    first = (T - net.config.core) // 2 if isinstance(net, NAR) else 0
    core = slice(first, T - first)
    image, mask, rows, cols, truth = (
        x[:, core].flatten(0, 1)
        for x in (example.image, example.mask, example.rows, example.cols, example.truth)
    )
    obs = observe(image, mask, rows, cols)
    projected = pixelation.project(obs.base, obs.samples, rows, cols, obs.weight, HALF_STEP)
    if isinstance(net, NAR):
        restored = net(example.image, example.mask, example.rows, example.cols)[0].flatten(0, 1)
    else:
        restored = net(image, mask, rows, cols)[0]
    pictures = (image, obs.base, projected, restored)
    return {m: psnr_inside(p, truth, obs.weight) for m, p in zip(METHODS, pictures, strict=True)}


def batches(source: Stills | Segments, count: int, seed: int) -> Iterator[Tensor]:
    """Clean clips (1, T, 3, F, F), T = 1 for stills, drawn without repetition."""
    total = len(source.pictures if isinstance(source, Stills) else source.frames)
    for i in np.random.default_rng(seed).permutation(total)[:count]:
        if isinstance(source, Stills):
            yield source.pictures[i].float().div(255)[None, None]
        else:
            run = torch.from_numpy(np.array(source.frames[i, :FRAMES]))
            yield run.permute(0, 3, 1, 2).float().div(255)[None]


def evaluate(
    net: IDN | NAR, source: Stills | Segments, count: int, size_px: int = 128, seed: int = 0
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Per number of blocks and method: mean and 95 % interval of PSNR in dB inside the mosaic.

    A still given to a NAR is a clip that stands still.
    """
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    for blocks in BLOCKS:
        ranges = replace(Degradation(), blocks=(blocks, blocks + 1e-6))
        generator = torch.Generator().manual_seed(seed + blocks)
        values: dict[str, list[float]] = {m: [] for m in METHODS}
        for clean in batches(source, count, seed):
            clip = clean
            if isinstance(net, NAR) and clean.shape[1] == 1:
                clip = clean.expand(-1, net.config.window, -1, -1, -1)
            example = degrade(clip, size_px, CELLS, ranges, generator)
            for method, each in score(net, example).items():
                values[method].append(float(each.mean()))
        table[str(blocks)] = {m: interval(v) for m, v in values.items()}
    return table


def interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean and bootstrap interval of 95 %."""
    sample = np.array(values)
    means = np.random.default_rng(seed).choice(sample, (1000, len(sample))).mean(1)
    return float(sample.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def markdown(table: dict[str, dict[str, tuple[float, float, float]]]) -> str:
    """Rows: numbers of blocks. Columns: methods, and what the network gains over bicubic."""
    lines = ["| blocks | " + " | ".join(METHODS) + " | gain |", "|---" * (len(METHODS) + 2) + "|"]
    for blocks, row in table.items():
        cells = [f"{row[m][0]:.2f} [{row[m][1]:.2f}, {row[m][2]:.2f}]" for m in METHODS]
        gain = row["network"][0] - row["bicubic"][0]
        lines.append(f"| {blocks} | " + " | ".join(cells) + f" | {gain:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--faces", type=Path, help="folder of square face crops")
    parser.add_argument("--clips", type=Path, help="what python -m train.pack wrote")
    parser.add_argument("--count", type=int, default=200, help="pictures or clips per number of blocks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    net = load(options.weights)
    tables = {}
    if options.faces:
        tables["faces"] = evaluate(net, Stills.load(options.faces, 256), options.count)
    if options.clips:
        tables["clips"] = evaluate(net, Segments.load(options.clips), options.count)
    for name, table in tables.items():
        sys.stdout.write(f"\nPSNR inside the mosaic in dB, {name}\n\n{markdown(table)}\n")
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
