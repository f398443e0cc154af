"""What a user installs: the wheel, the lock files, the Makefile, and what the sources may not contain."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = re.search(r'__version__ = "(.+)"', (SOURCE / "fastclient/_version.py").read_text())[1]

# make hands its own variables down to the tests it runs; a make started by a test must not see them
MAKE_VARIABLES = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "NO_UV", "PYTHON", "VENV", "VIRTUAL_ENV"}
CLEAN = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """The command's output; its error output when it fails."""
    done = subprocess.run(command, cwd=cwd, env=CLEAN | env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def program(name: str) -> str:
    """Where the program is; without it the test is skipped, or fails on a machine that must have everything."""
    if path := shutil.which(name):
        return path
    if os.environ.get("FASTCLIENT_REQUIRE_ALL"):
        pytest.fail(f"{name} is missing")
    pytest.skip(f"{name} is missing")


# --- the wheel --------------------------------------------------------------------------------------------------------


def build(folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file is a source file of the package or one of five metadata files; none is forgotten."""
    ours = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "fastclient").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    info = f"fastclient-{VERSION}.dist-info"
    metadata = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == ours | metadata
    assert "fastclient/py.typed" in ours


def test_wheel_holds_no_code_but_python(wheel: Path) -> None:
    """No .pth (it would run at every interpreter start), no machine code, no bytecode; and it runs everywhere."""
    binary = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"!<arch>", b"\x00asm")
    assert wheel.name == f"fastclient-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert not name.endswith((".pth", ".pyc", ".so", ".pyd", ".dll", ".dylib", ".exe", ".sh"))
            assert not archive.read(name).startswith(binary)


def test_wheel_is_the_same_each_time(wheel: Path, tmp_path: Path) -> None:
    """Who builds the sources again gets the published bytes."""
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


def test_wheel_metadata(wheel: Path) -> None:
    """The index shows the right version, licence, Python, description and commands."""
    info = f"fastclient-{VERSION}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        head = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert (head["Name"], head["Version"]) == ("fastclient", VERSION)
    assert (head["License-Expression"], head["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert head.get_payload()
    assert "fastclient = fastclient.cli:main" in entry_points
    assert "fastclient = fastclient.testing.plugin" in entry_points


def test_all_extras_but_the_compiled_one() -> None:
    """`fastclient[all]` asks for every extra except `local`, which compiles for minutes."""
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.extras == extras.keys() - {"all", "local"}


# Prints where the package came from. Its dependencies are borrowed from the environment of the tests, whose own
# fastclient is installed as a .pth and so cannot be borrowed with them.
WHERE = "import fastclient, fastclient._version as v; print(v.__version__, fastclient.__file__)"


def assert_installed(environment: Path) -> None:
    version, where = run(
        environment / "bin/python", "-c", WHERE, cwd=environment, PYTHONPATH=sysconfig.get_path("purelib")
    ).split()
    assert version == VERSION
    assert Path(where).resolve().is_relative_to(environment.resolve())
    assert (environment / "bin/fastclient").exists()


@pytest.mark.slow
def test_pip_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """pip puts the wheel into a fresh environment, and the package imports from there."""
    run(sys.executable, "-m", "venv", tmp_path / "pip")
    run(tmp_path / "pip/bin/python", "-m", "pip", "install", "--no-index", "--no-deps", wheel)
    assert_installed(tmp_path / "pip")


@pytest.mark.slow
def test_uv_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """uv puts the wheel into a fresh environment, and the package imports from there."""
    uv = program("uv")
    run(uv, "venv", "--python", sys.executable, tmp_path / "uv")
    run(uv, "pip", "install", "--offline", "--no-deps", "--python", tmp_path / "uv/bin/python", wheel)
    assert_installed(tmp_path / "uv")


# --- importing --------------------------------------------------------------------------------------------------------

IMPORT_UNDER_WATCH = """
import sys
forbidden = {"socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen", "os.system", "os.exec",
             "os.fork", "os.posix_spawn", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}
seen = []
def watch(event, args):
    if event in forbidden or event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args)[:200]))
