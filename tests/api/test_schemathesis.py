"""Requests that a machine makes up from the OpenAPI document."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from search_api.app import create_app
from search_api.settings import ApiSettings
from tests.fakes.engine import FakeEngine

# The name is that by which the made-up client calls.
app = create_app(FakeEngine(), ApiSettings(allowed_hosts=("testserver",)))
schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
schema = schema.exclude(path="/api/events")  # an answer without an end


@schema.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_made_up_requests_get_documented_answers(case: schemathesis.Case) -> None:
    # Few made-up bytes are a picture, few made-up lists a vector of the right length: these are refused.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
