"""The reference model in PyTorch, for `lab.bench`; run as a process of its own.

python -m lab.bench.torch_reference VOCAB TOKENS BATCH WIDTH LAYERS HEADS THREADS [eager|fused|compiled]

prints steps a second. `eager` is the loop that most people write, `fused` updates all parameters in one kernel of
AdamW's, `compiled` passes model and loss through `torch.compile` as well.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from lab.errors import Parser, command

SIZES = {
    "vocab": "tokens of the vocabulary",
    "tokens": "length of a sequence",
    "batch": "sequences a step",
    "width": "width of the model",
    "layers": "number of blocks",
    "heads": "attention heads a block",
    "threads": "CPU threads of this process",
}
ARRANGEMENTS = ("eager", "fused", "compiled")


class Block(nn.Module):
    """Causal attention and a ReLU feed-forward layer, pre-norm, no biases."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BxLxD):
        """[B, L, D] -> [B, L, D]."""
        batch, length, width = x_BxLxD.shape
        qkv = self.qkv(self.norm_attention(x_BxLxD)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x_BxLxD = x_BxLxD + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x_BxLxD + self.mlp_out(functional.relu(self.mlp_in(self.norm_mlp(x_BxLxD))))


class Model(nn.Module):
    """Embedding, learned positions, blocks, final norm, unembedding."""

    def __init__(self, vocab: int, tokens: int, width: int, layers: int, heads: int):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocab, width), nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.unembedding = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

    def forward(self, tokens_BxL):
        """int64[B, L] -> float32[B, L, V]."""
        x = self.embedding(tokens_BxL) + self.positions.weight[: tokens_BxL.shape[1]]
        return self.unembedding(self.norm(self.blocks(x)))


def rate(
    vocab: int, tokens: int, batch: int, width: int, layers: int, heads: int, threads: int, arrangement: str
) -> float:
    """Steps a second: the best of five rounds of 20 steps, after one that nobody times (it compiles)."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Model(vocab, tokens, width, layers, heads).to(device)
    fused = arrangement != "eager"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)

    def loss_of(x_BxL: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(x_BxL).flatten(0, 1), x_BxL.flatten())

    loss = torch.compile(loss_of) if arrangement == "compiled" else loss_of

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(20):
            optimizer.zero_grad(set_to_none=True)
            loss(torch.randint(0, vocab, (batch, tokens), device=device)).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    seconds()
    return 20 / min(seconds() for _ in range(5))


def _parser() -> Parser:
    parser = Parser("lab.bench.torch_reference", __doc__)
    for name, about in SIZES.items():
        parser.add_argument(name, type=int, metavar=name.upper(), help=about)
    parser.add_argument("arrangement", nargs="?", choices=ARRANGEMENTS, default="eager", help="how a step is run")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Print the steps a second of one model."""
    print(rate(**vars(_parser().read(arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
