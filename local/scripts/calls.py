"""Which AWS calls a script makes, read from its syntax tree: `run.read("ecs").describe_services(...)` and the like.

Followed are names that a client is assigned to, functions of the same module that a client is handed to, and what is
imported from `watchfloor`. What is too clever to be followed is too clever for the check, and a test of the deployed
script finds it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import botocore.session
from botocore import xform_name

Kind = Literal["read", "write"]
# Imported, but no code that calls anything on the script's behalf.
_NO_HELPERS = {
    "watchfloor.clients.script_runtime",
    "watchfloor.clients.aws",
    "watchfloor.errors",
    "watchfloor.scripts",
}


@dataclass(frozen=True)
class Client:
    """`run.read("ecs")`."""

    kind: Kind
    service: str


@dataclass(frozen=True, order=True)
class Use:
    """A call that a script makes: boto3's service, the API's operation."""

    kind: Kind
    service: str
    operation: str


@dataclass
class Calls:
    """What a script calls.

    Attributes
    ----------
    uses
        AWS calls.
    has_steps
        Whether it changes something by other means (`run.step`).
    unknown
        Methods that the service does not have, as `service.method`.
    """

    uses: set[Use] = field(default_factory=set)
    has_steps: bool = False
    unknown: set[str] = field(default_factory=set)

    @property
    def writes(self) -> bool:
        return self.has_steps or any(use.kind == "write" for use in self.uses)


def calls_of(path: Path, layer: Path) -> Calls:
    """Of the script at `path`; `layer` is the folder that holds the package `watchfloor`."""
    reader = _Reader(layer)
    module = reader.module(path)
    for function in module.functions.values():
        reader.function(module, function, {})
    for node in module.classes.values():
        reader.uses_in(module, node, {})
    return reader.calls


@cache
def operations(service: str) -> dict[str, str]:
    """boto3's method name -> the API's operation."""
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): name for name in model.operation_names}


@cache
def services() -> frozenset[str]:
    return frozenset(botocore.session.get_session().get_available_services())


@dataclass
class _Module:
    functions: dict[str, ast.FunctionDef]
    classes: dict[str, ast.ClassDef]
    # Name here -> (module, name there).
    imports: dict[str, tuple[str, str]]


class _Reader:
    def __init__(self, layer: Path) -> None:
        self.calls = Calls()
        self._layer = layer
        self._modules: dict[Path, _Module] = {}
        self._done: set[tuple[int, frozenset[tuple[str, Client]]]] = set()

    def module(self, path: Path) -> _Module:
        if path not in self._modules:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions: dict[str, ast.FunctionDef] = {}
            classes: dict[str, ast.ClassDef] = {}
            imports: dict[str, tuple[str, str]] = {}
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    functions[node.name] = node
                elif isinstance(node, ast.ClassDef):
                    classes[node.name] = node
                elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("watchfloor"):
                    imports |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
            self._modules[path] = _Module(functions, classes, imports)
        return self._modules[path]

    def function(self, module: _Module, node: ast.FunctionDef, given: Mapping[str, Client]) -> None:
        key = (id(node), frozenset(given.items()))
        if key not in self._done:
            self._done.add(key)
            self.uses_in(module, node, dict(given))

    def uses_in(self, module: _Module, top: ast.AST, known: dict[str, Client]) -> None:
        known |= dict(_assigned(top, known))
        for node in ast.walk(top):
            if isinstance(node, ast.Attribute):
                client = _client(node.value, known)
                if client:
                    self._use(client, node.attr)
            if isinstance(node, ast.Call):
                self._call(module, node, known)

    def _use(self, client: Client, method: str) -> None:
        if method in ("get_paginator", "get_waiter", "exceptions", "meta"):
            return
        self._operation(client, method)

    def _operation(self, client: Client, method: str) -> None:
        found = operations(client.service).get(method) if client.service in services() else None
        if found:
            self.calls.uses.add(Use(client.kind, client.service, found))
        else:
            self.calls.unknown.add(f"{client.service}.{method}")

    def _call(self, module: _Module, node: ast.Call, known: Mapping[str, Client]) -> None:
        if isinstance(node.func, ast.Attribute):
            client = _client(node.func.value, known)
            literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if client and node.func.attr == "get_paginator" and isinstance(literal, str):
                self._operation(client, literal)
            if client and node.func.attr == "get_waiter" and isinstance(literal, str):
                for operation in _waited_for(client.service, literal):
                    self.calls.uses.add(Use(client.kind, client.service, operation))
            if node.func.attr == "step" and isinstance(node.func.value, ast.Name) and node.func.value.id == "run":
                self.calls.has_steps = True
        elif isinstance(node.func, ast.Name):
            self._named(module, node.func.id, node, known)

    def _named(self, module: _Module, name: str, node: ast.Call, known: Mapping[str, Client]) -> None:
        home, there = module, name
        if name in module.imports:
            imported, there = module.imports[name]
            path = self._layer.joinpath(*imported.split(".")).with_suffix(".py")
            if imported in _NO_HELPERS or not path.exists():
                return
            home = self.module(path)
        if there in home.functions:
            self.function(home, home.functions[there], dict(_handed(home.functions[there], node, known)))
        elif there in home.classes and home is not module:
            given = [client for value in _values(node) if (client := _client(value, known))]
            self._class(home, home.classes[there], given)

    def _class(self, module: _Module, node: ast.ClassDef, given: Iterable[Client]) -> None:
        """A helper that keeps a client, or the run: all that its methods call."""
        self.uses_in(module, node, {})
        for client in given:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Attribute) and inner.attr in operations(client.service):
                    self._operation(client, inner.attr)
                if (
                    isinstance(inner, ast.Call)
                    and isinstance(inner.func, ast.Attribute)
                    and inner.func.attr == "get_paginator"
                    and isinstance(inner.args[0], ast.Constant)
                ):
                    self._operation(client, str(inner.args[0].value))


def _client(node: ast.AST | None, known: Mapping[str, Client]) -> Client | None:
    """The client that an expression stands for."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read", "write")
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and _is_run(node.func.value)
    ):
        return Client("read" if node.func.attr == "read" else "write", node.args[0].value)
    return None


def _is_run(node: ast.AST) -> bool:
    """`run`, `self.run` or `self._run`."""
    return (isinstance(node, ast.Name) and node.id == "run") or (
        isinstance(node, ast.Attribute) and node.attr in ("run", "_run")
    )


def _assigned(top: ast.AST, known: Mapping[str, Client]) -> Iterator[tuple[str, Client]]:
    for node in ast.walk(top):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs: list[tuple[ast.AST, ast.AST]] = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                client = _client(value, known)
                if isinstance(name, ast.Name) and client:
                    yield name.id, client


def _handed(function: ast.FunctionDef, node: ast.Call, known: Mapping[str, Client]) -> Iterator[tuple[str, Client]]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    for name, value in zip(names, node.args, strict=False):
        client = _client(value, known)
        if client:
            yield name, client
    for keyword in node.keywords:
        client = _client(keyword.value, known)
        if keyword.arg and client:
            yield keyword.arg, client


def _values(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _waited_for(service: str, waiter: str) -> list[str]:
    session = botocore.session.get_session()
    document = session.get_component("data_loader").load_service_model(service, "waiters-2")
    found = {xform_name(name): value["operation"] for name, value in document["waiters"].items()}
    return [found[waiter]] if waiter in found else []
