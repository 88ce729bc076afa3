"""The reference training in PyTorch, on the CPU.

    python train.py FOLDER

FOLDER holds the start weights (model.safetensors, names of a Llama's checkpoint) and run.json: config, optimizer, learning
rates and batches. For every line on standard input it trains `every` steps and prints the loss of the last. It prints a
line when it is ready, and ends with its input. `--about` prints the version.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F


def main() -> None:
    if sys.argv[1] == "--about":
        print(f"{torch.__version__}, {torch.get_num_threads()} threads, eager, fused AdamW")
        return
    folder = Path(sys.argv[1])
    run = json.loads((folder / "run.json").read_text())
    weights = load_file(folder / "model.safetensors")
    steps = train(run, {name: weight.requires_grad_() for name, weight in weights.items()})
    print("ready", flush=True)
    for _ in sys.stdin:
        for _ in range(run["every"]):
            loss = next(steps)
        print(loss.item(), flush=True)


def train(run: dict, weights: dict[str, torch.Tensor]):
    """Yields the loss of every step, once the weights have moved."""
    settings = run["optimizer"]
    parameters = list(weights.values())
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in parameters if w.ndim > 1], "weight_decay": settings["weightDecay"]},
            {"params": [w for w in parameters if w.ndim == 1], "weight_decay": 0.0},
        ],
        betas=settings["betas"],
        eps=settings["eps"],
        fused=True,
    )
    batches = [(torch.tensor(batch["ids"]), torch.tensor(batch["mask"])) for batch in run["batches"]]
    rope = rotations(run["config"], batches[0][1].shape[1])
    for rate, (ids, mask) in zip(run["rates"], batches):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(run["config"], weights, rope, ids, mask)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings["clip"])
        optimizer.step()
        yield loss.detach()


def loss_of(config: dict, weights: dict[str, torch.Tensor], rope, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of -log p over the predictions that count; the others are not unembedded."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], weights[f"{name}.weight"], config["rms_norm_eps"])

    x = F.embedding(ids[:, :-1], weights["model.embed_tokens.weight"])
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        read = norm(x, f"{at}.input_layernorm")
        q, k, v = (
            linear(read, f"{at}.self_attn.{each}_proj").unflatten(-1, (config["num_attention_heads"], -1)).transpose(1, 2)
            for each in "qkv"
        )
        z = F.scaled_dot_product_attention(rotate(q, rope), rotate(k, rope), v, is_causal=True)
        x = x + linear(z.transpose(1, 2).flatten(-2), f"{at}.self_attn.o_proj")
        read = norm(x, f"{at}.post_attention_layernorm")
        hidden = F.silu(linear(read, f"{at}.mlp.gate_proj")) * linear(read, f"{at}.mlp.up_proj")
        x = x + linear(hidden, f"{at}.mlp.down_proj")
    return F.cross_entropy(linear(norm(x[mask], "model.norm"), "lm_head"), ids[:, 1:][mask])


def rotations(config: dict, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of RoPE, [position, half of dHead]."""
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    angles = torch.outer(torch.arange(positions).float(), config["rope_theta"] ** (-torch.arange(half) / half))
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Dimension i turns with i + dHead / 2."""
    (cos, sin), (first, second) = rope, x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


main()
