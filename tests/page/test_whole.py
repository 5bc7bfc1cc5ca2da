"""The page over the real service: a store on a disk, the demo model, drawn scenes. Both speak the same language."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from indexer.config import load
from indexer.engine import open_engine
from indexer.scenes import write_scenes
from search_api.app import create_app
from search_api.server import Server, bind
from search_api.settings import ApiSettings
from tests.page.test_made_well import LOOKS, PHONE, assert_accessible
from tests.page.test_searching import box, offer, tiles

Visit = Callable[..., Page]
N = 24
SETTINGS = """
[watch]
folders = ["pictures"]
settle_s = 0.1
[model]
name = "demo"
[store]
dir = "data"
[decode]
workers = 1
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "pictures"
    for _ in write_scenes(folder, N, seed=7):
        pass
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return folder


@pytest.fixture(scope="module")
def url(pictures: Path) -> Iterator[str]:
    settings = pictures.parent / "config.toml"
    settings.write_text(SETTINGS)
    with open_engine(load(settings, {}).config) as engine:
        assert engine.wait_idle(60)
        server = Server(create_app(engine, ApiSettings()), bind("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, name="server")
        thread.start()
        assert server.wait_started(10)
        yield server.url
        server.stop()
        thread.join(20)


@pytest.fixture
def there(visit: Visit, url: str) -> Callable[..., Page]:
    return lambda path="/", **options: visit(path, url=url, **options)


def test_words_pictures_and_weights_find_scenes(there: Visit, pictures: Path) -> None:
    page = there()
    expect(tiles(page)).to_have_count(N)
    box(page).fill("a red circle")
    expect(page.locator(".caption").first).to_contain_text(re.compile(r"0\.\d{3}"))
    expect(page.locator(".toolbar > [role=status]")).to_contain_text(f"of {N} pictures")
    scene = next(path for path in sorted(pictures.rglob("*")) if path.is_file() and path.name != "broken.jpg")
    offer(page, "drop", scene.read_bytes())
    expect(page.locator(".chip img")).to_be_visible()
    page.get_by_role("button", name=re.compile("this picture, weight")).click()
    with page.expect_response("**/api/search") as answered:
        page.get_by_role("slider", name=re.compile("Weight")).fill("2")
    assert answered.value.ok
    box(page).fill("")
    expect(tiles(page).first.locator("img")).to_have_attribute("alt", scene.name)


def test_examples_filters_folds_and_cuts_are_understood(there: Visit) -> None:
    page = there(
        "/?q=circle&with=-1:text:red&format=PNG&format=JPEG&in=pictures&from=2020-01-01&to=2100-01-01&min=480&cut=auto"
    )
    page.wait_for_load_state()
    expect(page.locator(".notice, .tile").first).to_be_visible()
    expect(page.get_by_text("That did not work")).to_have_count(0)
    page.goto(page.url.split("?")[0] + "?q=circle")
    tiles(page).first.hover()
    for name in ("Like", "Dislike"):
        with page.expect_response("**/api/search") as answered:
            page.get_by_role("button", name=re.compile(f"^{name} ")).first.click()
        assert answered.value.ok
    tiles(page).first.click()
    with page.expect_response("**/api/search") as answered:
        page.keyboard.press("Enter")
    assert answered.value.ok
    expect(tiles(page).first).to_be_visible()


def test_a_file_that_is_put_into_the_folder_appears(there: Visit, pictures: Path) -> None:
    page = there()
    expect(tiles(page)).to_have_count(N)
    drawn = pictures.parent / "more"
    for _ in write_scenes(drawn, 1, seed=99):
        pass
    scene = next(path for path in drawn.rglob("*") if path.is_file())
    scene.rename(pictures / f"arrived{scene.suffix}")
    expect(tiles(page).first.locator("img")).to_have_attribute("alt", f"arrived{scene.suffix}", timeout=20_000)
    (pictures / f"arrived{scene.suffix}").unlink()
    expect(tiles(page)).to_have_count(N, timeout=20_000)


def test_the_dashboard_and_the_errors_are_fed(there: Visit, pictures: Path) -> None:
    page = there("/dashboard")
    expect(page.locator("[data-figure=indexed]")).to_contain_text(str(N))
    memory = page.get_by_role("region", name=re.compile("^(GPU memory|Memory of the process)$"))
    expect(memory.locator(".legend")).to_contain_text("weights")
    expect(memory.locator("[data-forecast]")).to_contain_text("Room for about")
    expect(page.get_by_role("region", name="Watched folders")).to_contain_text(re.compile(rf"{pictures}.*{N}"))
    page.get_by_role("link", name="Each file with its reason").click()
    expect(page.locator("tbody tr")).to_contain_text("broken.jpg")
    page.get_by_label("Path of a file").fill(str(pictures / "broken.jpg"))
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("It was refused")).to_be_visible()
    with page.expect_response("**/api/errors/retry") as answered:
        page.get_by_role("button", name="Retry all").click()
    assert answered.value.status == 202


def test_the_reference_is_drawn_from_here_alone_and_tries_what_it_describes(there: Visit) -> None:
    page = there("/api/docs#search")
    expect(page.locator("details#search")).to_have_attribute("open", "")
    assert page.locator("details").count() > 30
    search = page.locator("details#search")
    search.locator("textarea").fill('{"text": "a red circle", "limit": 1}')
    search.get_by_role("button", name="Send").click()
    expect(search.locator("[aria-live]")).to_contain_text('"score"')
    thumbnail = page.locator("details#thumbnail")
    thumbnail.locator("summary").click()
    id = re.search(r'"id": "([0-9a-f]{64})"', search.locator("[aria-live]").inner_text())
    assert id is not None
    thumbnail.get_by_label("id", exact=True).fill(id[1])
    thumbnail.get_by_role("button", name="Send").click()
    expect(thumbnail.get_by_alt_text("The answer")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_in_the_reference(there: Visit, axe: str, look: str) -> None:
    page = there("/api/docs", bypass_csp=True, **LOOKS[look])
    page.locator("#reference summary").first.click()
    page.locator("#reference textarea").first.wait_for()
    assert_accessible(page, axe)
    if look.startswith("phone"):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
