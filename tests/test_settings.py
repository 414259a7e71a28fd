"""Settings come from ``ATPN_*`` variables; what is mistyped or impossible stops the start."""

import json
import os
import re
from typing import Literal, get_args, get_origin

import onnxruntime as ort
import pytest

from atpn.assembly import open_core
from atpn.engine.inference import PROVIDERS
from atpn.errors import ConfigurationError
from atpn.settings import PREFIX, Settings, load_settings
from tests.conftest import SettingsFactory


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of our variables is set."""
    for name in [n for n in os.environ if n.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_without_variables_everything_has_its_default() -> None:
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 8000
    assert settings.device == "auto"
    assert settings.redis_url is None
    assert settings.api_key_hashes == []
    assert settings.track_threshold == 0.7  # the paper's


def test_every_setting_can_be_given_by_a_variable_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATPN_PORT", "9000")
    monkeypatch.setenv("ATPN_MAX_WAIT_MS", "2.5")
    monkeypatch.setenv("ATPN_API_KEY_HASHES", json.dumps(["ab" * 32, "CD" * 32]))
    settings = load_settings()
    assert (settings.port, settings.max_wait_ms) == (9000, 2.5)
    assert settings.api_key_hashes == ["ab" * 32, "CD" * 32]


def test_a_variable_may_be_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("atpn_port", "9001")
    assert load_settings().port == 9001


@pytest.mark.parametrize("name", ["ATPN_PROT", "ATPN_MAX_BATCH", "atpn_unknown", "ATPN_"])
def test_an_unknown_variable_is_refused_by_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=f"unknown setting {name};.*ATPN_PORT"):
        load_settings()


def test_other_programs_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATPNX_PORT", "1")
    monkeypatch.setenv("PORT", "1")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATPN_PORT", "eighty"),
        ("ATPN_PORT", "70000"),
        ("ATPN_PORT", ""),
        ("ATPN_DEVICE", "gpu"),
        ("ATPN_LOG_LEVEL", "loud"),
        ("ATPN_MAX_BATCH_SIZE", "0"),
        ("ATPN_MAX_WAIT_MS", "-1"),
        ("ATPN_MAX_QUEUE_FACES", "1.5"),
        ("ATPN_REQUEST_TIMEOUT_S", "0"),
        ("ATPN_REQUEST_TIMEOUT_S", "nan"),
        ("ATPN_MIN_CONFIDENCE", "2"),
        ("ATPN_MODEL", "../secrets"),
        ("ATPN_SESSION_TTL_S", "nan"),
        ("ATPN_DRAIN_S", "nan"),
    ],
)
def test_an_invalid_value_is_refused_with_the_name_of_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}: ") as refusal:
        load_settings()
    assert repr(value) in str(refusal.value)


LISTS = [PREFIX + n.upper() for n, f in Settings.model_fields.items() if f.default == []]


@pytest.mark.parametrize("value", ["abc", "", '{"a": 1}', '"abc"'])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_none_is_refused_with_the_name_of_its_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert str(refusal.value) == f'{name}: a JSON list is expected, such as ["…"]'


@pytest.mark.parametrize("value", ["[1, 2]", "[null]"])
@pytest.mark.parametrize("name", LISTS)
def test_an_item_of_a_list_that_is_wrong_is_told_by_its_place(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}\[0\]: "):
        load_settings()


def test_a_key_that_is_given_in_place_of_its_digest_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in ("hunter2", '["hunter2"]', '[["hunter2"]]', json.dumps(["ab" * 32, "hunter2"])):
        monkeypatch.setenv("ATPN_API_KEY_HASHES", value)
        with pytest.raises(ConfigurationError) as refusal:
            load_settings()
        assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("value", ['["hunter2"]', "hunter2", '"hunter2"'])
def test_a_secret_is_not_repeated_by_the_refusal(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATPN_TOKEN_KEYS", value)
    with pytest.raises(ConfigurationError, match=r"(?i)token_keys") as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("ATPN_TOKEN_KEYS", json.dumps(["k" * 32]))
    assert "kkk" not in repr(load_settings())


def test_settings_do_not_change_while_the_service_runs() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_every_setting_says_what_it_is_and_which_words_it_takes() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if get_origin(field.annotation) is Literal:
            words = re.findall(r"\w+", field.description)
            assert set(get_args(field.annotation)) <= set(words), name


MISSING = [name for name, at in PROVIDERS.items() if at not in ort.get_available_providers()]


@pytest.mark.parametrize("device", MISSING)
async def test_a_device_that_cannot_be_had_stops_the_start(
    device: str, settings: SettingsFactory
) -> None:
    with pytest.raises(ConfigurationError, match=f"'{device}'.*set ATPN_DEVICE=cpu"):
        async with open_core(settings(device=device)):
            pass


async def test_a_model_that_is_not_there_stops_the_start(settings: SettingsFactory) -> None:
    with pytest.raises(ConfigurationError, match="no model 'other'"):
        async with open_core(settings(model="other")):
            pass


async def test_a_version_that_is_not_there_stops_the_start(settings: SettingsFactory) -> None:
    with pytest.raises(ConfigurationError, match=r"no version '99', only 1"):
        async with open_core(settings(model="yunet", model_version="99")):
            pass
