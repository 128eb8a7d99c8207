"""The provider table: complete, overridable, typos refused, and no choice made in silence."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.endpoint import providers
from tovec.endpoint.address import checked_url, resolve
from tovec.endpoint.credentials import find_key
from tovec.errors import TovecError, UsageError
from tovec.records import Limits
from tovec.settings import Settings

TABLE = providers.load()
KEYED = sorted({one.key_env for one in TABLE.values() if one.key_env and one.by_key})


# The facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "url", "key_env", "model"),
    [
        (
            "openai",
            "https://api.openai.com/v1/embeddings",
            "OPENAI_API_KEY",
            "text-embedding-3-small",
        ),
        (
            "aimlapi",
            "https://api.aimlapi.com/v1/embeddings",
            "AIMLAPI_API_KEY",
            "text-embedding-3-small",
        ),
        (
            "aivene",
            "https://api.aivene.com/v1/embeddings",
            "AIVENE_API_KEY",
            "text-embedding-3-small",
        ),
        (
            "nugen",
            "https://api.nugen.in/api/v3/inference/embeddings",
            "NUGEN_API_KEY",
            "nugen-flash-embed",
        ),
    ],
)
def test_the_documented_providers_are_complete(name, url, key_env, model):
    """seed 000 (AI/ML API), 001 (the API itself), 002 (Aivene), 003 (Nugen): address and key."""
    provider = TABLE[name]
    assert resolve(provider, Settings()).url == url
    assert (provider.key_env, provider.default_model) == (key_env, model)
    assert (provider.key_header, provider.key_prefix) == ("Authorization", "Bearer ")
    assert provider.limits == Limits(2048, 300_000, 8192, None)
    assert provider.dimensions_field == "dimensions"
    assert provider.docs.startswith("https://")
    assert provider.verified


def test_aivene_takes_base64_and_lists_its_models():
    """seed 002: encoding_format float or base64; GET /v1/models."""
    aivene = resolve(TABLE["aivene"], Settings())
    assert aivene.provider.base64 is True
    assert aivene.models_url == "https://api.aivene.com/v1/models"


def test_nugens_undocumented_fields_are_not_sent_and_its_guessed_key_is_marked():
    """seed 003 has model, input (string or strings) and dimensions, and names no key variable."""
    nugen = TABLE["nugen"]
    assert (nugen.encoding_field, nugen.models_path) == (None, None)
    assert "key_env" in nugen.unverified


def test_voyage_and_mistral_call_dimensions_by_another_name():
    for name in ("voyage", "mistral"):
        assert TABLE[name].dimensions_field == "output_dimension"


def test_azure_has_its_own_header_and_a_version_in_the_address():
    azure = TABLE["azure"]
    assert (azure.key_header, azure.key_prefix) == ("api-key", "")
    base = "https://res.openai.azure.com/openai/deployments/dep"
    url = resolve(azure, Settings(base_url=base, model="dep")).url
    assert re.fullmatch(re.escape(base) + r"/embeddings\?api-version=\d{4}-\d\d-\d\d", url)


@pytest.mark.parametrize("name", ["ollama", "vllm", "tei", "llamacpp", "lmstudio", "local"])
def test_local_servers_need_no_key(name):
    assert find_key(TABLE[name], TABLE[name].base_url, {}, TABLE) is None


@pytest.mark.parametrize("name", ["litellm", "vllm", "tei", "llamacpp", "lmstudio", "infinity"])
def test_a_server_of_ones_own_takes_a_key_where_it_was_started_with_one(name):
    """#191: each can be started with a key. A key in the environment chooses none of them."""
    row = TABLE[name]
    key = find_key(row, row.base_url, {row.key_env: "mine"}, TABLE)
    assert key is not None and key.reveal() == "mine"
    with pytest.raises(UsageError):
        chosen(**{row.key_env: "mine"})


def test_models_in_this_process_have_addresses_that_lead_nowhere():
    here = [one for one in TABLE.values() if one.in_process]
    assert [one.name for one in here] == ["local", "onnx", "model2vec"]
    assert all(one.base_url.split("/")[2].endswith(".invalid") for one in here)


@pytest.mark.parametrize("provider", TABLE.values(), ids=TABLE)
def test_a_row_is_well_formed_and_says_where_it_is_from(provider):
    assert provider.source
    if provider.base_url:
        assert checked_url(provider.base_url) == provider.base_url
        secure = provider.base_url.startswith("https://")
        assert secure or not provider.key_required, "a key needs https"
    assert provider.path.startswith("/")
    assert provider.models_path is None or provider.models_path.startswith("/")
    assert bool(provider.key_env) or not provider.key_required
    assert all(limit is None or limit > 0 for limit in provider.limits)
    fields = {name.partition(".")[0] for name in provider.unverified}
    assert fields <= set(providers.Provider._fields)


