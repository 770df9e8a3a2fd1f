"""The published dashboard: nothing in it comes from a network, and it can be opened as a file."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from importlib.resources import files

import pytest

from problems.data.download import FetchFailed
from suite import dashboard


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Archives with an empty file for each that is wanted, in place of those on npm."""
    for package in dashboard.PACKAGES:
        with tarfile.open(tmp_path / package.archive, "w:gz") as archive:
            for path in [*package.files.values(), *(f"{folder}/glyphs.woff" for folder in package.beside)]:
                archive.addfile(tarfile.TarInfo(f"package/{path}"), io.BytesIO())
    monkeypatch.setattr(dashboard, "_archive", lambda package: tmp_path / package.archive)


@pytest.fixture
def page(tmp_path):
    """What ``asv publish`` writes, as far as it matters here."""
    folder = tmp_path / "html"
    shutil.copytree(str(files("asv") / "www"), folder)
    (folder / "index.json").write_text('{"project": "here"}')
    (folder / "graphs" / "summary").mkdir(parents=True)
    (folder / "graphs" / "summary" / "quick.Step.json").write_text("[[1, 2.5]]")
    return folder


def test_every_script_and_style_sheet_of_asv_is_brought_along(packages, page):
    assert dashboard.bring_along(page) == []
    text = (page / "index.html").read_text()
    loaded = re.findall(r'<(?:script[^>]*?src|link[^>]*?href)="([^"]+)"', text)
    assert len(loaded) > 15 and not [name for name in loaded if "//" in name]
    made_by_publish = {"regressions.xml"}
    assert [name for name in loaded if not (page / name).is_file() and name not in made_by_publish] == []
    assert list((page / "vendor" / "bootstrap").rglob("*.woff"))


def test_a_page_opened_from_disk_finds_its_numbers(packages, page):
    dashboard.bring_along(page)
    text = (page / "files.js").read_text()
    found = json.loads(text.removeprefix("window.publishedFiles = ").rstrip(";\n"))
    assert json.loads(found["index.json"]) == {"project": "here"}
    assert json.loads(found["graphs/summary/quick.Step.json"]) == [[1, 2.5]]
    scripts = re.findall(r'<script[^>]*?src="([^"]+)"', (page / "index.html").read_text())
    assert scripts.index("vendor/jquery/dist/jquery.min.js") < scripts.index("offline.js") < scripts.index("asv.js")


def test_what_is_not_known_is_told_and_left(packages, page):
    index = page / "index.html"
    index.write_text(index.read_text().replace("jquery-3.3.1.min.js", "jquery-9.min.js"))
    assert dashboard.bring_along(page) == ["https://code.jquery.com/jquery-9.min.js"]
    assert "https://code.jquery.com/jquery-9.min.js" in index.read_text()


def test_an_archive_with_other_contents_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    package = dashboard.PACKAGES[0]
    folder = tmp_path / "npm"
    folder.mkdir()
    (folder / package.archive).write_bytes(b"something else")
    with pytest.raises(FetchFailed, match="SHA-512"):
        dashboard._archive(package)
    assert not (folder / package.archive).exists()
