"""The site as `make course` builds it, once for all tests here that need it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

import build

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [
    *LESSONS,
    *sorted((ROOT / "notebooks").glob("*.md")),
    *sorted((ROOT / "notebooks/labs/source").glob("*/*.ipynb")),
    *sorted((ROOT / "notebooks/site").glob("*.md")),
    ROOT / "notebooks/labs/README.md",
    ROOT / "data/README.md",
    ROOT / "tools/benchmarks/RESULTS.md",
    ROOT / "README.md",
]
# Takes fifteen seconds.
whole_site = pytest.mark.slow
LINKS = (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "site"
    (course,) = re.findall(
        r"^\t\$\(BIN\)/sphinx-build (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    options = course.replace("build/site", str(folder)).split()
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    return {
        path.relative_to(site): BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
    }


def page_of(source: Path) -> Path:
    return source.relative_to(ROOT).with_suffix(".html")


@whole_site
def test_every_source_is_a_page_and_every_page_leads_to_all(
    site: Path, pages: dict[Path, BeautifulSoup]
) -> None:
    wanted = {page_of(source) for source in SOURCES}
    assert wanted <= set(pages)
    for path, page in pages.items():
        links = page.select(".sidebar-tree a[href]")
        targets = {(site / path).parent / str(a["href"]).removesuffix("#") for a in links}
        led_to = {target.resolve().relative_to(site) for target in targets if target != site}
        here = {path} | ({Path("README.html")} if path.name == "index.html" else set())
        assert wanted - led_to - here <= {Path("README.html")}, path
        assert page.select_one(".sidebar-brand[href]"), "leads to README"
        assert page.select_one("form[role=search] input[name=q]")


@whole_site
def test_a_folders_address_opens_readme(site: Path) -> None:
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()


@whole_site
def test_every_image_says_what_is_to_be_seen(pages: dict[Path, BeautifulSoup]) -> None:
    for path, page in pages.items():
        for image in page("img"):
            text = str(image.get("alt", "")).strip()
            # Where there is none, Sphinx takes the file's name, which has no space.
            assert " " in text, (path, text)


@whole_site
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_picture_has_the_alt_text_that_is_stored(
    lesson: Path, pages: dict[Path, BeautifulSoup]
) -> None:
    stored = [
        output.metadata.get(kind, {}).get("alt")
        for cell in nbformat.read(lesson, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    images = pages[page_of(lesson)].select(".cell_output img")
    assert len(images) == len(stored)
    for image, text in zip(images, stored, strict=True):
        assert image["alt"] == text if text else re.match(r"Figures? \d+[. ]", str(image["alt"]))


PIXEL = "R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="  # a GIF


def test_pictures_get_their_alt_texts_and_check_cells_are_gone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A course\n", "utf-8")
    pictures = [nbformat.v4.new_output("display_data", {"image/gif": PIXEL}) for _ in range(2)]
    cell = nbformat.v4.new_code_cell("show()", outputs=pictures, execution_count=1)
    cell.metadata = nbformat.from_dict({"mystnb": {"image": {"alt": ["A cat sits.", "It runs."]}}})
    build.describe(cell)
    check = nbformat.v4.new_code_cell("assert hidden", metadata={"tags": ["check", "remove-cell"]})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1"), cell, check])
    book.metadata = nbformat.from_dict({"language_info": {"name": "python"}})
    nbformat.write(book, tmp_path / "lesson.ipynb")
    options = ["-q", "-c", str(ROOT / "notebooks/site"), "-D", "include_patterns=*.md,*.ipynb"]
    command = [sys.executable, "-m", "sphinx", *options, str(tmp_path), str(tmp_path / "site")]
    subprocess.run(command, check=True, capture_output=True)
    page = BeautifulSoup((tmp_path / "site" / "lesson.html").read_text("utf-8"), "html.parser")
    images = page.select(".cell_output img")
    assert [image["alt"] for image in images] == ["A cat sits.", "It runs."]
    assert "show()" in page.get_text() and "assert hidden" not in page.get_text()


def test_alt_texts_must_be_as_many_as_pictures() -> None:
    cell = nbformat.v4.new_code_cell("show()", metadata={"mystnb": {"image": {"alt": "A cat."}}})
    with pytest.raises(ValueError, match="0 pictures and 1 alt text"):
        build.describe(cell)


@whole_site
def test_every_local_link_and_anchor_is_there(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    anchors = {path: {str(tag["id"]) for tag in page(id=True)} for path, page in pages.items()}
    broken, seen = [], 0
    for path, page in pages.items():
        for tag, attribute in LINKS:
            for found in page(tag, {attribute: True}):
                link = urlsplit(str(found[attribute]))
                if link.scheme or link.netloc:
                    continue
                seen += 1
                target = ((site / path).parent / unquote(link.path)).resolve()
                target = site / path if not link.path else target
                known = anchors.get(target.relative_to(site))
                lost = link.fragment and known is not None and link.fragment not in known
                if not target.is_file() or lost:
                    broken.append((str(path), found[attribute]))
    assert not broken
    assert seen > 1000


@whole_site
def test_links_to_elsewhere_are_well_formed(pages: dict[Path, BeautifulSoup]) -> None:
    for path, page in pages.items():
        for found in page("a", href=re.compile(r"^[a-z]+:|^//")):
            link = urlsplit(str(found["href"]))
            assert link.scheme == "https", (path, found["href"])
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", link.netloc), (path, found["href"])
    assert not [path for path, page in pages.items() if page("script", src=re.compile("^http"))]


@whole_site
def test_no_page_shows_a_path_of_the_machine(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    for path in pages:
        text = (site / path).read_text("utf-8")
        assert str(ROOT) not in text
        assert str(Path.home()) + "/" not in text
        assert str(site.parent) not in text


@whole_site
def test_the_search_knows_every_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text("utf-8")
    for source in SOURCES:
        assert f'"{page_of(source).with_suffix("").as_posix()}"' in index
    for word in ("bottleneck", "espresso", "准确率"):
        assert json.dumps(word)[1:-1] in index


@whole_site
def test_labs_are_shown_without_their_solutions(pages: dict[Path, BeautifulSoup]) -> None:
    labs = [path for path in pages if path.is_relative_to("notebooks/labs/source")]
    assert len(labs) == 6
    for path in labs:
        text = pages[path].get_text()
        assert 'NotImplementedError("Write your answer here instead.")' in text
        assert "SOLUTION" not in text
        assert not pages[path].select(".cell_output")


@whole_site
def test_the_glossary_has_each_term_twice_and_a_lesson(pages: dict[Path, BeautifulSoup]) -> None:
    glossary = pages[Path("notebooks/site/glossary.html")].select_one("dl.glossary")
    assert glossary
    terms = [term.get_text().rstrip("¶").strip() for term in glossary("dt")]
    english, chinese = terms[::2], terms[1::2]
    assert english == sorted(english, key=str.lower)
    assert not [term for term in chinese if not re.search(r"[一-鿿]", term)]
    assert len(english) == len(chinese) == len(glossary("dd")) >= 60
    for meaning in glossary("dd"):
        (lesson,) = meaning("a", href=re.compile(r"^\.\./\d\d_"))
        assert lesson.get_text() == lesson["href"][3:5]
        assert re.search(r"\. \d\d$", meaning.get_text().strip())
