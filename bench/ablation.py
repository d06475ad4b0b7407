"""What a network should see: variants trained side by side on the same sweeps, judged on the same rendered scenes.

    ./run bench ablation --data train.pack --minutes 2
    ./run bench ablation --data train.pack --minutes 8 --variants default paper frames frames30 --out weights

All variants get each batch in turn, so data and steps are the same for all; `--out` keeps their weights.
"""

import argparse
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sweepdepth.net.architecture import PRESETS, NetworkConfig
from sweepdepth.net.likelihood import training_loss
from sweepdepth.net.model import DepthNet
from sweepdepth.net.training import NORMAL_SHARE
from sweepdepth.net.weights import save_weights
from sweepdepth.synth.endless import EndlessConfig, EndlessSweeps, load_pool
from sweepdepth.synth.endless.lens import Chance
from sweepdepth.synth.endless.packed import split_pool
from sweepdepth.synth.endless.sweeps import Sweeps, draw_sweeps, show

_DEFAULT = PRESETS["default"]


def _seen(**changes: object) -> NetworkConfig:
    shown = _DEFAULT.representation.model_copy(update=changes)
    return _DEFAULT.model_copy(update={"representation": shown})


VARIANTS: dict[str, NetworkConfig] = {
    "default": _DEFAULT,
    "another seed": _DEFAULT,
    "signed": _seen(polarity="signed"),
    "5 bins": _seen(bins=5),
    "20 bins": _seen(bins=20),
    "first and last times": _seen(times=True),
    "counts as they are": _seen(compressed=False),
    "lens not told": _seen(conditions=False),
    "squared error": _DEFAULT.model_copy(update={"probabilistic": False}),
    "wider": _DEFAULT.model_copy(update={"widths": (24, 40, 72, 112, 144)}),
    "full resolution": _DEFAULT.model_copy(update={"stem": 1, "widths": (8, 16, 32, 64, 112, 144)}),
    **{name: PRESETS[name] for name in ("paper", "frames", "frames30")},
}


@dataclass
class Contestant:
    """A network in training."""

    name: str
    config: NetworkConfig
    network: DepthNet
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    losses: list[torch.Tensor] = field(default_factory=list)

    def learn(self, sweeps: Sweeps, rate: float, decay: float) -> None:
        """One step."""
        channels, position, weight = show(sweeps, self.config.representation)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(channels.device.type, torch.bfloat16):
            out = self.network(channels.contiguous(memory_format=torch.channels_last))
        loss = training_loss(out.float(), position, weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        kept = [v for v in self.network.state_dict().values() if v.dtype.is_floating_point]
        torch._foreach_lerp_(list(self.average.values()), kept, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def judge(self, batches: list[Sweeps]) -> dict[str, float]:
        """Errors of the averaged network inside the range, and what its deviations have to be multiplied by."""
        self.network.load_state_dict(self.average, strict=False)
        self.network.eval()
        errors, at_events, ratios = [], [], []
        for sweeps in batches:
            channels, position, _ = show(sweeps, self.config.representation)
            out = self.network(channels).float()
            error = (out[:, 0].clamp(0, 1) - position).abs()
            inside = (position >= 0) & (position <= 1)
            assert sweeps.steps is not None
            errors.append(error[inside])
            at_events.append(error[inside & (sweeps.steps.sum((1, 2)) > 0)])
            deviation = (0.5 * out[:, 1]).exp() if out.shape[1] > 1 else torch.ones_like(error)
            ratios.append((error / deviation)[inside])
        error, event = torch.cat(errors), torch.cat(at_events)
        ratio = torch.cat(ratios).cpu().numpy()
        return {
            "rmse": float(error.square().mean().sqrt()),
            "mae": float(error.mean()),
            "mae_events": float(event.mean()),
            "scale": float(np.quantile(ratio, NORMAL_SHARE)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="datasets or packs of focal stacks")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rendered", type=float, default=0.5, help="share of the batches from rendered scenes")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--patch-scenes", type=int, default=4096)
    parser.add_argument("--renewed", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for their weights")
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    config = EndlessConfig(
        batch=arguments.batch,
        rendered=arguments.rendered,
        patch_scenes=arguments.patch_scenes,
        renewed=arguments.renewed,
    )
    training, kept = split_pool(load_pool(arguments.data, device), 0.08)
    validation = [draw_sweeps(kept, Chance(k, device), 64) for k in range(6)]
    contestants = [_contestant(name, number, device) for number, name in enumerate(arguments.variants)]
    endless = EndlessSweeps(config, training, seed=arguments.seed, device=device)

    first = time.monotonic()
    endless.next()
    print(f"first patch scenes after {time.monotonic() - first:.0f} s", flush=True)
    began, step, waited, said = time.monotonic(), 0, 0.0, 0.0
    while (done := (time.monotonic() - began) / 60 / arguments.minutes) < 1:
        ready = time.monotonic()
        sweeps = endless.next()
        waited += time.monotonic() - ready
        rate = arguments.learning_rate * min(1.0, done / 0.03 + 1e-3) * (0.5 + 0.5 * math.cos(math.pi * done))
        for contestant in contestants:
            contestant.learn(sweeps, rate, min(0.999, (1 + step) / (10 + step)))
        step += 1
        if time.monotonic() - said > 30:
            if device == "cuda":
                torch.cuda.synchronize()
            said = time.monotonic()
            print(
                f"{100 * done:.0f} %: step {step}, {step * arguments.batch / (said - began):.0f} sweeps/s", flush=True
            )
    about = (
        f"{len(training.stacks)} rendered scenes, {step} steps of {arguments.batch} sweeps in {arguments.minutes:g} min"
    )
    rows = []
    for contestant in contestants:
        found = contestant.judge(validation)
        millions = sum(p.numel() for p in contestant.network.parameters()) / 1e6
        rows.append([contestant.name, millions, found["rmse"], found["mae"], found["mae_events"]])
        if arguments.out:
            _keep(contestant, found, arguments.out, config, step)
    print(f"\n{about}; errors of the sweep range on {kept.size} scenes never trained on\n")
    print(f"| variant | parameters, M | RMSE | mean error | at events |\n|{'---|' * 5}")
    for name, *numbers in rows:
        print(f"| {name} | {numbers[0]:.2f} | " + " | ".join(f"{number:.4f}" for number in numbers[1:]) + " |")


def _contestant(name: str, number: int, device: str) -> Contestant:
    torch.manual_seed(number)
    config = VARIANTS[name]
    network = DepthNet(config).to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-3, weight_decay=0.02, betas=(0.9, 0.99), fused=device == "cuda"
    )
    average = {n: v.detach().clone() for n, v in network.state_dict().items() if v.dtype.is_floating_point}
    return Contestant(name, config, network, optimizer, average)


def _keep(contestant: Contestant, found: dict[str, float], out: Path, config: EndlessConfig, steps: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    known = "scale" if contestant.config.probabilistic else "rmse"
    facts = {
        "endless": config.model_dump(mode="json"),
        "steps": steps,
        "validation": {f"val_{name}": found[name] for name in ("rmse", "mae", "mae_events") if name in found},
        "deviation": {"scale" if known == "scale" else "constant": found[known]} if known in found else {},
    }
    averaged = DepthNet(contestant.config)
    averaged.load_state_dict({name: value.cpu() for name, value in contestant.average.items()}, strict=False)
    save_weights(out / f"{contestant.name.replace(' ', '_')}.safetensors", averaged, facts, force=True)


if __name__ == "__main__":
    main()