def test_no_limit_is_above_the_apis_own():
    """What is not known to be more is taken to be no more."""
    api = Limits()
    for provider in TABLE.values():
        for limit, most in zip(provider.limits[:3], api[:3], strict=True):
            assert limit is not None
            assert limit <= most


def test_what_a_field_of_the_file_is_not_known_for_cannot_be_written_there():
    """Each row is read by the rules that hold for a user's own."""
    rows = tomllib.loads(providers.TABLE.read_text())
    for row in rows.values():
        assert row.keys() - {"in_process"} <= providers._KNOWN


# A user's own rows --------------------------------------------------------------------------------


def test_a_row_is_laid_over_field_by_field():
    changes = {
        "base_url": "https://proxy.example/v1",
        "limits": {"items": 100, "tokens": 0},
        "key_command": ["pass", "show", "openai"],
        "key_env": "",
        "query": {"team": "a"},
        "base64": False,
    }
    changed = providers.load({"openai": changes})["openai"]
    assert changed == TABLE["openai"]._replace(
        base_url="https://proxy.example/v1",
        limits=Limits(100, None, 8192, None),
        key_command=("pass", "show", "openai"),
        key_env=None,
        query={"team": "a"},
        base64=False,
    )
    assert providers.load()["openai"] == TABLE["openai"]


def test_a_new_row_needs_a_key_only_where_it_names_one():
    rows = {
        "open": {"base_url": "http://127.0.0.1:9/v1"},
        "closed": {"base_url": "https://a.example/v1", "key_env": "A_KEY"},
        "commanded": {"base_url": "https://a.example/v1", "key_command": ["true"]},
        "filed": {"base_url": "https://a.example/v1", "key_file": "~/key"},
        "either": {"key_env": "A_KEY", "key_required": False},
    }
    table = providers.load(rows)
    assert {name for name in rows if table[name].key_required} == {"closed", "commanded", "filed"}
    assert set(table) == set(TABLE) | set(rows)


@pytest.mark.parametrize(
    ("row", "where", "hint"),
    [
        ({"base_ulr": "http://x"}, "providers.mine.base_ulr", "did you mean base_url?"),
        ({"in_process": True}, "providers.mine.in_process", "known: "),
        ({"api_key": "sk-1"}, "providers.mine.api_key", "use key_env, key_command, key_file"),
        ({"limits": {"item": 5}}, "providers.mine.limits.item", "did you mean items?"),
        ({"limits": {"items": -1}}, "providers.mine.limits.items", "a whole number"),
        ({"limits": {"items": True}}, "providers.mine.limits.items", "a whole number"),
        ({"limits": {"items": 1.5}}, "providers.mine.limits.items", "a whole number"),
        ({"limits": 5}, "providers.mine.limits", "a table of body_bytes, item_tokens"),
        ({"limits": {"items": 10**30}}, "providers.mine.limits.items", "a whole number"),
        ({"base_url": 5}, "providers.mine.base_url", "a string"),
        ({"base64": "yes"}, "providers.mine.base64", "true or false"),
        ({"key_command": "pass show"}, "providers.mine.key_command", "a list of strings"),
        ({"key_command": []}, "providers.mine.key_command", "a list of strings"),
        ({"key_command": ["pass", 1]}, "providers.mine.key_command", "a list of strings"),
        ({"query": {"a": 1}}, "providers.mine.query", "a table of strings"),
        ({"query": ["a"]}, "providers.mine.query", "a table of strings"),
    ],
)
def test_a_mistake_in_a_row_is_refused_by_name(row, where, hint):
    with pytest.raises(UsageError) as error:
        providers.load({"mine": row})
    assert error.value.where == where
    assert hint in error.value.hint
    assert "sk-1" not in str(vars(error.value))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("key_header", "X\nY", "control character"),
        ("key_header", "X Y", "not the name of a header"),
        ("key_header", "", "not the name of a header"),
        ("key_header", "Content-Length", "sets itself"),
        ("key_prefix", "Bearer\r\nx: ", "control character"),
        ("key_prefix", "Träger ", "not ASCII"),
        ("path", "embeddings", "does not begin with /"),
        ("models_path", "/v1\nx", "control character"),
        ("base_url", "https://h\0", "control character"),
        ("key_command", ["a\0b"], "NUL"),
        ("key_hosts", ["https://h.example"], "not a host"),
        ("query", {"a\n": "b"}, "control character"),
        ("query", {"a": "b\r"}, "control character"),
    ],
)
def test_a_value_that_would_break_a_request_is_refused_and_not_repeated(field, value, problem):
    """#194: such a header is sent as a broken request, and the network is blamed for it."""
    with pytest.raises(UsageError, match=problem) as error:
        providers.load({"mine": {field: value}})
    assert error.value.where == f"providers.mine.{field}"


