"""The OpenAPI document of one product, from its kind's input and output schemas."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Schema, ServingState
from launchyard.contract.routes import KindRoute
from launchyard.prediction.media import list_media_fields
from launchyard.prediction.schemas import Mode, describe_schema
from launchyard.prediction.streams import CollectedPredictor
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.requests.body import MEDIA_TYPE as JSON
from launchyard_serving.requests.body import EventsBody, FeedbackBody, InputsBody
from launchyard_serving.requests.events import EVENT_STREAM
from launchyard_serving.requests.files import FORM, list_body_types
from launchyard_serving.requests.problems import MEDIA_TYPE as PROBLEM

OPENAPI_VERSION = "3.1.0"
REF = "#/components/schemas/{model}"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

READING_PROBLEMS = (HTTPStatus.SERVICE_UNAVAILABLE,)
BODY_PROBLEMS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
MODEL_PROBLEMS = (*BODY_PROBLEMS, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GATEWAY_TIMEOUT)


def describe_product(product: str, model: ServedModel) -> dict[str, Any]:
    """Return the OpenAPI document of ``product`` while ``model`` serves it."""
    schemas: dict[str, Any] = {"Problem": PROBLEM_SCHEMA}
    item = _define(schemas, "Input", model.predictor.input_schema, "validation")
    output = _define(schemas, "Output", model.predictor.output_schema, "serialization")
    inputs = _define(schemas, "Inputs", InputsBody, "validation")
    schemas["Inputs"]["properties"]["inputs"]["items"] = item
    schemas["Inputs"]["properties"]["inputs"] |= {"minItems": 1, "maxItems": model.spec.serve.max_inputs}
    feedback = _describe_feedback(schemas, model.feedback)
    answers = _object({"model": _object({"version": {"type": "integer"}, "digest": {"type": "string"}})})
    answers["properties"]["outputs"] = {
        "type": "array",
        "items": {"allOf": [_object({"id": {"type": "string"}}), output]},
    }
    schemas["Answers"] = answers
    answer_ref = {"$ref": REF.format(model="Answers")}
    anything = {"type": "object"}
    paths = {
        "/predict": {"post": _describe_predict(schemas, model, inputs, answer_ref)},
        "/feedback": {"post": _post("Say what was right.", feedback, anything, (*BODY_PROBLEMS, HTTPStatus.FORBIDDEN))},
        "/ready": {"get": _operation("Whether a model answers, and which.", anything, READING_PROBLEMS)},
        "/schema": {"get": _operation("The schemas of an input and an output.", anything, READING_PROBLEMS)},
    }
    if model.explanations is not None:
        summary = "Outputs, and what speaks for them."
        paths["/explain"] = {"post": _post(summary, inputs, answer_ref, MODEL_PROBLEMS)}
    if model.serving_state is not None:
        paths["/events"] = {"post": _describe_events(schemas, model.serving_state, model.spec.serve.max_inputs)}
    for number, route in enumerate(model.routes.values()):
        paths[route.path] = {route.method.lower(): _describe_kind_route(schemas, route, f"Route{number}")}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": product, "version": str(model.release.version), "description": model.spec.kind},
        "servers": [{"url": f"/{product}"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _describe_predict(
    schemas: dict[str, Any], model: ServedModel, inputs: dict[str, Any], answers: dict[str, Any]
) -> dict[str, Any]:
    if not isinstance(model.predictor, CollectedPredictor):
        operation = _post("One output per input.", inputs, answers, MODEL_PROBLEMS)
        _describe_files(operation, model, {"$ref": REF.format(model="Input")})
        return operation
    event = _define(schemas, "StreamEvent", model.predictor.event_schema, "serialization")
    summary = "One output per input; with 'accept: text/event-stream', of one input, events as they come about."
    operation = _post(summary, inputs, answers, MODEL_PROBLEMS)
    content = {"schema": {"type": "string"}, "itemSchema": {"properties": {"data": {"contentSchema": event}}}}
    operation["responses"]["200"]["content"][EVENT_STREAM] = content
    _describe_files(operation, model, {"$ref": REF.format(model="Input")})
    return operation


def _describe_kind_route(schemas: dict[str, Any], route: KindRoute, name: str) -> dict[str, Any]:
    answer = _define(schemas, f"{name}Answer", route.response, "serialization")
    if route.request is None:
        operation = _operation(route.summary, answer, READING_PROBLEMS)
    else:
        body = _define(schemas, f"{name}Body", route.request, "validation")
        operation = _post(route.summary, body, answer, MODEL_PROBLEMS)
    if route.event is not None:
        event = _define(schemas, f"{name}Event", route.event, "serialization")
        content = {"schema": {"type": "string"}, "itemSchema": {"properties": {"data": {"contentSchema": event}}}}
        operation["responses"]["200"]["content"][EVENT_STREAM] = content
    if route.write_error is not None:
        for status, response in operation["responses"].items():
            if status != "200":
                response["content"] = {JSON: {"schema": {"type": "object"}}}
    return operation


def _describe_files(operation: dict[str, Any], model: ServedModel, item: dict[str, str]) -> None:
    """Add the other forms of body that an input may have, and of an answer, where they hold files."""
    content = operation["requestBody"]["content"]
    for found in list_body_types(model.predictor):
        content.setdefault(found, {"schema": item if found == FORM else {}})
    fields = list_media_fields(model.predictor.output_schema, "serialization")
    for found in next(iter(fields.values())) if len(fields) == 1 else ():
        operation["responses"]["200"]["content"][found] = {"schema": {}}


def _describe_feedback(schemas: dict[str, Any], rules: FeedbackRules) -> dict[str, str]:
    """Return a reference to the body of feedback, its correction as the kind takes it."""
    feedback = _define(schemas, "Feedback", FeedbackBody, "validation")
    properties = schemas["Feedback"]["properties"]
    if rules.correction is None:
        del properties["correction"]
        return feedback
    schema = describe_schema(rules.correction, "validation", REF)
    schemas.update(schema.pop("$defs", {}))
    properties["correction"] = schema
    return feedback


def _describe_events(schemas: dict[str, Any], serving_state: ServingState, max_events: int) -> dict[str, Any]:
    event = _define(schemas, "Event", serving_state.event_schema, "validation")
    events = _define(schemas, "Events", EventsBody, "validation")
    schemas["Events"]["properties"]["events"] |= {"items": event, "minItems": 1, "maxItems": max_events}
    counts = _object({"stored": {"type": "integer"}, "duplicates": {"type": "integer"}})
    summary = "Keep what users did: durable when answered, and known to the next answers."
    return _post(summary, {"anyOf": [events, event]}, counts, (*BODY_PROBLEMS, HTTPStatus.GATEWAY_TIMEOUT))


def _define(schemas: dict[str, Any], name: str, model: Schema, mode: Mode) -> dict[str, str]:
    """Put the schema of ``model``, and those it refers to, under ``schemas``; return a reference to it."""
    schema = describe_schema(model, mode, REF)
    schemas.update(schema.pop("$defs", {}))
    schemas[name] = schema
    return {"$ref": REF.format(model=name)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _post(
    summary: str, body: dict[str, Any], answer: dict[str, Any], problems: tuple[HTTPStatus, ...]
) -> dict[str, Any]:
    content = {JSON: {"schema": body}}
    return {**_operation(summary, answer, problems), "requestBody": {"required": True, "content": content}}


def _operation(summary: str, answer: dict[str, Any], problems: tuple[HTTPStatus, ...]) -> dict[str, Any]:
    problem = {PROBLEM: {"schema": {"$ref": REF.format(model="Problem")}}}
    responses: dict[str, Any] = {"200": {"description": "OK", "content": {JSON: {"schema": answer}}}}
    for status in problems:
        responses[str(status.value)] = {"description": status.phrase, "content": problem}
    return {"summary": summary, "responses": responses}
