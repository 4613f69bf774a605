"""Who may import whom (docs/architecture.md): dependencies point to the domain, and the domain knows no cloud."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOMAIN = ROOT / "layers/watchfloor/watchfloor"
PARTS = {"bench", "functions", "local", "models", "tests", "watchfloor"}
# What talks to others; the domain is read without any of it.
NETWORK = {
    "asyncio",
    "ftplib",
    "http",
    "imaplib",
    "poplib",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib",
    "xmlrpc",
}
DOMAIN_LIBRARIES = {"orjson", "pydantic", "stix2", "yaml"}
MODEL_LIBRARIES = {"numpy", "orjson", "scipy", "sklearn", "watchfloor", "yaml"}
# Tools beside the models, which the image does not hold.
MODEL_TOOLS = {"push.py", "evaluate.py"}


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it; `from a import b` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def is_standard(package: str) -> bool:
    return package in sys.stdlib_module_names


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted(DOMAIN.glob("*.py")), ids=shown)
def test_domain_knows_neither_network_nor_cloud(path):
    allowed = DOMAIN_LIBRARIES | {"watchfloor"}
    assert {package for package in packages(path) if not is_standard(package)} <= allowed
    # urllib.parse takes addresses apart; it opens none.
    assert {name for name in imported(path) if name.partition(".")[0] in NETWORK} <= {
        name for name in imported(path) if name.startswith("urllib.parse")
    }
    assert not [name for name in imported(path) if name.startswith("watchfloor.clients")]


@pytest.mark.parametrize("path", python_files(DOMAIN / "clients"), ids=shown)
def test_clients_know_the_domain_and_no_handler(path):
    assert not packages(path) & (PARTS - {"watchfloor"})


@pytest.mark.parametrize("path", python_files(ROOT / "functions"), ids=shown)
def test_handler_knows_domain_and_clients_and_no_other_handler(path):
    siblings = {other.stem for other in path.parent.glob("*.py")}
    assert not packages(path) & (PARTS - {"watchfloor"} | siblings)


@pytest.mark.parametrize(
    "path", [path for path in python_files(ROOT / "models") if path.name not in MODEL_TOOLS], ids=shown
)
def test_models_know_numbers_and_no_cloud(path):
    assert {package for package in packages(path) if not is_standard(package)} <= MODEL_LIBRARIES | {"models"}


@pytest.mark.parametrize(
    "path", python_files(ROOT / "functions", ROOT / "layers", ROOT / "models", ROOT / "bench"), ids=shown
)
def test_nothing_that_is_deployed_imports_what_runs_it_here(path):
    assert not packages(path) & {"local", "tests"}


@pytest.mark.parametrize("path", python_files(ROOT / "layers"), ids=shown)
def test_only_handlers_read_the_environment(path):
    assert not {name for name in imported(path) if name in ("os.environ", "os.getenv")}
    tree = ast.parse(path.read_text())
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not {"environ", "getenv"} & set(attributes)


def test_rules_were_applied_to_something():
    assert len(list(DOMAIN.glob("*.py"))) > 10
    assert len(python_files(DOMAIN / "clients")) > 10
    assert len(python_files(ROOT / "functions")) > 10
