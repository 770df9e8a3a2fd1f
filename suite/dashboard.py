"""A plugin of asv: what ``asv publish`` writes needs no network, and opens as a file too.

asv's page takes its scripts from content delivery networks and its numbers by requests, which
a browser refuses to a page opened from disk. Here the scripts come from the npm registry when
the page is published (each package verified by its digest, and remembered), and the numbers go
into one more script, which the page reads only where it was opened as a file.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class Package:
    """A release on npm.

    Args:
        integrity: SHA-512 of its archive in base64, as the registry gives it.
        files: name at the end of an address in asv's page -> path in the package.
        beside: folders of the package that those files refer to.
    """

    name: str
    version: str
    integrity: str
    files: dict[str, str]
    beside: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"

    @property
    def url(self) -> str:
        return f"{REGISTRY}/{self.name}/-/{self.archive}"


PACKAGES = (
    Package(
        "jquery",
        "3.3.1",
        "Ubldcmxp5np52/ENotGxlLe6aGMvmF4R8S6tZjsP6Knsaxd/xp3Zrh50cG93lR6nPXyUFwzN3ZSOQI0wRJNdGg==",
        {"jquery-3.3.1.min.js": "dist/jquery.min.js"},
    ),
    Package(
        "flot",
        "0.8.3",
        "xg2otcTJDvS+ERK+my4wxG/ASq90QURXtoM4LhacCq0jQW2jbyjdttbRNqU2cPykrpMvJ6b2uSp6SAgYAzj9tQ==",
        {
            f"jquery.{part}.min.js": f"jquery.{part}.js"
            for part in ("flot", "flot.time", "flot.selection", "flot.categories")
        },
    ),
    Package(
        "flot-orderbars",
        "1.0.0",
        "Jv51fvzevUjNXEeozpwEKfPjhiZhfiJddv0WHjduUTCmSF+7T5K7C9c9Y1wIVmUhDBv5fLMjgbwKecT0GIKPZA==",
        {"jquery.flot.orderBars.js": "js/jquery.flot.orderBars.js"},
    ),
    Package(
        "stupid-table-plugin",
        "1.1.3",
        "2Vk7XouQPxUQPRe9w0Fu7ZZ8kHLK7rDoLMsCgtKxRNJ7f4dSOGvW9CkHsq5wD6QsaEnWoyLBYH3xOEsrK3yWBg==",
        {"stupidtable.min.js": "stupidtable.min.js"},
    ),
    Package(
        "blueimp-md5",
        "2.19.0",
        "DRQrD6gJyy8FbiE4s+bDoXS9hiW3Vbx5uCdwvcCf3zLHL+Iv7LtGHLpr+GZV8rHG8tK766FGYBwRbu8pELTt+w==",
        {"md5.min.js": "js/md5.min.js"},
    ),
    Package(
        "bootstrap",
        "3.1.1",
        "TAzqS8E/ISpVHP29gYhy+1NSV+FJwApDVQhDfgLYsIuUDJiqJzH2DfORN5tiu+Ie2iBLrzEG34t4Rf465cigqg==",
        {"bootstrap.min.js": "dist/js/bootstrap.min.js", "bootstrap.min.css": "dist/css/bootstrap.min.css"},
        beside=("dist/fonts",),
    ),
)

# A script or a style sheet from elsewhere; its address is the second group.
_REMOTE = re.compile(r'<(script|link)\b[^>]*?\b(?:src|href)="(https?://[^"]+)"[^>]*>')

# Answers the page's requests from what files.js holds, later as a server would: the page asks before its scripts
# have all run. A request may have a time stamp behind its name.
_FROM_DISK = """
if (window.location.protocol === "file:") {
  document.write('<script src="files.js"><\\/script>');
  jQuery.ajaxTransport("+*", function (options) {
    return {
      send: function (headers, complete) {
        var name = decodeURIComponent(options.url.split("?")[0]);
        var found = name in window.publishedFiles;
        setTimeout(function () {
          complete(found ? 200 : 404, found ? "OK" : "not published", {text: window.publishedFiles[name]});
        }, 0);
      },
      abort: function () {}
    };
  });
}
"""


def setup() -> None:
    """Called by asv: every page that it publishes from now on is made self-contained."""
    from asv.commands.publish import Publish

    publish = Publish.run.__func__

    def run(cls: Any, conf: Any, *arguments: Any, **options: Any) -> Any:
        result = publish(cls, conf, *arguments, **options)
        _report(Path(conf.html_dir))
        return result

    Publish.run = classmethod(run)


def _report(folder: Path) -> None:
    """Do it, and say what came of it in asv's words; without a network the page stays as asv made it."""
    from asv.console import log

    from problems.names import UsageError

    log.info("Bringing the page's scripts along")
    try:
        left = bring_along(folder)
    except UsageError as error:
        log.warning(f"{folder}/index.html needs a network to be read: {error}")
        return
    for url in left:
        log.warning(f"{folder}/index.html still reads {url}, which suite/dashboard.py does not know")


def bring_along(folder: Path) -> list[str]:
    """Make a published page self-contained; the addresses that it still refers to.

    Args:
        folder: that ``asv publish`` wrote.

    Raises:
        FetchFailed: a package is neither remembered nor to be had.
    """
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    known = {name: (package, path) for package in PACKAGES for name, path in package.files.items()}
    left: list[str] = []

    def local(tag: re.Match[str]) -> str:
        kind, url = tag.groups()
        found = known.get(urlsplit(url).path.rpartition("/")[2])
        if found is None:
            left.append(url)
            return tag.group()
        package, path = found
        own = html.escape(_extract(package, path, folder / "vendor").relative_to(folder).as_posix())
        return f'<script src="{own}">' if kind == "script" else f'<link rel="stylesheet" href="{own}">'

    text = _REMOTE.sub(local, text)
    (folder / "files.js").write_text(f"window.publishedFiles = {json.dumps(dict(_numbers(folder)))};\n", "utf-8")
    (folder / "offline.js").write_text(_FROM_DISK, "utf-8")
    # after jQuery, which it needs, and before the scripts of asv that make requests
    head = '<script language="javascript" type="text/javascript" src="jquery.flot.axislabels.js">'
    page.write_text(text.replace(head, f'<script src="offline.js"></script>\n    {head}', 1), encoding="utf-8")
    return left


def _numbers(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file that the page asks for while it is looked at, by its name in the page."""
    for path in sorted(folder.rglob("*.json")):
        yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")
    yield "swallow.ico", ""  # by which the page sees whether its server is alive


def _extract(package: Package, path: str, vendor: Path) -> Path:
    """A file of a package, and what lies beside it, below ``vendor``."""
    target = vendor / package.name
    with tarfile.open(_archive(package)) as archive:
        also = tuple(f"package/{folder}/" for folder in package.beside)
        wanted = [m for m in archive.getmembers() if m.name == f"package/{path}" or m.name.startswith(also)]
        for member in wanted:
            member.name = member.name.removeprefix("package/")
        archive.extractall(target, wanted, filter="data")
    return target / path


def _archive(package: Package) -> Path:
    """The package's archive, from the cache or from npm.

    Raises:
        FetchFailed: it cannot be had, or is not what it should be.
    """
    from analysis.replay.folders import cache_folder
    from problems.data.download import FetchFailed, Remote, fetch

    folder = cache_folder() / "npm"
    fetch([Remote(package.archive, (package.url,), None)], folder)
    archive = folder / package.archive
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.integrity:
        archive.unlink()
        raise FetchFailed(f"{package.url}: SHA-512 is {digest} instead of {package.integrity}")
    return archive
