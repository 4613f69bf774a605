"""Slack's rules for the blocks of messages and windows, and its words where they are broken.

https://docs.slack.dev/reference/block-kit/blocks, .../block-elements and .../composition-objects
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_BLOCKS_IN_MESSAGE, MAX_BLOCKS_IN_VIEW = 50, 100
# Not documented: https://github.com/slackapi/bolt-js/issues/2509
MAX_CHARACTERS_OF_BLOCKS = 13_000

Problems = Iterator[str]


def problems_of_message(blocks: Any) -> list[str]:
    """What is wrong with a message's blocks, as Slack says it."""
    return list(_blocks(blocks, MAX_BLOCKS_IN_MESSAGE, "/blocks"))


def problems_of_view(view: Any) -> list[str]:
    return list(_view(view))


def characters(blocks: Any) -> int:
    return len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")).encode("utf-16-le")) // 2


def _wrong(what: str, where: str) -> str:
    return f"[ERROR] {what} [json-pointer:{where}]"


def _view(view: Any) -> Problems:
    if not isinstance(view, Mapping):
        yield _wrong("must be an object", "/view")
        return
    keys = {"type", "title", "blocks", "close", "submit", "private_metadata", "callback_id", "clear_on_close"}
    yield from _keys(view, {"type", "title", "blocks"}, keys | {"notify_on_close", "external_id"}, "/view")
    if view.get("type") != "modal":
        yield _wrong("must provide a valid view type", "/view/type")
    for name in ("title", "close", "submit"):
        if name in view:
            yield from _text_object(view[name], "plain_text", 24, f"/view/{name}")
    yield from _string(view.get("private_metadata", ""), 0, 3_000, "/view/private_metadata")
    yield from _string(view.get("callback_id", ""), 0, 255, "/view/callback_id")
    yield from _blocks(view.get("blocks"), MAX_BLOCKS_IN_VIEW, "/view/blocks")
    inputs = [
        block for block in _listed(view.get("blocks")) if isinstance(block, Mapping) and block.get("type") == "input"
    ]
    if inputs and "submit" not in view:
        yield _wrong("must define `submit` to use an input block", "/view/submit")


def _blocks(blocks: Any, limit: int, where: str) -> Problems:
    if not isinstance(blocks, list):
        yield _wrong("must be an array", where)
        return
    if len(blocks) > limit:
        yield _wrong(f"no more than {limit} items allowed", where)
    ids: set[str] = set()
    for number, block in enumerate(blocks):
        here = f"{where}/{number}"
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind not in _BLOCKS:
            yield _wrong(f"unsupported type: {kind}", f"{here}/type")
            continue
        if "block_id" in block:
            yield from _string(block["block_id"], 1, 255, f"{here}/block_id")
            if block["block_id"] in ids:
                yield _wrong("`block_id` already exists", f"{here}/block_id")
            ids.add(block["block_id"])
        yield from _BLOCKS[kind](block, here)


def _divider(block: Mapping[str, Any], where: str) -> Problems:
    yield from _keys(block, {"type"}, {"type", "block_id"}, where)


def _header(block: Mapping[str, Any], where: str) -> Problems:
    yield from _keys(block, {"type", "text"}, {"type", "text", "block_id"}, where)
    yield from _text_object(block.get("text"), "plain_text", 150, f"{where}/text")


def _section(block: Mapping[str, Any], where: str) -> Problems:
    keys = {"type", "text", "fields", "accessory", "block_id", "expand"}
    yield from _keys(block, {"type"}, keys, where)
    if "text" not in block and "fields" not in block:
        yield _wrong("missing required field: text", where)
    if "text" in block:
        yield from _text_object(block["text"], None, 3_000, f"{where}/text")
    yield from _items(block.get("fields", []), 0, 10, f"{where}/fields")
    for number, item in enumerate(_listed(block.get("fields"))):
        yield from _text_object(item, None, 2_000, f"{where}/fields/{number}")
    if "accessory" in block:
        yield from _element(block["accessory"], f"{where}/accessory")


def _context(block: Mapping[str, Any], where: str) -> Problems:
    yield from _keys(block, {"type", "elements"}, {"type", "elements", "block_id"}, where)
    yield from _items(block.get("elements"), 1, 10, f"{where}/elements")
    for number, element in enumerate(_listed(block.get("elements"))):
        if not (isinstance(element, Mapping) and element.get("type") == "image"):
            yield from _text_object(element, None, 3_000, f"{where}/elements/{number}")


def _actions(block: Mapping[str, Any], where: str) -> Problems:
    yield from _keys(block, {"type", "elements"}, {"type", "elements", "block_id"}, where)
    yield from _items(block.get("elements"), 1, 25, f"{where}/elements")
    ids: set[str] = set()
    for number, element in enumerate(_listed(block.get("elements"))):
        yield from _element(element, f"{where}/elements/{number}")
        action_id = element.get("action_id") if isinstance(element, Mapping) else None
        if isinstance(action_id, str) and action_id in ids:
            yield _wrong(f"`action_id` {action_id} already exists in this block", f"{where}/elements/{number}")
        ids.add(str(action_id))


def _input(block: Mapping[str, Any], where: str) -> Problems:
    keys = {"type", "label", "element", "block_id", "hint", "optional", "dispatch_action"}
    yield from _keys(block, {"type", "label", "element"}, keys, where)
    yield from _text_object(block.get("label"), "plain_text", 2_000, f"{where}/label")
    if "hint" in block:
        yield from _text_object(block["hint"], "plain_text", 2_000, f"{where}/hint")
    yield from _element(block.get("element"), f"{where}/element")


