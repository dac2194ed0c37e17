"""A pretrained encoder: its numbers are those of a NumPy implementation of its own, and bad folders are named."""

import json
import os
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import erf

from lab.errors import UserError
from lab.nn.encoder import Encoder, mean_pooled
from lab.storage import pretrained
from tests.tiny_pretrained import CONFIG, write_folder

REAL = Path(os.environ.get("MISMATCH_MODEL", ""))
SENTENCES = (
    "the weather is lovely today",
    "The weather is lovely today",
    "it is sunny outside",
    "he drove to the stadium",
    "a dog and a cat",
    "not a dog and not a cat",
    "red red red red red red red red red red red red red red red red red red",
    "of",
    "",
    "the cat of the red dog drove to the stadium and the weather is not lovely outside today",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pretrained") / "tiny")


def by_hand(path, ids):
    """Every layer's stream of one text in float64, token by token: [layers + 1, L, D]."""
    config = json.loads((path / "config.json").read_text())
    w = {
        name.removeprefix("bert."): np.asarray(v, np.float64)
        for name, v in load_file(path / "model.safetensors").items()
    }

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    found, heads = [x], config["num_attention_heads"]
    size = config["hidden_size"] // heads
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(heads):
            mine = slice(head * size, (head + 1) * size)
            for token in range(len(ids)):
                scores = k[:, mine] @ q[token, mine] / np.sqrt(size)
                shares = np.exp(scores - scores.max())
                mixed[token, mine] = shares / shares.sum() @ v[:, mine]
        x = norm(x + dense(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        up = dense(x, f"{at}.intermediate.dense")
        x = norm(x + dense(up * 0.5 * (1 + erf(up / np.sqrt(2))), f"{at}.output.dense"), f"{at}.output.LayerNorm")
        found.append(x)
    return np.stack(found)


def assert_equals_the_one_by_hand(path):
    found = pretrained.read(path)
    ids = found.tokenize(SENTENCES)
    expected = [by_hand(path, each) for each in ids]
    for layer in (0, 1, -1):
        for indices, stream_BxLxD, shown_BxL in pretrained.streams(found, SENTENCES, layer=layer):
            for row, index in enumerate(indices):
                assert int(shown_BxL[row].sum()) == len(ids[index])
                mine = np.asarray(stream_BxLxD[row])[: len(ids[index])]
                np.testing.assert_allclose(mine, expected[index][layer], atol=1e-5)
    pooled = np.stack([each[-1].mean(axis=0) for each in expected])
    np.testing.assert_allclose(pretrained.vectors(found, SENTENCES), pooled, atol=1e-5)


def test_streams_and_vectors_of_ten_sentences_are_those_by_hand(folder):
    assert_equals_the_one_by_hand(folder)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.name, reason="MISMATCH_MODEL names no folder with all-MiniLM-L6-v2")
def test_the_real_model_gives_the_numbers_by_hand_and_the_published_similarities():
    """Similarities: the quickstart of Sentence Transformers, four digits."""
    assert_equals_the_one_by_hand(REAL)
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors_NxD = pretrained.vectors(pretrained.read(REAL), texts)
    unit_NxD = vectors_NxD / np.linalg.norm(vectors_NxD, axis=1, keepdims=True)
    published = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]
    np.testing.assert_allclose(unit_NxD @ unit_NxD.T, published, atol=6e-5)


def test_texts_are_never_cut_and_each_distinct_one_is_read_once(folder):
    found = pretrained.read(folder)
    assert [len(ids) for ids in found.tokenize(SENTENCES[6:9])] == [20, 3, 2]
    twice = pretrained.vectors(found, [*SENTENCES, *SENTENCES])
    np.testing.assert_array_equal(twice[: len(SENTENCES)], twice[len(SENTENCES) :])
    np.testing.assert_array_equal(twice[0], twice[1])  # upper and lower case are one to this tokenizer
    batches = [indices for indices, _, _ in pretrained.streams(found, [f"{'dog ' * n}cat" for n in range(36)])]
    assert sorted(index for indices in batches for index in indices) == list(range(36))
    with pytest.raises(UserError, match=r"the text 'red red .*…' has 52 tokens and the model takes 40; shorten it"):
        pretrained.vectors(found, ["red " * 50])


def test_weights_with_and_without_a_prefix_are_read(folder, tmp_path):
    other = write_folder(tmp_path / "prefixed", prefix="bert.")
    one, two = (pretrained.vectors(pretrained.read(path), SENTENCES) for path in (folder, other))
    np.testing.assert_array_equal(one, two)


def test_hooks_see_every_point_of_every_block_and_change_what_follows(folder):
    found, seen = pretrained.read(folder), []
    ids, shown = jnp.asarray([[2, 4, 5, 3]]), jnp.ones((1, 4), bool)

    def looking(point, layer, x):
        seen.append((point, layer))
        return x

    def zeroed(point, layer, x):
        return x * 0 if (point, layer) == ("mlp_out", 2) else x

    params = {"params": found.params}
    plain = Encoder(found.spec).apply(params, ids, shown, looking)
    points = ("attention_in", "qkv", "attention", "mixed", "attention_out", "mlp_in", "neurons", "mlp_out", "residual")
    assert seen == [("embedding", 0), *((point, layer) for layer in (1, 2) for point in points)]
    changed = Encoder(found.spec).apply(params, ids, shown, zeroed)
    np.testing.assert_array_equal(plain[:2], changed[:2])
    assert np.abs(np.asarray(plain[2] - changed[2])).max() > 0.1


def test_what_stands_in_padding_changes_nothing(folder):
    found = pretrained.read(folder)
    shown = jnp.asarray([[True, True, True, False, False]])
    one, two = (jnp.asarray([[2, 4, 3, *padding]]) for padding in ((0, 0), (9, 11)))
    streams = [Encoder(found.spec).apply({"params": found.params}, ids, shown) for ids in (one, two)]
    np.testing.assert_array_equal(*(stream[:, :, :3] for stream in streams))
    np.testing.assert_array_equal(*(mean_pooled(stream[-1], shown) for stream in streams))
    np.testing.assert_array_equal(mean_pooled(streams[0][-1], jnp.zeros_like(shown)), np.zeros((1, 8)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"there is no config\.json; a pretrained model is a folder with"),
        ("tokenizer.json", None, r"there is no tokenizer\.json"),
        ("model.safetensors", None, r"there is no model\.safetensors"),
        ("config.json", "{", r"config\.json can't be read"),
        ("config.json", "[]", r"config\.json holds no fields"),
        ("config.json", {"model_type": "gpt2"}, r"model_type is 'gpt2'; this reader knows bert alone"),
        ("config.json", {"hidden_size": "8"}, r"hidden_size is '8'; it must be a whole number above 0"),
        ("config.json", {"num_attention_heads": 3}, r"num_attention_heads must divide hidden_size"),
        ("config.json", {"hidden_act": "swish"}, r"hidden_act is 'swish'; it must be one of"),
        ("config.json", {"position_embedding_type": "relative_key"}, r"only 'absolute' can be read"),
        ("config.json", {"intermediate_size": 16}, r"has the shape .* and config\.json describes"),
        ("config.json", {"num_hidden_layers": 3}, r"the weights 'encoder\.layer\.2\..*' are missing"),
        ("config.json", {"vocab_size": 20}, r"embeddings\.word_embeddings\.weight' has the shape \(24, 8\)"),
        ("model.safetensors", "no weights", r"model\.safetensors is damaged"),
        ("tokenizer.json", "{}", r"tokenizer\.json is no tokenizer"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named_in_a_sentence(folder, tmp_path, name, content, message):
    bad = Path(shutil.copytree(folder, tmp_path / "bad"))
    if content is None:
        (bad / name).unlink()
    elif isinstance(content, dict):
        (bad / name).write_text(json.dumps({**CONFIG, **content}))
    else:
        (bad / name).write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        pretrained.read(bad)
    assert "\n" not in str(raised.value)


def test_the_example_of_the_page_runs(folder, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "pretrained.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(folder.parent)
    (folder.parent / "all-MiniLM-L6-v2").symlink_to(folder)
    names = {}
    exec(code, names)
    assert names["vectors_NxD"].shape == (2, 8)


def test_the_command_compares_texts(folder, capsys):
    assert pretrained.main([str(folder), "a dog", "a cat"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("2 blocks, width 8, 2 heads, 1,608 parameters; texts of up to 40 tokens of 24")
    assert printed[1].startswith(" 1.0000")
    assert printed[2].endswith("a cat")
    assert pretrained.main([str(folder / "nowhere")]) == 2


def test_weights_that_are_not_finite_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bad")
    weights = load_file(tmp_path / "bad" / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, 0] = np.nan
    save_file(weights, str(tmp_path / "bad" / "model.safetensors"))
    with pytest.raises(UserError, match=r"'encoder\.layer\.0\.output\.dense\.weight' holds what is no finite number"):
        pretrained.read(tmp_path / "bad")
