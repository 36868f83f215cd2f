"""Requests whose input is a file, alone or in a form, and answers that are one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from launchyard.contract.media import Media
from launchyard.contract.predictor import Predictor
from launchyard.media import sniff_media_type
from launchyard.prediction.media import list_media_fields
from launchyard.prediction.schemas import list_fields, list_json_fields
from launchyard_serving.requests.body import MEDIA_TYPE
from launchyard_serving.requests.problems import Problem

FORM = "multipart/form-data"
MAX_PARTS = 100
"""Most fields, and as many files, of one form."""


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, which the whole body is in already: raw inputs must not lie on a disk."""

    spool_max_size = 2**62


def list_body_types(predictor: Predictor) -> tuple[str, ...]:
    """Return the media types that a body of predict may be of."""
    fields = list_media_fields(predictor.input_schema, "validation")
    if not fields:
        return (MEDIA_TYPE,)
    name = find_body_field(predictor)
    return (MEDIA_TYPE, FORM, *(() if name is None else fields[name]))


def find_body_field(predictor: Predictor) -> str | None:
    """Return the field that a body which is a file stands for: the only one that an input must have."""
    required = [name for name, is_required in list_fields(predictor.input_schema).items() if is_required]
    files = list_media_fields(predictor.input_schema, "validation")
    return required[0] if len(required) == 1 and required[0] in files else None


def find_type(request: Request) -> str:
    """Return the media type that a request declares for its body."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def parse_file_body(request: Request, body: bytes, predictor: Predictor) -> dict[str, Any]:
    """Return the raw input of a body that is a form, or a file.

    Raises:
        Problem: it is no form (400), has wrong parts (422), or a file is not of a type that is taken (415).
    """
    taken = list_media_fields(predictor.input_schema, "validation")
    if find_type(request) != FORM:
        name = find_body_field(predictor)
        assert name is not None  # noqa: S101 - else no such type would have been read
        return {name: _check(body, taken[name], "body")}
    return await _parse_form(request.headers, body, predictor, taken)


async def _parse_form(
    headers: Headers, body: bytes, predictor: Predictor, taken: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _MemoryParser(headers, stream(), max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as err:
        raise Problem(HTTPStatus.BAD_REQUEST, f"body: not a valid form: {err}. Send {FORM}.") from err
    try:
        return await _read_parts(form, predictor, taken)
    finally:
        await form.close()


async def _read_parts(form: FormData, predictor: Predictor, taken: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    json_fields = list_json_fields(predictor.input_schema)
    raw: dict[str, Any] = {}
    for name, part in form.multi_items():
        if name in raw:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: stands twice in the form. Send one input.")
        if isinstance(part, UploadFile):
            if name not in taken:
                known = ", ".join(taken)
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: is a file, and takes none. Files: {known}.")
            raw[name] = _check(await part.read(), taken[name], name)
        else:
            raw[name] = _read_json(part) if name in json_fields else part
    return raw


def _read_json(text: str) -> Any:
    """Return the value of a field that takes no text; what is no JSON is refused by the kind, in its words."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


def _check(data: bytes, types: tuple[str, ...], place: str) -> Media:
    """Return a file of one of the types.

    Raises:
        Problem: by its bytes it is something else (415).
    """
    found = sniff_media_type(data)
    if found not in types:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"{place}: must be {' or '.join(types)}, its content is {found or 'of a type that is not known'}.",
        )
    return Media(data, found)


def find_asked_type(request: Request, predictor: Predictor) -> str | None:
    """Return the media type that a request asks its answer in, where an answer has one file, of such a type."""
    fields = list_media_fields(predictor.output_schema, "serialization")
    if len(fields) != 1:
        return None
    (types,) = fields.values()
    ranges = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((found for found in ranges if found in types), None)