_BLOCKS: dict[str | None, Callable[[Mapping[str, Any], str], Problems]] = {
    "divider": _divider,
    "header": _header,
    "section": _section,
    "context": _context,
    "actions": _actions,
    "input": _input,
}


def _element(element: Any, where: str) -> Problems:
    kind = element.get("type") if isinstance(element, Mapping) else None
    if kind not in _ELEMENTS:
        yield _wrong(f"unsupported type: {kind}", f"{where}/type")
        return
    yield from _string(element.get("action_id", "-"), 1, 255, f"{where}/action_id")
    yield from _ELEMENTS[kind](element, where)


def _button(element: Mapping[str, Any], where: str) -> Problems:
    keys = {"type", "text", "action_id", "url", "value", "style", "confirm", "accessibility_label"}
    yield from _keys(element, {"type", "text"}, keys, where)
    yield from _text_object(element.get("text"), "plain_text", 75, f"{where}/text")
    yield from _string(element.get("value", ""), 0, 2_000, f"{where}/value")
    yield from _string(element.get("url", ""), 0, 3_000, f"{where}/url")
    if element.get("style", "primary") not in ("primary", "danger"):
        yield _wrong('must be equal to one of "primary", "danger"', f"{where}/style")
    if "confirm" in element:
        yield from _confirm(element["confirm"], f"{where}/confirm")


def _static_select(element: Mapping[str, Any], where: str) -> Problems:
    keys = {"type", "placeholder", "action_id", "options", "option_groups", "initial_option", "confirm"}
    yield from _keys(element, {"type", "options"}, keys | {"focus_on_load"}, where)
    if "placeholder" in element:
        yield from _text_object(element["placeholder"], "plain_text", 150, f"{where}/placeholder")
    yield from _items(element.get("options"), 1, 100, f"{where}/options")
    for number, option in enumerate(_listed(element.get("options"))):
        here = f"{where}/options/{number}"
        yield from _keys(option, {"text", "value"}, {"text", "value", "description"}, here)
        if isinstance(option, Mapping):
            yield from _text_object(option.get("text"), "plain_text", 75, f"{here}/text")
            yield from _string(option.get("value"), 1, 150, f"{here}/value")


def _plain_text_input(element: Mapping[str, Any], where: str) -> Problems:
    keys = {"type", "action_id", "initial_value", "multiline", "min_length", "max_length", "placeholder"}
    yield from _keys(element, {"type"}, keys | {"dispatch_action_config", "focus_on_load"}, where)
    if not 1 <= element.get("max_length", 3_000) <= 3_000:
        yield _wrong("must be less than 3001", f"{where}/max_length")


_ELEMENTS: dict[str | None, Callable[[Mapping[str, Any], str], Problems]] = {
    "button": _button,
    "static_select": _static_select,
    "plain_text_input": _plain_text_input,
}


def _confirm(confirm: Any, where: str) -> Problems:
    needed = {"title", "text", "confirm", "deny"}
    yield from _keys(confirm, needed, needed | {"style"}, where)
    if isinstance(confirm, Mapping):
        yield from _text_object(confirm.get("title"), "plain_text", 100, f"{where}/title")
        yield from _text_object(confirm.get("text"), None, 300, f"{where}/text")
        yield from _text_object(confirm.get("confirm"), "plain_text", 30, f"{where}/confirm")
        yield from _text_object(confirm.get("deny"), "plain_text", 30, f"{where}/deny")


def _text_object(text: Any, kind: str | None, limit: int, where: str) -> Problems:
    if not isinstance(text, Mapping):
        yield _wrong("must provide an object", where)
        return
    if text.get("type") not in ("plain_text", "mrkdwn") or kind not in (None, text["type"]):
        yield _wrong(f"must be equal to {kind or 'plain_text or mrkdwn'}", f"{where}/type")
    yield from _keys(text, {"type", "text"}, {"type", "text", "emoji", "verbatim"}, where)
    other = "verbatim" if text.get("type") == "plain_text" else "emoji"
    if other in text:
        yield _wrong(f"invalid additional property: {other}", where)
    yield from _string(text.get("text"), 1, limit, f"{where}/text")


def _string(value: Any, least: int, most: int, where: str) -> Problems:
    if not isinstance(value, str):
        yield _wrong("must be a string", where)
    elif len(value) < least:
        yield _wrong(f"must be more than {least - 1} characters", where)
    elif len(value.encode("utf-16-le")) // 2 > most:
        yield _wrong(f"must be less than {most + 1} characters", where)


def _items(value: Any, least: int, most: int, where: str) -> Problems:
    if not isinstance(value, list):
        yield _wrong("must be an array", where)
    elif len(value) > most:
        yield _wrong(f"no more than {most} items allowed", where)
    elif len(value) < least:
        yield _wrong(f"no fewer than {least} items allowed", where)


def _keys(value: Any, needed: set[str], allowed: set[str], where: str) -> Problems:
    if not isinstance(value, Mapping):
        yield _wrong("must be an object", where)
        return
    for name in sorted(needed - value.keys()):
        yield _wrong(f"missing required field: {name}", where)
    for name in sorted(value.keys() - allowed):
        yield _wrong(f"invalid additional property: {name}", where)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