@pytest.mark.parametrize("field", ["base_url", "path", "key_env", "key_command", "query", "base64"])
def test_what_cannot_act_on_the_model_in_this_process_is_refused(field):
    """#195: `-p local` is the way out that every hint names; nothing may break it."""
    value = {"key_command": ["true"], "query": {"a": "b"}, "base64": True}.get(field, "/x")
    with pytest.raises(UsageError, match="runs in this process"):
        providers.load({"local": {field: value}})
    assert providers.load({"local": {"limits": {"items": 7}}})["local"].limits.items == 7


def test_a_provider_that_is_no_table_is_refused_by_name():
    with pytest.raises(UsageError, match=r"providers\.mine"):
        providers.load({"mine": "https://a.example/v1"})


json_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
)
names = st.sampled_from(sorted(providers._KNOWN)) | st.text()


@given(st.dictionaries(names, json_values | st.dictionaries(st.text(), json_values)))
def test_whatever_a_row_holds_it_is_a_provider_or_a_usage_error(row):
    try:
        table = providers.load({"mine": row})
    except UsageError as error:
        assert error.where.startswith("providers.mine.")
    else:
        assert isinstance(table["mine"], providers.Provider)


# Which one is asked -------------------------------------------------------------------------------


def chosen(name=None, address=None, **environ):
    return providers.choose(name, address, environ, TABLE).name


def test_what_is_named_wins_over_any_key_and_address():
    assert chosen("mistral", None, OPENAI_API_KEY="k") == "mistral"
    assert chosen("nugen", "http://127.0.0.1:1/v1") == "nugen"


def test_an_address_alone_is_a_custom_provider_and_gets_nobody_elses_key():
    address = "https://elsewhere.example/v1"
    environ = {"OPENAI_API_KEY": "sk-openai"}
    provider = providers.choose(None, address, environ, TABLE)
    assert find_key(provider, address, environ, TABLE) is None
    assert find_key(provider, address, {"TOVEC_API_KEY": "mine"}, TABLE).reveal() == "mine"
    assert resolve(provider, Settings(base_url=address, model="m")).url == address + "/embeddings"


def test_openais_key_comes_first():
    """`llm` and the SDKs read this variable: whoever has set it means it."""
    assert chosen(**dict.fromkeys(KEYED, "k")) == "openai"


@given(st.sets(st.sampled_from([name for name in KEYED if name != "OPENAI_API_KEY"])))
def test_otherwise_exactly_one_key_chooses_and_nothing_else_does(keys):
    environ = dict.fromkeys(keys, "k")
    if len(keys) == 1:
        assert TABLE[chosen(**environ)].key_env in keys
        return
    with pytest.raises(UsageError) as error:
        chosen(**environ)
    assert "-p local" in error.value.hint
    assert all(name in error.value.what for name in keys)


def test_an_empty_variable_is_not_a_key():
    assert chosen(OPENAI_API_KEY="", MISTRAL_API_KEY="k") == "mistral"
    with pytest.raises(UsageError):
        chosen(OPENAI_API_KEY="")


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "HF_TOKEN", "CLOUDFLARE_API_TOKEN"])
def test_a_token_that_is_there_for_other_things_chooses_nobody(name):
    """Every CI job has GITHUB_TOKEN: texts must not go to GitHub for that."""
    with pytest.raises(UsageError):
        chosen(**{name: "k"})
    assert chosen(**{name: "k", "AIVENE_API_KEY": "k"}) == "aivene"


@pytest.mark.parametrize(("typed", "meant"), [("opanai", "openai"), ("Mistral", "mistral")])
def test_a_mistyped_name_gets_a_suggestion(typed, meant):
    with pytest.raises(UsageError, match=typed) as error:
        chosen(typed)
    assert f"did you mean {meant}?" in error.value.hint
    assert "-p local" in error.value.hint


def test_a_name_like_no_other_gets_the_ways_out():
    with pytest.raises(TovecError) as error:
        chosen("xyzzy")
    assert error.value.exit_code == 2
    assert "tovec models --providers" in error.value.hint
