"""A pretrained folder with random weights, and a made-up benchmark, for tests and `.ci/run`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lab.frozen.knobs import KNOBS
from lab.frozen.study import FrozenStudy

WORDS = ("the", "weather", "is", "lovely", "today", "sunny", "outside", "he", "drove", "to", "stadium", "dog", "cat")
MORE = ("not", "a", "of", "and", "red")
CONFIG = dict(
    model_type="bert",
    vocab_size=24,
    max_position_embeddings=40,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    type_vocab_size=2,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
)


def write_folder(path, prefix="", **changes):
    """A model of random weights, under the names that BERT's are published with."""
    config, random = {**CONFIG, **changes}, np.random.default_rng(0)
    width, neurons = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in {
            **{f"attention.self.{each}": (width, width) for each in ("query", "key", "value")},
            "attention.output.dense": (width, width),
            "intermediate.dense": (neurons, width),
            "output.dense": (width, neurons),
        }.items():
            shapes |= {f"encoder.layer.{layer}.{name}.weight": (rows, columns)}
            shapes |= {f"encoder.layer.{layer}.{name}.bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.{layer}.{name}.{each}": (width,) for each in ("weight", "bias")}
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    weights = {prefix + n: random.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    save_file(weights, str(path / "model.safetensors"))
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *MORE])}
    found = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    found.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    found.enable_truncation(6)  # as published ones have it: must not cut
    found.enable_padding(length=6)
    found.save(str(path / "tokenizer.json"))
    return path


def write_questions(path, ask=1200, fit=40, noise=0.3):
    """Multiple-choice questions in JSON lines: the right choice repeats words of the question, most of the time."""
    random = np.random.default_rng(1)
    path.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", fit), ("dev", ask)):
        with open(path / f"{name}.jsonl", "w") as file:
            for _ in range(count):
                asked = random.choice(WORDS, 6)
                choices = [" ".join(random.choice(WORDS, 3)) for _ in range(4)]
                answer = int(random.integers(4))
                if random.random() > noise:
                    choices[answer] = " ".join(asked[:5])
                record = {"question": " ".join(asked), "choices": choices, "answer": "ABCD"[answer]}
                file.write(json.dumps(record) + "\n")
    return path


def tiny_study(folder, knob="whitening.power", values=(0.0, 0.5, 1.0), **changes):
    """A frozen study of the model and the questions in a folder."""
    of_it: dict[str, Any] = dict(
        name=f"pretrained-{knob}",
        question="",
        model_dir=folder / "model",
        data_dir=folder / "questions",
        format="multiple_choice",
        options=dict(answer_is="letter"),
        ask="dev",
        fit="train",
        fit_questions=2048,
        folds=12,
        seed=0,
        knob=KNOBS[knob],
        values=values,
        chosen={},
        gains=dict(rank_me=1),
        alpha=0.05,
        delta=0.1,
    )
    return FrozenStudy(**of_it | changes)


if __name__ == "__main__":  # python -m tests.tiny_pretrained DIR: DIR/model and DIR/questions
    write_folder(Path(sys.argv[1], "model"))
    write_questions(Path(sys.argv[1], "questions"))
