"""A model that others trained, read from a local folder: `config.json`, `model.safetensors`, `tokenizer.json`.

    python -m lab.storage.pretrained all-MiniLM-L6-v2 "He drove to the stadium." "It's so sunny outside!"

    found = pretrained.read("all-MiniLM-L6-v2")
    vectors_NxD = pretrained.vectors(found, ["He drove to the stadium.", "It's so sunny outside!"])

Nothing is downloaded. The libraries `safetensors` and `tokenizers` come with `pip install -e '.[text]'`.

Shape letters: N texts, B texts of one call, L tokens, D width.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab.errors import Parser, UserError, command
from lab.nn.encoder import ACTIVATIONS, Encoder, EncoderSpec, mean_pooled
from lab.nn.layers import Hook, no_hook

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
FAMILIES = ("bert",)  # model types whose weights have the names below
LENGTHS = (8, 16, 32, 64, 128, 256, 512)  # that texts are padded to: as many programs at the most
BATCH = 32  # texts of one call
SIZES = {
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "segments": "type_vocab_size",
}
OF_ALL: dict[tuple[str, ...], str] = {
    ("words",): "embeddings.word_embeddings.weight",
    ("positions",): "embeddings.position_embeddings.weight",
    ("segments",): "embeddings.token_type_embeddings.weight",
    ("norm",): "embeddings.LayerNorm",
}
OF_A_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "norm_attention": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm_mlp": "output.LayerNorm",
}


@dataclass(frozen=True)
class Pretrained:
    """A model and its tokenizer.

    Attributes:
      spec: its sizes.
      params: of `lab.nn.encoder.Encoder`, float32.
      tokenize: texts -> token ids of each, special tokens included, never cut.
    """

    spec: EncoderSpec
    params: Any
    tokenize: Callable[[Sequence[str]], list[list[int]]]


def read(folder: str | Path) -> Pretrained:
    """The model in a folder.

    Raises:
      UserError: in one sentence: a file or a library is missing, a file is damaged, the model is of another family, or
        its weights are not those that its config describes.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            needed = ", ".join((CONFIG, WEIGHTS, TOKENIZER))
            raise UserError(f"{folder}: there is no {name}; a pretrained model is a folder with {needed}.")
    config = _json(folder / CONFIG)
    spec = _spec(config, folder / CONFIG)
    params = _params(spec, folder / WEIGHTS)
    return Pretrained(spec, params, _tokenizer(folder / TOKENIZER, spec))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read ({error}); take the file as it was published.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no fields; take the file as it was published.")
    return content


def _spec(config: dict[str, Any], path: Path) -> EncoderSpec:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{path}: model_type is {family!r}; this reader knows {', '.join(FAMILIES)} alone.")
    if (kind := config.get("position_embedding_type", "absolute")) != "absolute":
        raise UserError(f"{path}: position_embedding_type is {kind!r}; only 'absolute' can be read.")
    found: dict[str, Any] = {}
    for name, field in SIZES.items():
        found[name] = value = config.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{path}: {field} is {value!r}; it must be a whole number above 0.")
    if found["width"] % found["heads"]:
        raise UserError(f"{path}: num_attention_heads must divide hidden_size.")
    if (activation := config.get("hidden_act", "gelu")) not in ACTIVATIONS:
        raise UserError(f"{path}: hidden_act is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}.")
    return EncoderSpec(**found, activation=activation, epsilon=float(config.get("layer_norm_eps", 1e-12)))


def _params(spec: EncoderSpec, path: Path) -> dict[str, Any]:
    """The weights as `Encoder` names them, each of the shape that the config describes."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(f"{path}: reading it takes the library safetensors: pip install -e '.[text]'.") from None
    tree: dict[str, Any] = {}
    expected = _flat(jax.eval_shape(partial(_initial, spec)))
    try:
        with safe_open(str(path), framework="np") as weights:
            there = {*weights.keys()}
            prefix = "" if OF_ALL["words",] in there else "bert."
            for where, shape in expected.items():
                name = prefix + _published(where)
                if name not in there:
                    raise UserError(f"{path}: the weights '{name}' are missing; is it another kind of model?")
                value = np.asarray(weights.get_tensor(name), np.float32)
                if not np.isfinite(value).all():
                    raise UserError(
                        f"{path}: '{name}' holds what is no finite number; take the file as it was published."
                    )
                value = value.T if where[-1] == "kernel" else value
                if value.shape != shape:
                    raise UserError(f"{path}: '{name}' has the shape {value.shape}, and {CONFIG} describes {shape}.")
                _put(tree, where, jnp.asarray(value))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); take the file as it was published.") from None
    return tree


def _initial(spec: EncoderSpec) -> Any:
    tokens, shown = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    return Encoder(spec).init(jax.random.key(0), tokens, shown)["params"]


def _flat(tree: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], tuple[int, ...]]:
    if not isinstance(tree, dict):
        return {above: tree.shape}
    found = {}
    for name, each in tree.items():
        found |= _flat(each, (*above, name))
    return found


def _put(tree: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    for name in where[:-1]:
        tree = tree.setdefault(name, {})
    tree[where[-1]] = value


def _published(where: tuple[str, ...]) -> str:
    """The published name of one of an encoder's weights."""
    if where in OF_ALL:
        return OF_ALL[where]
    last = {"kernel": "weight", "scale": "weight", "bias": "bias"}[where[-1]]
    if where[0].startswith("block_"):
        return f"encoder.layer.{where[0].removeprefix('block_')}.{OF_A_BLOCK[where[1]]}.{last}"
    return f"{OF_ALL[where[:1]]}.{last}"


