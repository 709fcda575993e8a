"""What the documentation site takes from outside of docs/: the README, the changelog and the measured JSON files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
FOLDERS = ("benchmarks/results",)


def on_files(files: Files, config: Any) -> Files:
    """Add pages and files that lie beside docs/."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.json")):
            files.append(File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path)))
        listed = "\n".join(f"- [{path.name}]({path.name})" for path in sorted((ROOT / folder).glob("*.json")))
        files.append(File.generated(config, f"{folder}/index.md", content=f"# {folder}\n\n{listed}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository: into the site where it has them, else just their names."""
    up = "../" * page.file.src_uri.count("/")
    for folder in FOLDERS:
        markdown = markdown.replace(f"](../{up}{folder})", f"]({up}{folder}/index.md)")
        markdown = markdown.replace(f"](../{up}{folder}/", f"]({up}{folder}/")
    markdown = re.sub(rf"\[([^\]]+)\]\(\.\./{re.escape(up)}[^)]+\)", r"\1", markdown)
    return re.sub(r"\[([^\]]+)\]\((?:CONTRIBUTING\.md|CITATION\.cff|LICENSE|adr)\)", r"\1", markdown)
