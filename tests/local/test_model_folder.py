"""A model's folder works as it was laid down, or what is missing is named."""

import json

import pytest
from tests.cli.inside import run
from tests.local.folders import change

from tovec.errors import UsageError
from tovec.local.model_folder import find_onnx


def lay_down(path, *, onnx=("model.onnx",)):
    """Lay down a folder whose weights are only names: it is found, not loaded."""
    for name in (*onnx, "tokenizer.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    (path / "1_Pooling").mkdir(exist_ok=True)
    change(path / "1_Pooling/config.json", pooling_mode_cls_token=True, word_embedding_dimension=8)
    return path


def test_a_folder_says_how_it_pools_and_what_it_takes(tmp_path):
    folder = lay_down(tmp_path / "bge-small")
    change(folder / "sentence_bert_config.json", max_seq_length=100)
    change(folder / "tokenizer_config.json", model_max_length=int(1e30))
    found = find_onnx(str(folder))
    assert (found.pooling, found.pooling_is_assumed) == ("cls", False)
    assert (found.dimensions, found.max_tokens) == (8, 100)
    assert found.id.startswith("bge-small@")


def test_the_mean_is_taken_where_a_folder_does_not_say(tmp_path):
    """Exports of a hub's users often hold nothing but the graph and the tokenizer."""
    folder = lay_down(tmp_path / "m")
    (folder / "1_Pooling/config.json").unlink()
    found = find_onnx(str(folder))
    assert (found.pooling, found.pooling_is_assumed, found.normalize) == ("mean", True, True)


@pytest.mark.parametrize("changed", ["model.onnx", "tokenizer.json", "1_Pooling/config.json",
                                     "model.onnx_data"])  # fmt: skip
def test_two_versions_of_a_model_have_two_ids(tmp_path, changed):
    """#281 Vectors of two versions in one job or one search would be wrong in silence."""
    folder = lay_down(tmp_path / "m")
    before = find_onnx(str(folder)).id
    assert find_onnx(str(folder)).id == before
    file = folder / changed
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert find_onnx(str(folder)).id != before


def test_a_hubs_cache_gives_the_repositorys_name(tmp_path):
    """There the folder itself is named after a commit."""
    folder = lay_down(tmp_path / "models--intfloat--multilingual-e5-small" / "snapshots" / "c0ffee")
    assert find_onnx(str(folder)).id.startswith("multilingual-e5-small@")


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model_int8.onnx", "other.onnx"])
def test_the_only_onnx_file_is_found_wherever_it_is(tmp_path, name):
    folder = lay_down(tmp_path / "m", onnx=(name,))
    assert find_onnx(str(folder)).weights == folder / name
    assert find_onnx(str(folder / name)).weights == folder / name


def test_prompts_are_found_by_name_and_its_synonym(tmp_path):
    folder = lay_down(tmp_path / "m")
    change(
        folder / "config_sentence_transformers.json",
        prompts={"query": "query: ", "document": "passage: "}, default_prompt_name="document",
    )  # fmt: skip
    found = find_onnx(str(folder))
    texts = [found.prompt_text(p) for p in ("query", "passage", None, "none", "Find it: ")]
    assert texts == ["query: ", "passage: ", "passage: ", "", "Find it: "]
    for name in ("code", "search-query"):
        with pytest.raises(UsageError, match=rf"no prompt named {name}; it has: document, query"):
            found.prompt_text(name)


ONNX = ("-p", "onnx", "-m")
NAMED = {
    "no folder": (lambda f: f.rename(f.with_name("away")), "there is no model folder"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no graph": (lambda f: (f / "model.onnx").unlink(), "has no model.onnx"),
    "two graphs": (
        lambda f: (f / "model.onnx").rename(f / "b.onnx").with_name("c.onnx").write_bytes(b""),
        "has 2 ONNX files: b.onnx, c.onnx",
    ),
    "pooling": (
        lambda f: change(f / "1_Pooling/config.json", pooling_mode_max_tokens=True),
        "pools by cls and max",
    ),
    "a module": (
        lambda f: (f / "modules.json").write_text(
            json.dumps([{"type": "sentence_transformers.models.Dense"}])
        ),
        "a module Dense, which tovec does not compute",
    ),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "is not the JSON that it should"),
    "prompts": (
        lambda f: change(f / "config_sentence_transformers.json", prompts=["a"]),
        "prompts are not a table",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_a_folder_lacks_is_named(tmp_path, case):
    """#282 A file that is missing is named with the command that fetches it; no traceback."""
    folder = lay_down(tmp_path / "m")
    spoil, said = NAMED[case]
    spoil(folder)
    done = run("embed", *ONNX, folder, "hello")
    assert done.code == 2
    error = done.err.decode()
    assert said in error
    assert ("hf download" in error) == (case.startswith("no "))


def test_a_hubs_name_gets_the_command_that_fetches_it():
    done = run("embed", *ONNX, "intfloat/multilingual-e5-small", "hello")
    command = b"hf download intfloat/multilingual-e5-small --local-dir multilingual-e5-small"
    assert done.code == 2
    assert command in done.err


def test_a_prompt_is_refused_where_nothing_would_read_it():
    """An option that does nothing would be a silent mistake."""
    for command in (["embed"], ["serve"]):
        done = run(
            *command, "-p", "local", "--prompt", "query", *(["hi"] * (command[0] == "embed"))
        )
        assert (done.code, b"--prompt" in done.err) == (2, True)