def _tokenizer(path: Path, spec: EncoderSpec) -> Callable[[Sequence[str]], list[list[int]]]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(f"{path}: reading it takes the library tokenizers: pip install -e '.[text]'.") from None
    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # the library's own type is a bare Exception
        raise UserError(f"{path} is no tokenizer ({error}); take the file as it was published.") from None
    if found.get_vocab_size() > spec.vocab_size:
        raise UserError(
            f"{path} has {found.get_vocab_size():,} tokens and {CONFIG} says vocab_size {spec.vocab_size:,}; take both"
            " from one model."
        )
    found.no_padding()
    found.no_truncation()  # what is too long is refused or said, see `vectors`

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in found.encode_batch(list(texts))]

    return tokenize


class Batch(NamedTuple):
    """Texts of about one length, as the model takes them.

    Attributes:
      indices: of the texts, at most `BATCH`.
      ids_BxL, shown_BxL: int32 tokens, and which of them are a text's; rows beyond the texts are padding alone.
    """

    indices: tuple[int, ...]
    ids_BxL: jax.Array
    shown_BxL: jax.Array


def batches(found: Pretrained, texts: Sequence[str]) -> Iterator[Batch]:
    """Texts in batches, the shortest first.

    Raises:
      UserError: for a text that is longer than the model takes: nothing is cut.
    """
    tokens = found.tokenize(texts)
    longest = found.spec.max_length
    for text, ids in zip(texts, tokens, strict=True):
        if len(ids) > longest:
            raise UserError(
                f"the text '{text[:40]}…' has {len(ids):,} tokens and the model takes {longest:,}; shorten it."
            )
    lengths = (*(length for length in LENGTHS if length < longest), longest)
    padded = [next(length for length in lengths if len(ids) <= length) for ids in tokens]
    for length in sorted({*padded}):
        mine = [index for index, each in enumerate(padded) if each == length]
        for start in range(0, len(mine), BATCH):
            block = mine[start : start + BATCH]
            yield Batch(tuple(block), *_padded([tokens[index] for index in block], length))


def streams(
    found: Pretrained, texts: Sequence[str], hook: Hook = no_hook, layer: int = -1
) -> Iterator[tuple[tuple[int, ...], jax.Array, jax.Array]]:
    """A layer's residual stream on texts, batch by batch, the shortest texts first.

    Args:
      found: the model.
      texts: to read.
      hook: what changes activations.
      layer: 0 is the embedding, -1 the stream after the last block.

    Yields:
      (indices of the texts, float32[B, L, D], bool[B, L] which tokens are theirs).

    Raises:
      UserError: as `batches`.
    """
    run = jax.jit(lambda params, ids, shown: Encoder(found.spec).apply({"params": params}, ids, shown, hook)[layer])
    for indices, ids_BxL, shown_BxL in batches(found, texts):
        yield indices, run(found.params, ids_BxL, shown_BxL)[: len(indices)], shown_BxL[: len(indices)]


def _padded(tokens: Sequence[Sequence[int]], length: int) -> tuple[jax.Array, jax.Array]:
    """(int32[BATCH, L] ids, bool[BATCH, L] which of them are a text's)."""
    ids_BxL, shown_BxL = np.zeros((BATCH, length), np.int32), np.zeros((BATCH, length), bool)
    for row, ids in enumerate(tokens):
        ids_BxL[row, : len(ids)], shown_BxL[row, : len(ids)] = ids, True
    return jnp.asarray(ids_BxL), jnp.asarray(shown_BxL)


def vectors(found: Pretrained, texts: Iterable[str], hook: Hook = no_hook, layer: int = -1) -> np.ndarray:
    """One vector a text, the mean over its tokens: float32[N, D]; each distinct text is read once.

    Args and Raises as of `streams`.
    """
    texts = list(texts)
    distinct = list(dict.fromkeys(texts))
    found_NxD = np.zeros((len(distinct), found.spec.width), np.float32)
    for indices, stream_BxLxD, shown_BxL in streams(found, distinct, hook, layer):
        found_NxD[list(indices)] = np.asarray(mean_pooled(stream_BxLxD, shown_BxL))
    row_of = {text: row for row, text in enumerate(distinct)}
    return found_NxD[[row_of[text] for text in texts]]


@command
def main(arguments: Sequence[str]) -> int:
    """Say what a folder holds, and how alike texts are to the model: the cosine of their vectors."""
    parser = Parser("lab.storage.pretrained", main.__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help=f"with {CONFIG}, {WEIGHTS} and {TOKENIZER}")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="two or more are compared")
    args = parser.read(arguments)
    found = read(args.folder)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(found.params))
    sizes = f"{found.spec.layers} blocks, width {found.spec.width}, {found.spec.heads} heads, {parameters:,} parameters"
    print(f"{args.folder}: {sizes}; texts of up to {found.spec.max_length} tokens of {found.spec.vocab_size:,}")
    vectors_NxD = vectors(found, args.texts) if args.texts else np.zeros((0, found.spec.width))
    unit_NxD = vectors_NxD / np.maximum(np.linalg.norm(vectors_NxD, axis=1, keepdims=True), 1e-12)
    for text, row in zip(args.texts, unit_NxD @ unit_NxD.T, strict=True):
        print(" ".join(f"{cosine:7.4f}" for cosine in row), "", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
