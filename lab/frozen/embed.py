"""The vectors of texts at each setting of a knob, and whether their cosines answer questions.

Each distinct text is read once a setting; what does not touch weights or states shares one reading for all settings.

Shape letters: N texts, B texts of one call, L tokens, D width, Q questions, I inputs of a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lab.errors import UserError
from lab.frozen.knobs import LAYERS, LOW_RANK, STATES, VECTORS, WEIGHTS, Fitted, decompose, kernels_of, with_kernels
from lab.frozen.study import LEAST_QUESTIONS, FrozenStudy
from lab.nn.encoder import Encoder, EncoderSpec, mean_pooled
from lab.storage import pretrained
from lab.storage.pretrained import Pretrained
from tasks import TaskError
from tasks.text import Item, read

COSINE_DIGITS = 12  # a product of matrices gives equal vectors cosines that differ in the last bit
ENTERS = {"attention_in": ("query", "key", "value"), "mixed": ("output",), "mlp_in": ("up",), "neurons": ("down",)}


@dataclass(frozen=True)
class Questions:
    """What is asked, and what knobs are fitted on.

    Attributes:
      items: the questions of the asked split, in the file's order.
      texts: every distinct text of questions and choices.
      question_Q, answer_Q: int[Q], the question's text, and which of its choices is right.
      choices: for each question the texts of its choices.
      fold_Q: int[Q], drawn once: sizes differ by one at most.
      fit_texts: distinct texts of the first questions of the other split that are not asked, and of their choices;
        empty unless the knob is fitted.
    """

    items: tuple[Item, ...]
    texts: tuple[str, ...]
    question_Q: np.ndarray
    answer_Q: np.ndarray
    choices: tuple[tuple[int, ...], ...]
    fold_Q: np.ndarray
    fit_texts: tuple[str, ...]

    @property
    def chance(self) -> float:
        """What guessing among the choices gets right."""
        return float(np.mean([1 / len(each) for each in self.choices]))


def read_questions(study: FrozenStudy) -> Questions:
    """The questions of a study's benchmark.

    Raises:
      UserError: in one sentence: a file is missing or malformed, a split has no questions with choices, or too few.
    """
    try:
        found = read(study.format, study.data_dir, **study.options)
    except TaskError as error:
        raise UserError(f"config.data_dir: {error}") from None
    for field, name in (("ask", study.ask), *([("fit", study.fit)] if study.fits else [])):
        if name not in found.splits:
            raise UserError(f"config.data.{field}={name}: no such split; there are {', '.join(found.splits)}.")
    items = found.splits[study.ask]
    asked = {_asked(item) for item in items}
    rest = found.splits[study.fit] if study.fits else ()
    fit = [item for item in rest if _asked(item) not in asked][: study.fit_questions]
    if bare := next((item for item in items if len(item.choices) < 2), None):
        raise UserError(
            f"{bare.file}, line {bare.line}: a frozen study chooses among choices, and this question has none; take a"
            " multiple-choice format."
        )
    least = study.folds * LEAST_QUESTIONS
    if len(items) < least:
        raise UserError(
            f"config.data.ask={study.ask} has {len(items):,} questions; {study.folds} folds of {LEAST_QUESTIONS} take"
            f" {least:,}."
        )
    texts = tuple(dict.fromkeys(text for item in items for text in (_asked(item), *item.choices)))
    index_of = {text: index for index, text in enumerate(texts)}
    order_Q = np.random.default_rng(study.seed).permutation(len(items))
    fold_Q = np.empty(len(items), int)
    fold_Q[order_Q] = np.arange(len(items)) % study.folds
    return Questions(
        items=items,
        texts=texts,
        question_Q=np.asarray([index_of[_asked(item)] for item in items]),
        answer_Q=np.asarray([item.choices.index(item.answer) for item in items]),
        choices=tuple(tuple(index_of[choice] for choice in item.choices) for item in items),
        fold_Q=fold_Q,
        fit_texts=tuple(dict.fromkeys(text for item in fit for text in (_asked(item), *item.choices))),
    )


def check_texts(study: FrozenStudy, model: Pretrained, questions: Questions) -> None:
    """Refuse texts that the model can't take, and too few to fit directions on.

    Raises:
      UserError: in one sentence, with the question's file and line.
    """
    most, width = model.spec.max_length, model.spec.width
    long = {text for text, ids in zip(questions.texts, model.tokenize(questions.texts), strict=True) if len(ids) > most}
    for item in questions.items if long else ():
        if long & {_asked(item), *item.choices}:
            raise UserError(
                f"{item.file}, line {item.line}: a text of this question has more tokens than the {most:,} that the"
                " model takes, and nothing is cut; take another benchmark, or leave the question out."
            )
    if study.knob.acts_on == VECTORS and len(questions.fit_texts) < LEAST_TEXTS * width:
        raise UserError(
            f"config.data.fit_questions={study.fit_questions}: they have {len(questions.fit_texts):,} distinct texts,"
            f" and {width} directions take {LEAST_TEXTS * width:,} at least; raise it, or name a larger split."
        )


LEAST_TEXTS = 4  # for each direction that is fitted


def _asked(item: Item) -> str:
    return " ".join((*item.context, item.question))


def right(vectors_NxD: np.ndarray, questions: Questions) -> np.ndarray:
    """Which questions are answered by the choice with the largest cosine to the question: bool[Q].

    Of choices that are equally near, but for rounding, the first; a question with a vector that is not finite is not
    answered.
    """
    with np.errstate(invalid="ignore"):
        norm_Nx1 = np.linalg.norm(vectors_NxD, axis=1, keepdims=True)
        unit_NxD = vectors_NxD / np.where(norm_Nx1 > 0, norm_Nx1, 1)
    found = np.zeros(len(questions.question_Q), bool)
    for row, (asked, choices) in enumerate(zip(questions.question_Q, questions.choices, strict=True)):
        cosines = np.round(unit_NxD[list(choices)] @ unit_NxD[asked], COSINE_DIGITS)
        found[row] = np.isfinite(cosines).all() and int(np.argmax(cosines)) == questions.answer_Q[row]
    return found


@partial(jax.jit, static_argnames=("spec", "noisy"))
def _means(spec: EncoderSpec, noisy: bool, params: Any, ids_BxL: Any, shown_BxL: Any, key_B: Any, scale: Any) -> Any:
    """Every layer's mean over a text's tokens: float32[layers + 1, B, D]."""

    def hook(point: str, layer: int, x: Any) -> Any:
        if not noisy or point != "residual":
            return x
        draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, layer), x.shape[1:]))(key_B)
        size_BxLx1 = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True))
        return x + scale * jnp.broadcast_to(size_BxLx1, x.shape) * draw

    streams: Any = Encoder(spec).apply({"params": params}, ids_BxL, shown_BxL, hook)
    return jnp.stack([mean_pooled(stream_BxLxD, shown_BxL) for stream_BxLxD in streams])


@partial(jax.jit, static_argnames=("spec",))
def _squared_inputs(spec: EncoderSpec, params: Any, ids_BxL: Any, shown_BxL: Any) -> Any:
    """(block, kernel) -> float32[I], the sum of squares of what enters each kernel, over the texts' tokens."""
    found: dict[tuple[str, str], Any] = {}

    def hook(point: str, layer: int, x: Any) -> Any:
        if point in ENTERS:
            weights_BxLx1 = jnp.broadcast_to(shown_BxL[..., None], x.shape).astype(jnp.float32)
            for name in ENTERS[point]:
                found[f"block_{layer - 1}", name] = jnp.sum(jnp.square(x) * weights_BxLx1, axis=(0, 1))
        return x

    Encoder(spec).apply({"params": params}, ids_BxL, shown_BxL, hook)
    return {"/".join(name): value for name, value in found.items()}


