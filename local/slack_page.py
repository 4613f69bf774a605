"""Slack messages as a web page: what Block Kit looks like in a channel, on a phone and on a desk, by day and by night.

`python -m local.slack_page MESSAGE.json --out PAGE.html` writes the page of one message (`{"text", "blocks"}`); the
sandbox twin of Slack serves whole channels with it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import html
import json
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_CONTROL = re.compile(r"<([^<>]*)>")
_STYLES = (
    (re.compile(r"(?<![\w*])\*(?!\s)([^*\n]+?)(?<!\s)\*(?![\w*])"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w_])_(?!\s)([^_\n]+?)(?<!\s)_(?![\w_])"), r"<i>\1</i>"),
    (re.compile(r"(?<![\w~])~(?!\s)([^~\n]+?)(?<!\s)~(?![\w~])"), r"<s>\1</s>"),
)
_PIECE = re.compile("\x00(\\d+)\x00")
_BARE_URL = re.compile(r"\bhttps?://[^\s<>&|]+")


# --- text ---------------------------------------------------------------------------------------------------------


def mrkdwn(text: str, users: Mapping[str, Any] | None = None, verbatim: bool = True) -> str:
    """HTML of Slack's mrkdwn. Without `verbatim`, bare addresses become links, as they do in Slack."""
    pieces: list[str] = []

    def keep(markup: str) -> str:
        pieces.append(markup)
        return f"\x00{len(pieces) - 1}\x00"

    text = text.replace("\x00", "")
    text = _FENCE.sub(lambda match: keep(f"<pre>{_safe(match[1])}</pre>"), text)
    text = _SPAN.sub(lambda match: keep(f"<code>{_safe(match[1])}</code>"), text)
    text = _CONTROL.sub(lambda match: keep(_control(match[1], users or {})), text)
    if not verbatim:
        text = _BARE_URL.sub(lambda match: keep(_link(html.unescape(match[0]), match[0])), text)
    escaped = _safe(text)
    for pattern, markup in _STYLES:
        escaped = pattern.sub(markup, escaped)
    written = escaped.replace("\n", "<br>")
    for _ in range(3):  # a link may hold a code span
        written = _PIECE.sub(lambda match: pieces[int(match[1])], written)
    return re.sub(r"<br>(?=<pre>)|(?<=</pre>)<br>", "", written)


def _safe(text: str) -> str:
    """Slack escapes three characters; a browser's own escapes of all others go on top."""
    plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return html.escape(plain)


def _control(inner: str, users: Mapping[str, Any]) -> str:
    target, _, label = inner.partition("|")
    if target.startswith("!date^"):
        return f"<time>{_safe(label or target)}</time>"
    if target.startswith("@"):
        name = users.get(target[1:], {}).get("name", target[1:])
        return f'<span class="mention">@{_safe(label or name)}</span>'
    if target.startswith(("!", "#")):
        return (
            f'<span class="mention">{"#" if target[0] == "#" else "@"}{_safe(label or target[1:].split("^")[0])}</span>'
        )
    return _link(target.replace("&amp;", "&"), label or target)


def _link(address: str, label: str) -> str:
    if not address.startswith(("http://", "https://", "mailto:")):
        return _safe(label)
    return f'<a href="{html.escape(address)}" rel="noreferrer noopener" target="_blank">{_safe(label)}</a>'


