"""Sandbox twin of OpenSearch: documents with sequence numbers, strict mappings, and the searches we need.

A signature (SigV4) is required to be there but is not verified; a user and password are.
"""

from __future__ import annotations

import copy
import datetime as dt
import html
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request, Response

from local.twins.server import Json, Refusal, Twin, basic_credentials, json_body

USER, PASSWORD = "watchfloor", "twin-opensearch-password"
_REFRESH_SECONDS = 1.0
_INDEX_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,254}")


class OpenSearchTwin(Twin):
    """A single node without plugins."""

    @property
    def secret(self) -> Json:
        return {"user": USER, "password": PASSWORD}

    def empty_state(self) -> Json:
        return {"indices": {}}

    def documents(self, index: str) -> dict[str, Json]:
        """All documents of an index by id, refreshed or not."""
        with self.lock:
            documents = self.state["indices"].get(index, {"documents": {}})["documents"]
            return {id_: copy.deepcopy(document["source"]) for id_, document in documents.items()}

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._info
        yield "GET", "/_twin_page", self._page
        yield "PUT", "/<index>", self._create_index
        yield "HEAD", "/<index>", self._index_exists
        yield "DELETE", "/<index>", self._delete_index
        yield "GET", "/<index>/_mapping", self._get_mapping
        for method in ("GET", "POST"):
            yield method, "/<index>/_search", self._search
            yield method, "/<index>/_count", self._count
            yield method, "/<index>/_refresh", self._refresh
        yield "POST", "/<index>/_doc", self._index_new
        for method in ("PUT", "POST"):
            yield method, "/<index>/_doc/<id>", self._index
            yield method, "/<index>/_create/<id>", self._create
        yield "GET", "/<index>/_doc/<id>", self._get
        yield "HEAD", "/<index>/_doc/<id>", self._get
        yield "DELETE", "/<index>/_doc/<id>", self._delete
        yield "POST", "/<index>/_update/<id>", self._update

    def authenticate(self, request: Request) -> None:
        if request.path == "/_twin_page":
            return
        authorization = request.headers.get("Authorization", "")
        signed = authorization.startswith("AWS4-HMAC-SHA256 ") and "Signature=" in authorization
        if not signed and basic_credentials(request) != (USER, PASSWORD):
            raise Refusal(401, {"error": "Unauthorized"}, {"WWW-Authenticate": 'Basic realm="OpenSearch"'})

    def not_found(self, request: Request) -> Refusal:
        return Refusal(400, {"error": f"no handler found for uri [{request.path}] and method [{request.method}]"})

    def _info(self, request: Request) -> Json:
        return {
            "name": "twin",
            "cluster_name": "watchfloor-twin",
            "cluster_uuid": "AAAAAAAAAAAAAAAAAAAAAA",
            "version": {
                "distribution": "opensearch",
                "number": "2.5.0",
                "build_type": "twin",
                "lucene_version": "9.4.2",
                "minimum_wire_compatibility_version": "7.10.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "The OpenSearch Project: https://opensearch.org/",
        }

    # --- indices

    def _create_index(self, request: Request, index: str) -> Json:
        if index in self.state["indices"]:
            raise _refuse(400, "resource_already_exists_exception", f"index [{index}] already exists", index)
        body = json_body(request, _unparsable) if request.get_data() else {}
        self.state["indices"][index] = _new_index(index, body.get("mappings") or {})
        return {"acknowledged": True, "shards_acknowledged": True, "index": index}

    def _index_exists(self, request: Request, index: str) -> Response:
        return Response(status=200 if index in self.state["indices"] else 404)

    def _delete_index(self, request: Request, index: str) -> Json:
        self._existing(index)
        del self.state["indices"][index]
        return {"acknowledged": True}

    def _get_mapping(self, request: Request, index: str) -> Json:
        return {index: {"mappings": self._existing(index)["mappings"]}}

    def _refresh(self, request: Request, index: str) -> Json:
        _show_all(self._existing(index))
        return {"_shards": {"total": 1, "successful": 1, "failed": 0}}

    def _existing(self, index: str) -> Json:
        if index not in self.state["indices"]:
            raise _refuse(404, "index_not_found_exception", f"no such index [{index}]", index)
        return self.state["indices"][index]

    # --- documents

    def _get(self, request: Request, index: str, id: str) -> tuple[int, Json]:
        document = self._existing(index)["documents"].get(id)
        if document is None:
            return 404, {"_index": index, "_id": id, "found": False}
        source = copy.deepcopy(document["source"])
        excluded = request.args.get("_source_excludes") or request.args.get("_source_exclude") or ""
        for name in excluded.split(","):
            source.pop(name, None)
        return 200, {"_index": index, "_id": id, **_numbers(document), "found": True, "_source": source}

    def _index_new(self, request: Request, index: str) -> tuple[int, Json]:
        sequence = self.state["indices"].get(index, {}).get("sequence", 0)
        return self._write(request, index, f"twin-{sequence}", json_body(request, _unparsable), only_new=True)

    def _index(self, request: Request, index: str, id: str) -> tuple[int, Json]:
        only_new = request.args.get("op_type") == "create"
        return self._write(request, index, id, json_body(request, _unparsable), only_new)

    def _create(self, request: Request, index: str, id: str) -> tuple[int, Json]:
        return self._write(request, index, id, json_body(request, _unparsable), only_new=True)

    def _update(self, request: Request, index: str, id: str) -> tuple[int, Json]:
        body = json_body(request, _unparsable)
        if body.keys() - {"doc", "upsert", "doc_as_upsert", "detect_noop"}:
            raise _refuse(400, "x_content_parse_exception", "the twin updates by doc only", index)
        documents = self._existing(index)["documents"]
        if id not in documents:
            upsert = body.get("doc") if body.get("doc_as_upsert") else body.get("upsert")
            if upsert is None:
                raise _refuse(404, "document_missing_exception", f"[{id}]: document missing", index)
            return self._write(request, index, id, upsert)
        source = copy.deepcopy(documents[id]["source"])
        _merge(source, body.get("doc") or {})
        return self._write(request, index, id, source, update=True)

    def _delete(self, request: Request, index: str, id: str) -> tuple[int, Json]:
        holder = self._existing(index)
        if id not in holder["documents"]:
            return 404, {"_index": index, "_id": id, "result": "not_found"}
        document = holder["documents"].pop(id)
        holder["sequence"] += 1
        return 200, {"_index": index, "_id": id, **_numbers(document), "result": "deleted"}

    def _write(
        self, request: Request, index: str, id: str, source: Json, only_new: bool = False, update: bool = False
    ) -> tuple[int, Json]:
        # As the real one does by default: a write to an index that does not exist creates it.
        holder = self.state["indices"].get(index) or self.state["indices"].setdefault(index, _new_index(index, {}))
        before = holder["documents"].get(id)
        expected = request.args.get("if_seq_no"), request.args.get("if_primary_term")
        if only_new and before:
            raise _conflict(index, f"[{id}]: version conflict, document already exists (current version [1])")
        if expected != (None, None):
            current = (str(before["_seq_no"]), "1") if before else None
            if expected != current:
                raise _conflict(
                    index, f"[{id}]: version conflict, required seqNo [{expected[0]}], primary term [{expected[1]}]"
                )
        if update and before and before["source"] == source:
            return 200, {"_index": index, "_id": id, **_numbers(before), "result": "noop"}
        _map_object(source, holder["mappings"], index, "")
        document = {
            "source": source,
            "_seq_no": holder["sequence"],
            "_version": (before or {"_version": 0})["_version"] + 1,
            "written_at": time.time(),
        }
        holder["sequence"] += 1
        holder["documents"][id] = document
        if request.args.get("refresh") in ("true", "wait_for", ""):
            _show_all(holder)
        status, result = (200, "updated") if before else (201, "created")
        return status, {"_index": index, "_id": id, **_numbers(document), "result": result}

    # --- search

    def _search(self, request: Request, index: str) -> Json:
        body = json_body(request, _unparsable) if request.get_data() else {}
        if unknown := body.keys() - {"query", "size", "from", "sort", "_source", "track_total_hits"}:
            raise _refuse(
                400, "parsing_exception", f"Unknown key for a VALUE in [{min(unknown)}] (to the twin).", index
            )
        found = self._found(index, body)
        for order in reversed(_listed(body.get("sort") or [])):
            field, direction = next(iter(order.items())) if isinstance(order, dict) else (order, "asc")
            direction = direction["order"] if isinstance(direction, dict) else direction
            known = [row for row in found if _value(row[1]["source"], field)]
            known.sort(key=lambda row: _value(row[1]["source"], field)[0], reverse=direction == "desc")
            found = known + [row for row in found if not _value(row[1]["source"], field)]
        start, size = int(body.get("from", 0)), int(body.get("size", request.args.get("size", 10)))
        hits = [
            {"_index": index, "_id": id_, "_score": 1.0, "_source": document["source"]}
            for id_, document in found[start : start + size]
        ]
        return {
            "took": 1,
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {"total": {"value": len(found), "relation": "eq"}, "max_score": 1.0, "hits": hits},
        }

    def _count(self, request: Request, index: str) -> Json:
        body = json_body(request, _unparsable) if request.get_data() else {}
        return {"count": len(self._found(index, body)), "_shards": {"total": 1, "successful": 1, "failed": 0}}

    def _found(self, index: str, body: Json) -> list[tuple[str, Json]]:
        holder = self._existing(index)
        matches = _query(body.get("query") or {"match_all": {}}, index)
        seen = time.time() - _REFRESH_SECONDS
        return [
            (id_, document)
            for id_, document in holder["documents"].items()
            if document["written_at"] <= seen and matches(id_, document["source"])
        ]

    def _page(self, request: Request) -> Response:
        """All documents, for people."""
        parts = "".join(
            f"<h2>{html.escape(f'{index}/{id_}')}</h2><pre>{html.escape(_readable(document['source']))}</pre>"
            for index, holder in self.state["indices"].items()
            for id_, document in reversed(holder["documents"].items())
        )
        return Response(
            "<!doctype html><meta charset=utf-8><title>OpenSearch twin</title>"
            "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}pre{white-space:pre-wrap}</style>"
            f"<h1>OpenSearch twin</h1>{parts or 'No documents yet.'}",
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )


def _readable(source: Json) -> str:
    short = {name: value for name, value in source.items() if name not in ("description", "alerts", "alert_ids")}
    return source.get("description", "") + "\n\n" + json.dumps(short, indent=1, ensure_ascii=False)


def _new_index(index: str, mappings: Json) -> Json:
    if not _INDEX_NAME.fullmatch(index):
        raise _refuse(400, "invalid_index_name_exception", f"Invalid index name [{index}], must be lowercase", index)
    return {"mappings": mappings, "documents": {}, "sequence": 0}


def _show_all(holder: Json) -> None:
    for document in holder["documents"].values():
        document["written_at"] = 0


def _numbers(document: Json) -> Json:
    return {"_version": document["_version"], "_seq_no": document["_seq_no"], "_primary_term": 1}


def _merge(target: Json, changes: Json) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = value


def _map_object(source: Any, mapping: Json, index: str, path: str) -> None:
    """Check an object against its mapping; what a dynamic mapping does not know it learns."""
    if not isinstance(source, dict):
        raise _mapper(index, f"object mapping for [{path.rstrip('.')}] tried to parse field as object")
    properties = mapping.setdefault("properties", {})
    for name, value in source.items():
        if name not in properties:
            if mapping.get("dynamic") == "strict":
                raise _refuse(
                    400,
                    "strict_dynamic_mapping_exception",
                    f"mapping set to strict, dynamic introduction of [{name}] within [{path.rstrip('.') or '_doc'}]"
                    " is not allowed",
                    index,
                )
            if value is None or value == []:
                continue
            properties[name] = _guess(value)
        _map_value(value, properties[name], mapping.get("dynamic"), index, path + name)


def _map_value(value: Any, mapping: Json, dynamic: Any, index: str, path: str) -> None:
    if mapping.get("enabled") is False or value is None:
        return
    if isinstance(value, list):
        for item in value:
            _map_value(item, mapping, dynamic, index, path)
        return
    kind = mapping.get("type", "object")
    if kind in ("object", "nested"):
        # An object below inherits `dynamic`.
        if dynamic is not None:
            mapping.setdefault("dynamic", dynamic)
        _map_object(value, mapping, index, path + ".")
    elif isinstance(value, dict):
        raise _mapper(index, f"failed to parse field [{path}] of type [{kind}]")
    elif kind == "keyword" and len(str(value).encode()) > 32_766 and "ignore_above" not in mapping:
        raise _refuse(
            400, "illegal_argument_exception", f'Document contains at least one immense term in "{path}"', index
        )
    elif kind == "boolean" and value not in (True, False, "true", "false", ""):
        raise _mapper(index, f"failed to parse field [{path}] of type [boolean]")
    elif kind in ("long", "integer", "short", "byte", "double", "float"):
        try:
            float(value)
        except (TypeError, ValueError) as error:
            raise _mapper(index, f"failed to parse field [{path}] of type [{kind}]") from error
    elif kind == "date" and not _is_date(value):
        raise _mapper(index, f"failed to parse field [{path}] of type [date]")


def _is_date(value: Any) -> bool:
    if isinstance(value, int):
        return True
    try:
        dt.datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return True


def _guess(value: Any) -> Json:
    if isinstance(value, list):
        return _guess(value[0])
    if isinstance(value, dict):
        return {"properties": {}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int | float):
        return {"type": "long" if isinstance(value, int) else "float"}
    return {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}


def _query(query: Json, index: str) -> Callable[[str, Json], bool]:
    if len(query) != 1:
        raise _refuse(400, "parsing_exception", "[query] malformed, expected one clause", index)
    kind, body = next(iter(query.items()))
    if kind == "match_all":
        return lambda id_, source: True
    if kind == "ids":
        return lambda id_, source: id_ in body["values"]
    if kind == "exists":
        return lambda id_, source: bool(_value(source, body["field"]))
    if kind in ("term", "terms"):
        field, wanted = next((name, value) for name, value in body.items() if name != "boost")
        wanted = wanted["value"] if isinstance(wanted, dict) else wanted
        values = set(_listed(wanted))
        return lambda id_, source: bool(values & set(_value(source, field)))
    if kind == "match":
        field, wanted = next(iter(body.items()))
        wanted = wanted["query"] if isinstance(wanted, dict) else wanted
        words = set(str(wanted).casefold().split())
        return lambda id_, source: any(words & set(str(value).casefold().split()) for value in _value(source, field))
    if kind == "range":
        field, bounds = next(iter(body.items()))
        compare = {
            "gte": lambda a, b: a >= b,
            "gt": lambda a, b: a > b,
            "lte": lambda a, b: a <= b,
            "lt": lambda a, b: a < b,
        }
        return lambda id_, source: any(
            all(compare[op](value, bound) for op, bound in bounds.items()) for value in _value(source, field)
        )
    if kind == "bool":
        parts = {
            name: [_query(part, index) for part in _listed(body.get(name) or [])]
            for name in ("must", "filter", "should", "must_not")
        }

        def matches(id_: str, source: Json) -> bool:
            needed = parts["must"] + parts["filter"]
            optional = not parts["should"] or bool(needed) or any(part(id_, source) for part in parts["should"])
            return (
                optional
                and all(part(id_, source) for part in needed)
                and not any(part(id_, source) for part in parts["must_not"])
            )

        return matches
    raise _refuse(400, "parsing_exception", f"unknown query [{kind}]", index)


def _value(source: Json, field: str) -> list[Any]:
    """Values of a field by its dotted path; a `keyword` sub-field is its parent."""
    values: list[Any] = [source]
    for name in field.removesuffix(".keyword").split("."):
        values = [
            item
            for value in values
            if isinstance(value, dict) and value.get(name) is not None
            for item in _listed(value[name])
        ]
    return values


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse(status: int, kind: str, reason: str, index: str) -> Refusal:
    cause = {"type": kind, "reason": reason, "index": index, "index_uuid": "_na_"}
    return Refusal(status, {"error": {"root_cause": [cause], **cause}, "status": status})


def _conflict(index: str, reason: str) -> Refusal:
    return _refuse(409, "version_conflict_engine_exception", reason, index)


def _mapper(index: str, reason: str) -> Refusal:
    return _refuse(400, "mapper_parsing_exception", reason, index)


def _unparsable(message: str) -> Refusal:
    return _refuse(400, "parse_exception", message, "_na_")