@dataclass(frozen=True)
class Embedder:
    """A study's model and questions, and what settings share.

    Attributes:
      study, model, questions: of the study.
    """

    study: FrozenStudy
    model: Pretrained
    questions: Questions

    def vectors(self, value: float) -> np.ndarray:
        """float64[N, D]: a vector for each of the questions' texts at one setting of the knob."""
        study, knob = self.study, self.study.knob
        if value == knob.neutral:
            return self._published[-1]
        if knob.acts_on == LAYERS:
            return self._published[-1 - int(value)]
        if knob.acts_on == STATES:
            return self._read(self.model.params, self.questions.texts, scale=value)[-1]
        assert knob.apply is not None, "a knob on weights or vectors is a function of them"
        if knob.acts_on == VECTORS:
            return knob.apply(self._published[-1], value, self._fitted)
        kernels = knob.apply(kernels_of(self.model.params), value, self._fitted, study.seed, study.chosen)
        return self._read(with_kernels(self.model.params, kernels), self.questions.texts)[-1]

    @cached_property
    def _published(self) -> np.ndarray:
        """Of the model as it is: float64[layers + 1, N, D]."""
        return self._read(self.model.params, self.questions.texts)

    @cached_property
    def _fitted(self) -> Fitted:
        """What the study's knob needs from the other split, and no more."""
        width = self.model.spec.width
        mean_D, value_D, basis_DxD = np.zeros(width), np.ones(width), np.eye(width)
        norms: dict[tuple[str, ...], np.ndarray] = {}
        if self.study.knob.acts_on == VECTORS:
            vectors_NxD = self._read(self.model.params, self.questions.fit_texts)[-1]
            if not np.isfinite(vectors_NxD).all():
                raise UserError(f"config.model_dir={self.study.model_dir}: some vectors are not finite; is it damaged?")
            mean_D = vectors_NxD.mean(axis=0)
            value_D, basis_DxD = np.linalg.eigh(np.cov(vectors_NxD.T))
            value_D, basis_DxD = np.maximum(value_D[::-1], 0), basis_DxD[:, ::-1]
        elif self.study.knob.acts_on == WEIGHTS and self.study.chosen.get("score") == "wanda":
            norms = self._input_norms(self.questions.fit_texts)
        decomposed = {}
        if self.study.knob.name == LOW_RANK:
            decomposed = {name: decompose(kernel) for name, kernel in kernels_of(self.model.params).items()}
        return Fitted(mean_D, value_D, basis_DxD, norms, decomposed)

    def _read(self, params: Any, texts: Sequence[str], scale: float | None = None) -> np.ndarray:
        spec = self.model.spec
        found = np.zeros((spec.layers + 1, len(texts), spec.width))
        root = jax.random.key(self.study.seed)
        for batch in pretrained.batches(self.model, texts):
            row_B = np.zeros(len(batch.ids_BxL), np.uint32)
            row_B[: len(batch.indices)] = batch.indices
            key_B = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(row_B))
            means = _means(
                spec,
                scale is not None,
                params,
                batch.ids_BxL,
                batch.shown_BxL,
                key_B,
                jnp.float32(scale or 0),
            )
            found[:, list(batch.indices)] = np.asarray(means)[:, : len(batch.indices)]
        return found

    def _input_norms(self, texts: Sequence[str]) -> dict[tuple[str, ...], np.ndarray]:
        total: dict[tuple[str, ...], np.ndarray] = {}
        tokens = 0
        for batch in pretrained.batches(self.model, texts):
            sums = _squared_inputs(self.model.spec, self.model.params, batch.ids_BxL, batch.shown_BxL)
            tokens += int(np.asarray(batch.shown_BxL).sum())
            for name, value in sums.items():
                at = tuple(name.split("/"))
                total[at] = total.get(at, 0.0) + np.asarray(value, np.float64)
        return {name: np.sqrt(value / tokens) for name, value in total.items()}


def model_facts(model: Pretrained) -> Mapping[str, int]:
    """Sizes of a model that a report states."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    return {"blocks": model.spec.layers, "width": model.spec.width, "parameters": parameters}
