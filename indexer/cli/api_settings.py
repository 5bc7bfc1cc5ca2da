"""What the configuration says of the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from indexer.config import Config
from indexer.errors import ConfigError
from search_api import traces
from search_api.settings import ApiSettings

HTTP_STOP_S: Final = 4
"""How long answers under way may hold up a stop; the rest of the time to drain is the engine's."""

_MOST_KEY_BYTES: Final = 4096


def api_settings(config: Config) -> ApiSettings:
    """Checked settings of the service.

    Raises:
        ConfigError: A value cannot be used, or others could reach the service without a good key.
    """
    api = config.api
    if api.traces:
        traces.middleware()  # told now, not when the model has been loaded
    return ApiSettings(
        host=api.host,
        port=api.port,
        api_key=key_of(config, "api_key"),
        admin_key=key_of(config, "admin_key"),
        allowed_hosts=api.allowed_hosts,
        cors_origins=api.cors_origins,
        rate_per_s=None if api.rate_per_s == "auto" else api.rate_per_s,
        open_metrics=api.open_metrics,
        traces=api.traces,
        max_body_bytes=config.decode.max_file_bytes,
        stop_timeout_s=HTTP_STOP_S,
        access_log=api.access_log or config.log.level == "debug",
    )


def key_of(config: Config, name: str) -> str | None:
    """The service's `api_key` or `admin_key`, from the settings or from the file that they name; None for none.

    Raises:
        ConfigError: Both are given, or the file cannot be read or holds no key.
    """
    key: str = getattr(config.api, name)
    file: str = getattr(config.api, f"{name}_file")
    if not file:
        return key or None
    if key:
        raise ConfigError(f"api.{name}_file: api.{name} is set too; keep one of them")
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(_MOST_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is no text"
        raise ConfigError(f"api.{name}_file: {file} cannot be read ({why}); check the file and its permissions") from e
    if not text:
        raise ConfigError(f"api.{name}_file: {file} is empty; write the key into it")
    return text