sys.addaudithook(watch)
import fastclient
print(*seen, sep="\\n")
"""


def test_import_touches_nothing() -> None:
    """Importing the package opens no connection, starts no program and writes no file."""
    assert run(sys.executable, "-B", "-c", IMPORT_UNDER_WATCH).strip() == ""


# --- what is written down twice ---------------------------------------------------------------------------------------


def test_changelog_begins_with_this_version() -> None:
    """The newest entry of the changelog is about the version that this is."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == VERSION
    assert len(headings) == len(set(headings))


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), flags=re.MULTILINE))


def wanted(group: str) -> Iterator[Requirement]:
    for entry in PROJECT["dependency-groups"][group]:
        if isinstance(entry, str):
            yield Requirement(entry)
        else:
            yield from wanted(entry["include-group"])


@pytest.mark.parametrize("name", ["run.txt", "test.txt", "older.txt", "lint.txt", "types.txt", "bench.txt"])
def test_lock_files_pin_everything_by_hash(name: str) -> None:
    """Each requirement is one exact version with its hashes, and no file names an index or a download address."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all(re.match(r"[a-z0-9-]+==\S+.*\\\n +--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text


@pytest.mark.parametrize("group", ["test", "older", "lint", "types", "bench"])
def test_lock_files_follow_the_project(group: str) -> None:
    """What pyproject.toml asks for is what is pinned; after a change, `make lock` writes the files afresh."""
    pinned = pins(f"{group}.txt")
    needs = list(wanted(group))
    if group in ("test", "older"):
        needs += map(Requirement, PROJECT["project"]["dependencies"])
    for need in needs:
        assert need.name in pinned, f"{need} is not in requirements/{group}.txt"
        assert need.specifier.contains(pinned[need.name]), f"{need} is pinned to {pinned[need.name]}"


def test_lock_files_agree() -> None:
    """One environment can take them all but `older.txt`: no package is pinned to two versions."""
    versions: dict[str, str] = {}
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.name != "older.txt":
            for name, version in pins(path.name).items():
                assert versions.setdefault(name, version) == version, name


def test_the_older_environment_is_older() -> None:
    """It has the last releases of the SDKs that still speak through httpx; the usual one has the newest."""
    assert [pins("older.txt")[sdk].partition(".")[0] for sdk in ("openai", "anthropic")] == ["2", "0"]
    assert [pins("test.txt")[sdk].partition(".")[0] for sdk in ("openai", "anthropic")] == ["3", "2"]


# --- the Makefile -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path: Path) -> Iterator[object]:
    """`make -n` with a uv that is always there; returns the commands it would run."""
    program("make")
    (tmp_path / "uv").write_text("#!/bin/sh\necho uv 0.0\n")
    (tmp_path / "uv").chmod(0o755)

    def dry_run(*arguments: str) -> list[str]:
        path = f"{tmp_path}{os.pathsep}{CLEAN['PATH']}"
        output = run("make", "-n", f"VENV={tmp_path}/env", *arguments, PATH=path)
        return [line for line in output.splitlines() if not line.startswith("touch ")]

    return dry_run


RUNS = {
    "demo": "-m fastclient demo",
    "test": "-m pytest",
    "test-older": "-m pytest -n 2 tests/doors",
    "lint": "ruff' format --check",
    "types": "pyright'",
    "soak": "-m pytest -m soak",
}


@pytest.mark.parametrize("target, command", RUNS.items())
@pytest.mark.parametrize("tool, installer", [("NO_UV=", "uv pip install"), ("NO_UV=1", "-m pip install")])
def test_make_sets_up_a_fresh_machine(make, target: str, command: str, tool: str, installer: str) -> None:
    """Each target makes an environment, installs hash-checked pins with uv or with pip, then does its job."""
    lines = make(target, tool)
    assert any("venv" in line for line in lines[:2])
    installs = [line for line in lines if " install " in line and " -r " in line]
    assert installs
    assert all(installer in line and "--require-hashes" in line for line in installs)
    assert command in lines[-1]
    assert ("uv " in "".join(lines)) == (tool == "NO_UV=")


def test_make_keeps_the_older_libraries_apart(make) -> None:
    """Without VENV, `make test-older` has an environment of its own, made from pins of its own."""
    lines = run("make", "-n", "test-older").splitlines()
    assert lines[-1].startswith("'.venv-older/bin/python' -m pytest")
    assert "older.txt" in "".join(make("test-older"))
    assert "test.txt" not in "".join(make("test-older"))


def test_make_installs_once(make, tmp_path: Path) -> None:
    """A second `make test` runs the tests and nothing else."""
    (tmp_path / "env").mkdir()
    for stamp in (".have-venv", ".have-run", ".have-test"):
        (tmp_path / "env" / stamp).touch()
    assert len(make("test", "ARGS=-k hedge")) == 1
    assert make("test", "ARGS=-k hedge")[0].endswith("/bin/python' -m pytest -n 2 -k hedge")


def test_make_takes_the_interpreter_it_is_given(make) -> None:
    """PYTHON chooses the interpreter, for uv and for pip."""
    for tool in ("NO_UV=", "NO_UV=1"):
        assert "python3.13" in "".join(make("test", tool, "PYTHON=python3.13"))


def test_make_help_lists_every_target() -> None:
    """`make` alone explains itself."""
    program("make")
    listed = set(re.findall(r"^ +make ([\w-]+)", run("make"), flags=re.MULTILINE))
    assert listed >= {"help", "demo", "test", "test-older", "lint", "types", "bench", "soak", "clean"}


# --- the sources ------------------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "os.system",
    "os.popen",
    "ssl.CERT_NONE",
    "ssl._create_unverified_context",
    "tempfile.mktemp",
    "yaml.load",
    "yaml.unsafe_load",
}
ARGUMENTS = {("shell", True), ("verify", False), ("check_hostname", False), ("follow_redirects", True)}
ALLOWED = {  # "module.py: what", each with its reason
    "clients.py: follow_redirects=True",  # as both SDKs ask for it, for downloads; calls never have a location
}


def banned(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each thing that may run what it reads, or trust whom it should not."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names if name.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found = [module] if module.split(".")[0] in MODULES else []
                found += [full for name in names if (full := f"{module}.{name.name}") in ATTRIBUTES]
            case ast.Name(id=name) if name in BUILTINS:
                found = [name]
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if f"{owner}.{name}" in ATTRIBUTES:
                found = [f"{owner}.{name}"]
            case ast.keyword(arg=name, value=ast.Constant(value=bool(value))) if (name, value) in ARGUMENTS:
                found = [f"{name}={value}"]
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=bool(value))):
                found = [f"{name}={value}"] if (name, value) in ARGUMENTS else []
            case _:
                continue
        yield from ((node.lineno, name) for name in found)


def test_sources_run_nothing_they_read() -> None:
    """No unpickling, no eval, no shell, no race for a file name, no unverified certificate, no followed redirect."""
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {name}"
        for path in SOURCE.rglob("*.py")
        for line, name in banned(path.read_text())
        if f"{path.name}: {name}" not in ALLOWED
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from shelve import open",
        "eval('1')",
        "run = exec",
        "os.system('ls')",
        "from tempfile import mktemp",
        "tempfile.mktemp()",
        "yaml.load(text)",
        "subprocess.run('ls', shell=True)",
        "httpx.Client(verify=False)",
        "httpx.Client(follow_redirects=True)",
        "context.verify_mode = ssl.CERT_NONE",
        "context.check_hostname = False",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    """Each banned thing is found in each way to write it."""
    assert len(list(banned(source))) == 1


def test_the_search_lets_words_be() -> None:
    """Saying the words, compiling a pattern and verifying a certificate are no offence."""
    text = '"""No pickle, no eval(."""\nre.compile("x")\nClient(verify=True, follow_redirects=False)  # shell=True\n'
    assert list(banned(text)) == []
