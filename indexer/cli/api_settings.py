"""What the configuration says of the HTTP service."""

from __future__ import annotations

from typing import Final

from indexer.config import Config
from search_api.settings import ApiSettings

HTTP_STOP_S: Final = 4
"""How long answers under way may hold up a stop; the rest of the time to drain is the engine's."""


def api_settings(config: Config) -> ApiSettings:
    """Checked settings of the service.

    Raises:
        ConfigError: A value cannot be used, or others could reach the service without a good key.
    """
    return ApiSettings(
        host=config.api.host,
        port=config.api.port,
        api_key=config.api.api_key or None,
        allowed_hosts=config.api.allowed_hosts,
        max_body_bytes=config.decode.max_file_bytes,
        stop_timeout_s=HTTP_STOP_S,
        access_log=config.log.level == "debug",
    )
