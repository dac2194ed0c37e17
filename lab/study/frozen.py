"""The config of a frozen study: knobs on a model that others trained; nothing is trained. Loads no JAX.

    from lab.study import axis, frozen_config

Its fields are checked in `lab.frozen.study`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from lab.errors import nearest
from lab.study.grid import UnknownVariant, declare_own


def frozen_config(variant: str = "", variants: tuple[str, ...] = (), own: Mapping[str, Any] | None = None) -> Any:
    """A ConfigDict with every field of a frozen study at its default, to be filled in by a study's get_config().

    Args:
      variant: the part behind ':' on the command line.
      variants: the variants that the study knows.
      own: fields of the study's own, which its sweep() reads, and their values.

    Raises:
      UserError: for a variant that it doesn't know, and for an own field with the name of another one.
    """
    if variant and variant not in variants:
        raise UnknownVariant(f"--config: unknown variant ':{variant}'. {nearest(variant, variants or ('(none)',))}")
    # Not type-safe: a wrong type gets its sentence from lab.frozen.study, as all other mistakes do.
    config = ConfigDict(type_safe=False)
    config.name = ""
    config.question = ""
    config.model_dir = ""  # a folder with config.json, model.safetensors and tokenizer.json (docs/pretrained.md)
    config.data_dir = ""  # the folder of a published multiple-choice file (docs/text.md)
    # the file's format and the format's own options; the split whose questions are asked, and the one that knobs which
    # fit something (whitening, Wanda's norms) are fitted on, with so many of its questions
    data = dict(format="commonsenseqa", options=ConfigDict(type_safe=False), ask="dev", fit="train", fit_questions=2048)
    config.data = ConfigDict(data, type_safe=False)
    config.folds = 12  # the paired units: so many parts of the questions, drawn once
    config.seed = 0  # of the folds, and of noise where a knob is one
    config.knobs = ConfigDict(type_safe=False)  # knob -> {setting: value}, for what is no axis, such as prune.score
    gains = ConfigDict(type_safe=False)  # latent reading -> +1 or -1, as in other studies
    config.claim = ConfigDict(dict(gains=gains, alpha=0.05, delta=0.1), type_safe=False)
    declare_own(config, own or {})
    return config


def is_frozen(config: Any) -> bool:
    """Whether a config is that of a frozen study."""
    return "model_dir" in config and "tasks" not in config
