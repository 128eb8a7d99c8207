"""Settings come from flags, then the environment, then the config file, and typos are refused."""

import sys

import platformdirs
import pytest

from tovec import settings
from tovec.errors import UsageError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"

    def write(text: str) -> str:
        path.write_text(text)
        return str(path)

    return write


def test_a_flag_wins_over_the_environment_and_that_over_the_file(config):
    path = config('provider = "openai"\nmodel = "m1"\ndimensions = 64\n')
    loaded = settings.load(path, {"TOVEC_PROVIDER": "nugen"})
    chosen = loaded.with_flags({"model": "m2", "dimensions": None})
    assert (chosen.provider, chosen.model, chosen.dimensions) == ("nugen", "m2", 64)
    assert chosen.origins == {
        "provider": "TOVEC_PROVIDER",
        "model": "--model",
        "dimensions": path,
    }


def test_the_environment_names_the_file_and_a_flag_names_another(config, tmp_path):
    path = config('model = "from-file"\n')
    other = tmp_path / "other.toml"
    other.write_text('model = "from-other"\n')
    assert settings.load(None, {"TOVEC_CONFIG": path}).model == "from-file"
    assert settings.load(str(other), {"TOVEC_CONFIG": path}).model == "from-other"


def test_without_a_config_file_everything_is_unchosen(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings.load(None, {}) == settings.Settings()


def test_a_base_url_on_the_command_line_drops_a_url_in_the_file(config):
    loaded = settings.load(config('url = "https://a.example/x"\n'), {})
    chosen = loaded.with_flags({"base_url": "https://b.example/v1"})
    assert (chosen.url, chosen.base_url) == (None, "https://b.example/v1")


def test_extra_fields_of_file_and_flags_are_joined(config):
    loaded = settings.load(config('[extra]\na = 1\nb = "x"\n'), {})
    assert loaded.with_flags({"extra": {"b": "y"}}).extra == {"a": 1, "b": "y"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "x"\n', ["modle", "did you mean model?"]),
        ("model = 3\n", ["model must be a string"]),
        ("rpm = true\n", ["rpm must be a whole number"]),
        ("model = \n", ["not TOML"]),
        ("providers = 3\n", ["providers must be a table"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(config, text, words):
    """#177"""
    path = config(text)
    with pytest.raises(UsageError) as caught:
        settings.load(path, {})
    said = f"{caught.value.what} {caught.value.hint}"
    assert all(word in said for word in words)
    assert caught.value.where == path


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UsageError):
        settings.load(str(tmp_path / "none.toml"), {})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs says it")
@pytest.mark.parametrize("home", ["", "/somewhere/config", None])
def test_the_default_place_is_the_one_that_platformdirs_names(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home is None:
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", home)
    assert settings.default_path() == platformdirs.user_config_path("tovec") / "config.toml"