def _text(text: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    if text.get("type") == "mrkdwn":
        return mrkdwn(str(text["text"]), users, bool(text.get("verbatim")))
    return html.escape(str(text["text"])).replace("\n", "<br>")


# --- blocks -------------------------------------------------------------------------------------------------------


def blocks_html(blocks: Sequence[Mapping[str, Any]], users: Mapping[str, Any] | None = None) -> str:
    users = users or {}
    return "".join(_BLOCKS[block["type"]](block, users) for block in blocks if block["type"] in _BLOCKS)


def _header(block: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    return f'<h3 class="header">{_text(block["text"], users)}</h3>'


def _section(block: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    text = _text(block["text"], users) if "text" in block else ""
    fields = "".join(f"<div>{_text(field, users)}</div>" for field in block.get("fields", []))
    accessory = f'<div class="accessory">{_element(block["accessory"])}</div>' if "accessory" in block else ""
    return (
        f'<div class="section"><div class="text">{text}{f"<div class=fields>{fields}</div>" if fields else ""}</div>'
        f"{accessory}</div>"
    )


def _context(block: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    elements = "".join(f"<span>{_text(e, users)}</span>" for e in block["elements"] if e["type"] != "image")
    return f'<div class="context">{elements}</div>'


def _actions(block: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    return f'<div class="actions">{"".join(_element(element) for element in block["elements"])}</div>'


def _input(block: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    block_id, element = html.escape(str(block.get("block_id", ""))), block["element"]
    required = "" if block.get("optional") else " required"
    if element["type"] == "static_select":
        field = f'<select name="{block_id}"{required}><option value=""></option>{_options(element)}</select>'
    else:
        field = (
            f'<textarea name="{block_id}" rows="3" maxlength="{element.get("max_length", 3_000)}"{required}></textarea>'
        )
    optional = ' <span class="hint">(optional)</span>' if block.get("optional") else ""
    hint = f'<p class="hint">{_text(block["hint"], users)}</p>' if "hint" in block else ""
    return f'<label class="input"><b>{_text(block["label"], users)}</b>{optional}{field}</label>{hint}'


_BLOCKS = {
    "header": _header,
    "section": _section,
    "context": _context,
    "actions": _actions,
    "input": _input,
    "divider": lambda block, users: "<hr>",
}


def _element(element: Mapping[str, Any]) -> str:
    action_id = html.escape(str(element.get("action_id", "")))
    if element["type"] == "static_select":
        placeholder = html.escape(element.get("placeholder", {}).get("text", "Choose …"))
        return (
            f'<select data-action="{action_id}" aria-label="{placeholder}"><option value="">{placeholder}</option>'
            f"{_options(element)}</select>"
        )
    if element["type"] != "button":
        return ""
    style = html.escape(str(element.get("style", "")))
    confirm = html.escape(json.dumps(element["confirm"])) if "confirm" in element else ""
    return (
        f'<button type="button" class="{style}" data-action="{action_id}" data-confirm="{confirm}">'
        f"{html.escape(element['text']['text'])}</button>"
    )


def _options(element: Mapping[str, Any]) -> str:
    return "".join(
        f'<option value="{html.escape(option["value"])}">{html.escape(option["text"]["text"])}</option>'
        for option in element["options"]
    )


# --- pages --------------------------------------------------------------------------------------------------------


def message_page(message: Mapping[str, Any], theme: str = "") -> str:
    """One message as it stands in a channel; nothing on the page acts."""
    channel = {"name": "watchfloor", "messages": [{"user": "U0BOT", "ts": "", **message}]}
    users = {"U0BOT": {"name": "watchfloor", "real_name": "Watchfloor", "is_bot": True}}
    body = f"<main>{_message(channel['messages'][0], [], users)}</main>"  # type: ignore[arg-type]
    return _document("#watchfloor", _bar("watchfloor", []) + body, theme)


def channel_page(
    *,
    channel_id: str,
    channel: Mapping[str, Any],
    users: Mapping[str, Any],
    views: Sequence[Mapping[str, Any]],
    ephemeral: Sequence[Mapping[str, Any]],
    theme: str = "",
) -> tuple[str, str]:
    """A channel with its threads and open windows, and the nonce that its script may run with."""
    nonce = secrets.token_urlsafe(16)
    people = [(user_id, user) for user_id, user in users.items() if not user.get("is_bot") and not user.get("deleted")]
    replies: dict[str, list[Mapping[str, Any]]] = {}
    for message in channel["messages"]:
        if message.get("thread_ts") and message["thread_ts"] != message["ts"]:
            replies.setdefault(message["thread_ts"], []).append(message)
    tops = [m for m in channel["messages"] if m.get("thread_ts") in (None, m["ts"])]
    shown = "".join(_message(message, replies.get(message["ts"], []), users) for message in tops)
    notes = "".join(
        f'<p class="ephemeral">Only visible to {html.escape(users.get(m["user"], {}).get("name", "one person"))}:'
        f" {mrkdwn(m['text'], users)}</p>"
        for m in ephemeral[-5:]
    )
    windows = "".join(_window(view, users) for view in views)
    empty = '<p class="empty">Nothing was said here yet.</p>'
    body = (
        f'{_bar(channel["name"], people)}<main data-channel="{html.escape(channel_id)}">{shown or empty}{notes}</main>'
        f'<div id="windows">{windows}</div><div id="toast" role="status"></div>'
    )
    script = f'<script nonce="{nonce}">{_SCRIPT}</script>'
    return _document(f"#{channel['name']} - Slack twin", body + script, theme), nonce


def _bar(name: str, people: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    options = "".join(
        f'<option value="{html.escape(user_id)}">{html.escape(user["name"])}</option>' for user_id, user in people
    )
    you = f'<label class="you">you are <select id="user">{options}</select></label>' if options else ""
    return f'<header class="bar"><b># {html.escape(name)}</b>{you}</header>'


def _message(message: Mapping[str, Any], replies: Sequence[Mapping[str, Any]], users: Mapping[str, Any]) -> str:
    user = users.get(str(message.get("user")), {})
    name = html.escape(user.get("real_name") or str(message.get("user") or "somebody"))
    badge = '<span class="badge">APP</span>' if user.get("is_bot") else ""
    edited = '<span class="edited">(edited)</span>' if message.get("edited") else ""
    content = (
        blocks_html(message["blocks"], users)
        if message.get("blocks")
        else f'<div class="section"><div class="text">{mrkdwn(message.get("text", ""), users, False)}</div></div>'
    )
    thread = ""
    if replies:
        inner = "".join(_message(reply, [], users) for reply in replies)
        count = f"{len(replies)} {'reply' if len(replies) == 1 else 'replies'}"
        thread = (
            f'<details class="thread"{" open" if len(replies) < 6 else ""}><summary>{count}</summary>{inner}</details>'
        )
    ts = html.escape(str(message.get("ts", "")))
    avatar = "W" if user.get("is_bot") else name[:1]
    return (
        f'<article class="message" data-ts="{ts}"><div class="avatar{" app" if badge else ""}" aria-hidden="true">{avatar}'
        f'</div><div class="body"><div class="who"><b>{name}</b>{badge}<time>{_clock(ts)}</time></div>'
        f"{content}{edited}{thread}</div></article>"
    )


def _window(view: Mapping[str, Any], users: Mapping[str, Any]) -> str:
    submit = f'<button class="primary">{_text(view["submit"], users)}</button>' if "submit" in view else ""
    return (
        f'<form class="window" data-view="{html.escape(view["id"])}"><h2>{_text(view["title"], users)}</h2>'
        f'{blocks_html(view["blocks"], users)}<div class="actions">{submit}'
        f'<button type="button" data-close>{_text(view["close"], users) if "close" in view else "Close"}</button></div></form>'
    )


def _clock(ts: str) -> str:
    try:
        return dt.datetime.fromtimestamp(float(ts), dt.UTC).strftime("%H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return ""


def _document(title: str, body: str, theme: str) -> str:
    mode = theme if theme in ("light", "dark") else ""
    return (
        f'<!doctype html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


_DARK = """--page:#1a1d21;--bar:#121016;--text:#d1d2d3;--strong:#f8f8f8;--soft:#ababad;--line:#35373b;--code:#232529;
--code-text:#e8912d;--link:#1d9bd1;--hover:#222529;--mention:#3b3428;--field:#222529;--primary:#007a5a;--danger:#e01e5a"""
_STYLE = f"""
:root{{--page:#fff;--bar:#4a154b;--text:#1d1c1d;--strong:#1d1c1d;--soft:#616061;--line:#dddddd;--code:#f6f6f6;
--code-text:#c01343;--link:#1264a3;--hover:#f8f8f8;--mention:#fdf0c4;--field:#fff;--primary:#007a5a;--danger:#e01e5a;
color-scheme:light}}
@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{_DARK};color-scheme:dark}}}}
:root[data-theme=dark]{{{_DARK};color-scheme:dark}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--page);color:var(--text);overflow-wrap:anywhere;
font:15px/1.4 Lato,"Slack-Lato",system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}}
.bar{{position:sticky;top:0;z-index:1;display:flex;align-items:center;justify-content:space-between;gap:12px;
padding:8px 12px;background:var(--bar);color:#fff}}
.you{{font-size:13px;opacity:.9}}
main{{max-width:760px;padding:6px 0 32px}}
.message{{display:flex;gap:8px;padding:6px 12px}}
.message:hover{{background:var(--hover)}}
.avatar{{flex:none;width:36px;height:36px;border-radius:8px;display:grid;place-items:center;font-weight:700;
background:#7c3085;color:#fff}}
.avatar.app{{background:#1264a3}}
.body{{min-width:0;flex:1}}
.who{{display:flex;align-items:baseline;flex-wrap:wrap;gap:0 6px;color:var(--strong)}}
.who time{{font-size:12px;color:var(--soft)}}
.badge{{font-size:10px;font-weight:700;padding:0 3px;border-radius:2px;background:var(--line);color:var(--soft)}}
.header{{margin:2px 0 4px;font-size:17px;line-height:1.3;font-weight:800;color:var(--strong)}}
.section{{display:flex;gap:12px;margin:6px 0}}
.text{{min-width:0;flex:1}}
.fields{{display:grid;grid-template-columns:1fr 1fr;gap:6px 12px}}
.accessory{{flex:none}}
.context{{display:flex;flex-wrap:wrap;gap:0 10px;margin:4px 0;font-size:13px;line-height:1.35;color:var(--soft)}}
.context>span{{min-width:0}}
hr{{border:0;border-top:1px solid var(--line);margin:10px 0}}
pre,code{{font:12px/1.5 Monaco,Menlo,Consolas,"DejaVu Sans Mono","Courier New",monospace;background:var(--code);
border:1px solid var(--line);border-radius:4px}}
code{{padding:1px 3px;color:var(--code-text)}}
pre{{margin:4px 0;padding:8px;white-space:pre-wrap;overflow-wrap:anywhere}}
a{{color:var(--link);text-decoration:none}}
a:hover,a:focus-visible{{text-decoration:underline}}
.mention{{background:var(--mention);color:var(--link);border-radius:3px;padding:0 2px}}
.actions{{display:flex;flex-wrap:wrap;gap:8px;margin:8px 0}}
button,select,textarea{{font:inherit;font-size:14px;color:var(--text);background:var(--field);
border:1px solid var(--soft);border-radius:6px;padding:5px 10px;max-width:100%}}
button{{font-weight:700;cursor:pointer}}
button:focus-visible,select:focus-visible,textarea:focus-visible,a:focus-visible,summary:focus-visible{{
outline:2px solid var(--link);outline-offset:2px}}
button.primary{{background:var(--primary);border-color:var(--primary);color:#fff}}
button.danger{{background:var(--danger);border-color:var(--danger);color:#fff}}
.bar select{{padding:2px 6px;background:transparent;color:#fff;border-color:#fff9}}
.bar option{{color:#1d1c1d;background:#fff}}
.edited,.hint,.ephemeral,.empty{{font-size:12px;color:var(--soft)}}
.ephemeral,.empty{{padding:4px 12px 4px 56px}}
.thread{{margin:4px 0}}
.thread summary{{font-size:13px;font-weight:700;color:var(--link);cursor:pointer}}
.thread .message{{padding:6px 0}}
.thread .avatar{{width:24px;height:24px;border-radius:5px;font-size:12px}}
.window{{position:fixed;left:50%;top:50%;transform:translate(-50%,-50%);width:min(520px,calc(100vw - 24px));
max-height:90vh;overflow:auto;background:var(--page);border:1px solid var(--line);border-radius:10px;padding:16px;
box-shadow:0 8px 40px #0006;z-index:2}}
.window h2{{margin:0 0 8px;font-size:18px}}
.window textarea,.window .input select{{display:block;width:100%;margin-top:4px}}
#toast{{position:fixed;bottom:12px;left:50%;transform:translateX(-50%);max-width:90vw;padding:8px 14px;
border-radius:8px;background:#1d1c1d;color:#fff;font-size:13px}}
#toast:empty{{display:none}}
"""

_SCRIPT = """
"use strict";
const main = document.querySelector("main"), toast = document.getElementById("toast");
const windows = document.getElementById("windows"), user = document.getElementById("user");
async function send(what, body) {
  const answer = await fetch("/_twin/" + what, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  const said = await answer.json();
  let problem = said.error || (said.status === 200 ? "" : "The app answered " + (said.status || "nothing"));
  try { problem = problem || Object.values(JSON.parse(said.body).errors || {}).join(" "); } catch { /* no JSON */ }
  toast.textContent = problem;
  setTimeout(refresh, 300);
}
function act(element, selected) {
  const confirm = element.dataset.confirm && JSON.parse(element.dataset.confirm);
  if (confirm && !window.confirm(confirm.title.text + "\\n\\n" + confirm.text.text)) return;
  send("press", {action_id: element.dataset.action, ts: element.closest(".message").dataset.ts,
    channel: main.dataset.channel, user: user.value, selected: selected || ""});
}
main.addEventListener("click", event => {
  const button = event.target.closest("button[data-action]");
  if (button) act(button);
});
main.addEventListener("change", event => {
  const select = event.target.closest("select[data-action]");
  if (select && select.value) act(select, select.value);
  if (select) select.value = "";
});
windows.addEventListener("click", event => {
  if (event.target.closest("[data-close]")) send("close", {view_id: event.target.closest("form").dataset.view});
});
windows.addEventListener("submit", event => {
  event.preventDefault();
  const values = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value));
  document.activeElement.blur();
  send("submit", {view_id: event.target.dataset.view, values, user: user.value});
});
async function refresh() {
  const active = document.activeElement;
  if (active && active.closest("textarea, select")) return;
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  for (const [old, selector] of [[main, "main"], [windows, "#windows"]]) {
    const fresh = page.querySelector(selector);
    if (old.dataset.seen !== fresh.innerHTML) {
      old.innerHTML = fresh.innerHTML;
      old.dataset.seen = fresh.innerHTML;
    }
  }
}
setInterval(() => refresh().catch(() => {}), 3000);
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.slack_page", description="A Slack message as a web page.")
    parser.add_argument("message", type=Path, help='JSON file with {"text", "blocks"}; "-" reads it from stdin')
    parser.add_argument("--out", type=Path, help="where the page goes; stdout otherwise")
    parser.add_argument("--theme", choices=("light", "dark"), default="", help="otherwise as the browser has it")
    given = parser.parse_args(arguments)
    text = sys.stdin.read() if str(given.message) == "-" else given.message.read_text(encoding="utf-8")
    page = message_page(json.loads(text), given.theme)
    if given.out:
        given.out.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
