"""The scripts' documentation: parts of each document, docs/scripts.md, and the same for a Confluence wiki."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local.scripts.catalog import FOLDER, ROOT, SECTIONS, Entry, ScriptError, entries
from watchfloor.scripts import CONTROLS, GROUPS

PAGE, WIKI = Path("docs/scripts.md"), Path("docs/scripts.confluence.xml")
_TITLES = {"test": "Testing", "debug": "Debugging", "oncall": "On call"}
_SHOWN_VALUE_CHARACTERS = 60
_PATIENCE_SECONDS = 60  # of the aws command
_INTRODUCTION = """\
The team's testing, debugging and on-call scripts. Each is a Lambda function of its own, named as the script is, with a
role of its own. What all of them have in common - how they are called and how they answer, dry runs, approvals, the
record of every call - is in [operations](operations.md#ops-scripts); how to add one is in
[CONTRIBUTING](../CONTRIBUTING.md#ops-scripts).

`<ScriptTargets>` and other names in angle brackets are [parameters of the stack](parameters.md#parameters). Besides what
is listed here, every script may write its record (`dynamodb:PutItem`, `dynamodb:UpdateItem` on `ScriptAuditTable`), and
one of high risk may use up its approval (`dynamodb:UpdateItem` on `ApprovalTable`)."""
_NOTE = "<!-- Made by `make docs` from the scripts' modules, documents, template and events. -->"


# --- the parts of a document that follow from the code ---------------------------------------------------------------


def written(entry: Entry) -> dict[str, str]:
    """The sections of a script's document that are not written by hand."""
    return {
        "Input Parameters": "\n".join(parameter_lines(entry.schema)),
        "Permissions": "\n".join(permission_lines(entry)),
        "Usage": usage(entry),
    }


def parameter_lines(schema: dict[str, Any]) -> list[str]:
    """One line for each parameter."""
    required = set(schema.get("required", []))
    lines = []
    for name, declared in schema.get("properties", {}).items():
        if name in required:
            presence = "required"
        elif declared.get("default") is None:
            presence = "optional"
        else:
            presence = f"default `{_compact(declared['default'])}`"
        about = " ".join(str(declared.get("description", "")).split())
        lines.append(f"- `{name}` ({kind_of(declared, schema)}, {presence}): {about}{_bounds(declared, schema)}")
    return lines or ["None."]


def kind_of(declared: dict[str, Any], schema: dict[str, Any]) -> str:
    """A parameter's type, in a word or two."""
    declared = _resolved(declared, schema)
    if "anyOf" in declared:
        kinds = [kind_of(option, schema) for option in declared["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if declared.get("format") == "password":
        return "secret"
    if declared.get("type") == "array":
        return f"list of {kind_of(declared.get('items', {}), schema)}"
    return str(declared.get("type", "any"))


def _resolved(declared: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in declared:
        return {**schema["$defs"][declared["$ref"].rpartition("/")[2]], **declared}
    return declared


def _bounds(declared: dict[str, Any], schema: dict[str, Any]) -> str:
    declared = _resolved(declared, schema)
    options = [option for option in declared.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        declared = {**_resolved(options[0], schema), **declared}
    if "enum" in declared:
        return f" (one of {', '.join(f'`{value}`' for value in declared['enum'])})"
    if declared.get("type") in ("integer", "number") and "minimum" in declared and "maximum" in declared:
        return f" ({declared['minimum']:,} to {declared['maximum']:,})"
    return ""


def permission_lines(entry: Entry) -> list[str]:
    """Actions with the same resources together."""
    resources: dict[str, list[str]] = {}
    for permission in entry.permissions:
        resources.setdefault(permission.action, []).append(permission.resource)
    together: dict[tuple[str, ...], list[str]] = {}
    for action, names in resources.items():
        together.setdefault(tuple(dict.fromkeys(names)), []).append(action)
    lines = [
        f"- {', '.join(f'`{action}`' for action in actions)} on {', '.join(f'`{name}`' for name in names)}"
        for names, actions in together.items()
    ]
    return lines or ["None."]


def usage(entry: Entry) -> str:
    """How it is called, with the values of its sample event."""
    event = entry.event
    payload = json.dumps(event)
    command = [f"watchfloor script run {entry.name}"]
    given = {name: value for name, value in event.items() if name not in CONTROLS}
    if event.get("dry_run"):
        command.append("--dry-run")
    for name, value in given.get("parameters", given).items():
        if isinstance(value, dict | list):
            return _blocks(entry, payload, f"watchfloor script run {entry.name} --input {entry.event_path.name}")
        text = value if isinstance(value, str) else json.dumps(value)
        command.append(f"--param {shlex.quote(f'{name}={text}')}")
    return _blocks(entry, payload, _wrapped(command))


def _blocks(entry: Entry, payload: str, command: str) -> str:
    # The aws command calls a second time where it had no answer for a minute.
    seconds = entry.function.get("Timeout", _PATIENCE_SECONDS)
    patience = f"--cli-read-timeout {seconds} " if seconds > _PATIENCE_SECONDS else ""
    return (
        f"```bash\naws lambda invoke --function-name {entry.name} --cli-binary-format raw-in-base64-out \\\n"
        f"  {patience}--payload {shlex.quote(payload)} output.json\n```\n\n```bash\n{command}\n```"
    )


def _wrapped(words: Sequence[str]) -> str:
    lines, line = [], words[0]
    for word in words[1:]:
        if len(line) + len(word) > 110:
            lines.append(f"{line} \\")
            line = f"  {word}"
        else:
            line += f" {word}"
    return "\n".join([*lines, line])


def document_text(entry: Entry) -> str:
    """The script's document with the parts that follow from the code made anew."""
    text = entry.document_path.read_text(encoding="utf-8")
    for title, body in written(entry).items():
        pattern = re.compile(rf"^(### {title}\n).*?(?=^### |\Z)", re.DOTALL | re.MULTILINE)
        text = pattern.sub(lambda match, body=body: f"{match[1]}\n{body}\n\n", text)  # type: ignore[misc]
    return text.rstrip("\n") + "\n"


def _compact(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN_VALUE_CHARACTERS else f"{text[:_SHOWN_VALUE_CHARACTERS]}…"


# --- docs/scripts.md --------------------------------------------------------------------------------------------------


def page(found: Sequence[Entry]) -> str:
    """All scripts on one page."""
    parts = ["# Ops scripts", _NOTE, _INTRODUCTION]
    for group in GROUPS:
        members = [entry for entry in found if entry.group == group]
        if members:
            parts.append(
                "\n".join([f"- **{_TITLES[group]}**", *(f"  - [{entry.name}](#{entry.name})" for entry in members)])
            )
    for entry in found:
        document = entry.document
        parts += [f"## {entry.name}", entry.description, "\n".join(_facts(entry))]
        parts += [f"### {entry.name}: {title.lower()}\n\n{document.sections[title]}" for title in SECTIONS]
    return "\n\n".join(parts) + "\n"


def _facts(entry: Entry) -> Iterator[str]:
    document = entry.document
    yield "| owner | reviewed | risk | writes |"
    yield "|---|---|---|---|"
    risk = f"{entry.script.risk}: runs only with an approval" if entry.script.is_dangerous else entry.script.risk
    yield f"| {document.owner} | {document.reviewed} | {risk} | {'yes' if entry.calls.writes else 'no'} |"


# --- Confluence -------------------------------------------------------------------------------------------------------


def wiki(found: Sequence[Entry]) -> str:
    """All scripts in Confluence's storage format, to be put into the wiki as a page's body; an XML document by itself.

    https://confluence.atlassian.com/doc/confluence-storage-format-790796544.html
    """
    parts = [
        # The prefix means in Confluence what is said here.
        '<div xmlns:ac="http://atlassian.com/content">',
        '<ac:structured-macro ac:name="toc"><ac:parameter ac:name="maxLevel">2</ac:parameter></ac:structured-macro>',
        *_storage(_INTRODUCTION),
    ]
    for group in GROUPS:
        members = [entry for entry in found if entry.group == group]
        if members:
            parts.append(f"<h1>{_TITLES[group]}</h1>")
        for entry in members:
            parts += [f"<h2>{escape(entry.name)}</h2>", *_storage(entry.description)]
            parts += _storage("\n".join(_facts(entry)))
            for title in SECTIONS:
                parts += [f"<h3>{title}</h3>", *_storage(entry.document.sections[title])]
    parts.append("</div>")
    return "\n".join(parts) + "\n"


def _storage(markdown: str) -> Iterator[str]:
    """The Markdown that the documents use: paragraphs, lists, tables, fenced code."""
    for block in _markdown_blocks(markdown):
        if block[0].startswith("```"):
            language = block[0].removeprefix("```").strip() or "text"
            # A CDATA section ends at its first ]]>.
            code = "\n".join(block[1:-1]).replace("]]>", "]]]]><![CDATA[>")
            yield (
                f'<ac:structured-macro ac:name="code"><ac:parameter ac:name="language">{escape(language)}</ac:parameter>'
                f"<ac:plain-text-body><![CDATA[{code}]]></ac:plain-text-body></ac:structured-macro>"
            )
        elif block[0].startswith("|"):
            yield f"<table><tbody>{''.join(_table_rows(block))}</tbody></table>"
        elif block[0].startswith("- "):
            items = re.split(r"^- ", "\n".join(block), flags=re.MULTILINE)[1:]
            yield f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
        else:
            yield f"<p>{_inline(' '.join(block))}</p>"


def _markdown_blocks(markdown: str) -> Iterator[list[str]]:
    block: list[str] = []
    is_code = False
    for line in markdown.splitlines():
        is_fence = line.startswith("```")
        starts = not is_code and block and (is_fence or (line.startswith(("- ", "|")) and block[0][0] != line[0]))
        if starts or (not is_code and not line.strip()):
            if block:
                yield block
            block = []
        if line.strip() or is_code:
            block.append(line)
        if is_fence:
            is_code = not is_code
            if not is_code:
                yield block
                block = []
    if block:
        yield block


def _table_rows(lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if re.fullmatch(r"[|:\- ]+", line):
            continue
        tag = "th" if number == 0 else "td"
        cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
        yield f"<tr>{''.join(f'<{tag}>{_inline(cell)}</{tag}>' for cell in cells)}</tr>"


def _inline(text: str) -> str:
    """Code, bold and links; everything else as it is."""
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)\s]+\))", " ".join(text.split()))
    shown = []
    for part in parts:
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            shown.append(f"<code>{escape(part[1:-1])}</code>")
        elif part.startswith("**") and part.endswith("**") and len(part) > 4:
            shown.append(f"<strong>{escape(part[2:-2])}</strong>")
        elif link := re.fullmatch(r"\[([^\]]+)\]\(([^)\s]+)\)", part):
            # What lies in the repository cannot be reached from the wiki.
            is_web = urlsplit(link[2]).scheme in ("http", "https")
            shown.append(f'<a href="{escape(link[2])}">{escape(link[1])}</a>' if is_web else escape(link[1]))
        else:
            shown.append(escape(part))
    return "".join(shown)


# --- files ------------------------------------------------------------------------------------------------------------


def stale(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Files whose text is not what it should be, and that text; the documents first, the page after them."""
    found = entries(root)
    for entry in found:
        text = document_text(entry)
        if text != entry.document_path.read_text(encoding="utf-8"):
            yield entry.document_path, text
    for path, text in ((root / PAGE, page(found)), (root / WIKI, wiki(found))):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path, text


def write(root: Path = ROOT) -> list[Path]:
    """Bring all of it up to date; which files changed."""
    changed: list[Path] = []
    # What the first round writes into the documents, the page shows.
    for _ in range(2):
        for path, text in list(stale(root)):
            path.write_text(text, encoding="utf-8")
            changed += [path] if path not in changed else []
    return changed


def main() -> int:
    try:
        for path in write():
            print(f"wrote {path.relative_to(ROOT)}")
    except (ScriptError, OSError, KeyError) as error:
        print(f"{FOLDER}: {error}; `python -m local.scripts.check` says more", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
