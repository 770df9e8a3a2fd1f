"""Files of two folders may import modules of the same name: each gets its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from problems.data.silence import is_silent, silence, unheard
from problems.references import import_file

MINE = """
    import json
    from helpers import WHO
    from package import inner


    def eager():
        return WHO, inner.WHO


    def lazy():
        import helpers
        from late import WHO

        return helpers.WHO, WHO
"""


def written(folder, who):
    (folder / "package").mkdir(parents=True)
    (folder / "mine.py").write_text(textwrap.dedent(MINE))
    (folder / "helpers.py").write_text("import deeper\nWHO = deeper.WHO\n")
    for name in ("deeper.py", "late.py", "package/__init__.py", "package/inner.py"):
        (folder / name).write_text(f"WHO = {who!r}\n")
    (folder / "json.py").write_text("raise RuntimeError('hides another module')\n")
    return str(folder / "mine.py")


@pytest.fixture
def files(tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    yield [written(tmp_path / who, who) for who in ("one", "two", "three")]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_each_file_has_the_modules_beside_it(files):
    one, two, three = map(import_file, files)
    for who, module in (("one", one), ("two", two), ("three", three)):
        assert module.eager() == (who, who)
    for _ in range(2):
        for who, module in (("three", three), ("one", one), ("two", two)):
            assert module.lazy() == (who, who)


def test_what_is_imported_is_imported_once(files):
    one, two = map(import_file, files[:2])
    helpers = [module.lazy.__globals__["inner"] for module in (one, two)]
    assert helpers[0] is not helpers[1]
    assert import_file(files[0]) is one
    one.lazy()
    assert sys.modules["helpers"].WHO == "one"
    first = sys.modules["helpers"]
    two.lazy()
    one.lazy()
    assert sys.modules["helpers"] is first


def test_nothing_else_is_touched(files):
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("suite", "problems")}
    path = list(sys.path)
    for file in files:
        import_file(file).lazy()
    assert all(sys.modules[name] is module for name, module in ours.items())
    assert [entry for entry in sys.path if entry in path] == path


def test_silence_is_for_the_block_and_for_processes_that_it_starts(capsys):
    with silence(False):
        assert not is_silent()
    with silence():
        told = subprocess.run(
            [sys.executable, "-c", "from problems.data.silence import is_silent; print(is_silent())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert is_silent() and told.strip() == "True"
        with silence(), unheard():
            print("a library's words")
        assert is_silent()
    assert not is_silent()
    assert capsys.readouterr().out == ""
    with unheard():
        print("a library's words")
    assert capsys.readouterr().out == "a library's words\n"
