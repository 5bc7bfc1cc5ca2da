"""Searching in a real browser, sentence by sentence."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.api.conftest import eventually
from tests.page.pictures import DIM, HOSTILE, Shown, drawing
from tests.page.stand import Stand
from tests.page.waiting import until

Visit = Callable[..., Page]
RED = drawing("red", "bar", 320, 240)
OFFER = """([kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""

NO_OBSERVER = "IntersectionObserver.prototype.observe = () => {}"

COUNTING = """
  window.nWritten = 0;
  const write = History.prototype.replaceState;
  History.prototype.replaceState = function (...args) { window.nWritten++; return write.apply(this, args); };
"""

SWIPE = """(x) => {
  const stage = document.querySelector(".stage");
  const touch = (clientX) => new Touch({ identifier: 1, target: stage, clientX, clientY: 300 });
  const from = touch(300), to = touch(300 + x);
  stage.dispatchEvent(new TouchEvent("touchstart", { touches: [from], changedTouches: [from], bubbles: true }));
  stage.dispatchEvent(new TouchEvent("touchend", { touches: [], changedTouches: [to], bubbles: true }));
}"""

SHIFTS = """
  window.shifted = 0;
  const note = (list) => { for (const each of list.getEntries()) window.shifted += each.value; };
  new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
"""


def box(page: Page) -> Locator:
    return page.get_by_label("Describe a picture")


def tiles(page: Page) -> Locator:
    return page.locator(".tile .open")


def first(page: Page) -> Locator:
    return tiles(page).first.locator("img")


def offer(page: Page, kind: str, data: bytes = RED) -> None:
    page.evaluate(OFFER, [kind, base64.b64encode(data).decode()])


def ids(page: Page) -> list[str]:
    return [str(each.get_attribute("data-id")) for each in tiles(page).all()]


def status(page: Page) -> Locator:
    return page.locator(".toolbar > [role=status]")


def last_search(stand: Stand) -> dict[str, Any]:
    found: dict[str, Any] = stand.asked_for("/api/search")[-1]
    return found


def wait_for_search(page: Page, act: Callable[[], object]) -> None:
    with page.expect_response("**/api/search"):
        act()


# ---------------------------------------------------------------- the box


def test_typing_searches_and_the_address_carries_it(page: Page, stand: Stand) -> None:
    box(page).press_sequentially("green ring")
    expect(first(page)).to_have_attribute("alt", "025.jpg")
    expect(status(page)).to_contain_text("60+ of 120 pictures")
    expect(page).to_have_url(re.compile(r"/\?q=green\+ring$"))
    assert len(stand.asked_for("/api/search")) < len("green ring")  # not one for every letter


def test_an_answer_that_comes_late_is_dropped(page: Page, stand: Stand) -> None:
    stand.held["red"] = threading.Event()
    with page.expect_request("**/api/search"):
        box(page).fill("red")
    with page.expect_event("requestfailed", lambda request: "red" in request.post_data):
        box(page).fill("blue")
    expect(first(page)).to_have_attribute("alt", "002.jpg")
    stand.held["red"].set()
    expect(status(page)).to_contain_text("of 120")


def test_a_dropped_picture_is_a_chip_and_finds_its_like(page: Page) -> None:
    offer(page, "dragenter")
    expect(page.get_by_text("Drop a picture to find its like")).to_be_visible()
    offer(page, "drop")
    expect(page.get_by_text("Drop a picture to find its like")).not_to_be_visible()
    expect(page.locator(".chip img")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(first(page)).to_have_attribute("alt", "000.jpg")


def test_a_pasted_picture_finds_its_like(page: Page) -> None:
    offer(page, "paste")
    expect(page.locator(".chip img")).to_be_visible()
    expect(first(page)).to_have_attribute("alt", "000.jpg")


def test_a_chosen_file_finds_its_like(page: Page) -> None:
    chosen = page.get_by_label("Search with a picture")
    assert chosen.get_attribute("accept") == "image/*"  # on a phone: camera roll and camera
    chosen.set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawing("blue", "bar", 99, 80)})
    expect(first(page)).to_have_attribute("alt", "002.jpg")


def test_what_is_no_picture_is_said_to_be_none(page: Page, stand: Stand) -> None:
    stand.refusals["/api/embed/image"] = (415, "image-refused", "unsupported: this is no picture")
    offer(page, "drop", b"not at all")
    expect(page.get_by_text("this is no picture")).to_be_visible()


def test_a_dropped_picture_survives_reload_and_can_be_shared(page: Page, visit: Visit, stand: Stand) -> None:
    offer(page, "drop")
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    before = ids(page)
    page.reload()
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    expect(page.locator(".chip img")).to_have_attribute("src", re.compile("^data:"))
    other = visit(page.url.removeprefix(stand.url))
    expect(first(other)).to_have_attribute("alt", "000.jpg")
    assert ids(page) == ids(other) == before
    assert len(last_search(stand)["vector"]) == DIM


def test_chips_combine_with_weights(page: Page, stand: Stand) -> None:
    offer(page, "drop")
    expect(page.locator(".chip")).to_have_count(1)
    box(page).fill("circle")
    page.get_by_role("button", name="Keep these words and add more").click()
    box(page).fill("-hill")
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    page.get_by_role("button", name="circle, weight 1").click()
    slider = page.get_by_role("slider", name=re.compile("Weight"))
    with page.expect_response(lambda response: '"weight":-0.5' in (response.request.post_data or "")):
        slider.fill("-0.5")
    terms = {each.get("text", "picture"): each["weight"] for each in last_search(stand)["query"]}
    assert terms == {"hill": -1, "picture": 1, "circle": -0.5}
    page.keyboard.press("Escape")
    expect(slider).to_have_count(0)
    page.get_by_role("button", name="Remove circle").click()
    expect(page.locator(".chip")).to_have_count(1)


def test_plus_and_minus_between_words_make_terms_of_them(page: Page, stand: Stand) -> None:
    wait_for_search(page, lambda: box(page).fill("red hill + ring \u2212 black-white"))
    query = [(each["text"], each["weight"]) for each in last_search(stand)["query"]]
    assert query == [("red hill", 1), ("ring", 1), ("black-white", -1)]


def test_recent_searches_are_offered_and_can_be_forgotten(page: Page) -> None:
    box(page).fill("yellow")
    box(page).press("Enter")
    expect(tiles(page).first).to_be_focused()
    page.get_by_role("button", name="Clear the search").click()
    page.get_by_role("link", name="yellow", exact=True).click()
    expect(first(page)).to_have_attribute("alt", "003.jpg")
    page.goto(page.url.split("?")[0])
    page.get_by_role("button", name="Forget these").click()
    expect(page.get_by_role("link", name="a dog on a beach")).to_be_visible()


def test_recent_searches_with_pictures_are_not_offered_as_words(visit: Visit) -> None:
    kept = [{"label": "this picture", "search": "with=1:id:0"}, {"label": "yellow", "search": "q=yellow"}]
    page = visit(init=f"localStorage.setItem('recent', JSON.stringify({json.dumps(kept)}))")
    expect(page.locator("#recent option")).to_have_count(1)
    expect(page.locator("#recent option")).to_have_attribute("value", "yellow")


def test_examples_suit_the_model_and_are_asked_in_its_language(visit: Visit, stand: Stand) -> None:
    link = visit(locale="zh-CN").get_by_role("link", name="沙滩上的狗")
    expect(link).to_have_attribute("href", "/?q=a%20dog%20on%20a%20beach")
    stand.stats["model"] = "lookalike-demo"
    page = visit()
    page.get_by_role("link", name="blue circles").click()
    expect(first(page)).to_have_attribute("alt", "002.jpg")


def test_more_pictures_than_a_question_holds_are_refused_not_lost(page: Page) -> None:
    many = [{"name": f"{i}.jpg", "mimeType": "image/jpeg", "buffer": RED} for i in range(5)]
    page.get_by_label("Search with a picture").set_input_files(many)  # type: ignore[arg-type]  # as its stub has it
    expect(page.get_by_text("At most 4 pictures at once.")).to_be_visible()
    expect(page.locator(".chip")).to_have_count(0)


# ---------------------------------------------------------------- results


def test_pictures_stand_in_rows_of_one_height_as_wide_as_the_page(visit: Visit) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    boxes = page.evaluate("""() => [...document.querySelectorAll(".tile .open")].map((each) => {
      const { left, right, top, height } = each.getBoundingClientRect();
      return { left, right, top, height, shape: each.firstChild.naturalWidth / each.firstChild.naturalHeight };
    })""")
    width = page.locator(".grid").bounding_box()["width"]  # type: ignore[index]  # it is shown
    rows = [list(row) for _, row in itertools.groupby(boxes, key=lambda box: round(box["top"]))]
    assert len(rows) > 5
    for row in rows:
        assert len({round(box["height"]) for box in row}) == 1
        assert all(before["right"] < after["left"] for before, after in itertools.pairwise(row))
    for row in rows[:-1]:
        assert row[-1]["right"] - row[0]["left"] == pytest.approx(width, abs=1)
    for box in rows[0]:  # the others are not there yet
        assert (box["right"] - box["left"]) / box["height"] == pytest.approx(box["shape"], rel=0.02)


def test_a_picture_that_does_not_come_is_asked_for_again(visit: Visit, stand: Stand) -> None:
    thumbnail = f"/api/images/{stand.pictures[0].id}/thumbnail"
    stand.refusals[thumbnail] = (503, "overloaded", "Too much is being asked at once; try again shortly.")
    page = visit("/?q=red+circle")
    expect(tiles(page)).to_have_count(60)
    assert eventually(lambda: any(path == thumbnail for _, path, _ in stand.asked))
    stand.refusals.clear()
    until(page, "document.querySelector('.tile img').naturalWidth > 0")


def test_a_new_question_begins_at_its_top(visit: Visit) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    page.mouse.wheel(0, 2000)
    until(page, "scrollY > 1000")
    box(page).fill("blue")
    until(page, "scrollY === 0")
    expect(first(page)).to_have_attribute("alt", "002.jpg")


def test_a_page_that_does_not_come_is_told_and_can_be_asked_for_again(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red", init=NO_OBSERVER)
    expect(tiles(page)).to_have_count(60)
    stand.refusals["/api/search"] = (503, "overloaded", "Too much is being asked at once; try again shortly.")
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_text("Too much is being asked at once")).to_be_visible()
    stand.refusals.clear()
    page.get_by_role("button", name="Show more").click()
    expect(tiles(page)).to_have_count(120)
    expect(page.get_by_text("Too much is being asked at once")).to_have_count(0)


def test_more_like_this_asks_by_id(page: Page, stand: Stand) -> None:
    tiles(page).first.hover()
    wait_for_search(page, lambda: page.get_by_role("button", name="More like 119.jpg").click())
    assert last_search(stand)["id"] == stand.pictures[119].id
    expect(first(page)).to_have_attribute("alt", "089.jpg")  # grey, a ring, and nearest in number


def test_likes_and_dislikes_refine(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=circle")
    tiles(page).first.hover()
    like, dislike = (page.get_by_role("button", name=f"{verb} 000.jpg", exact=True) for verb in ("Like", "Dislike"))
    wait_for_search(page, like.click)
    assert last_search(stand)["liked"] == [stand.pictures[0].id]
    expect(like).to_have_attribute("aria-pressed", "true")
    wait_for_search(page, dislike.click)
    assert last_search(stand)["disliked"] == [stand.pictures[0].id]
    assert "liked" not in last_search(stand)
    page.get_by_role("button", name="No longer disliked").click()
    expect(page.locator(".chip")).to_have_count(0)


def test_near_duplicates_are_folded_with_a_count(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    assert last_search(stand)["collapse"] == "near"
    wait_for_search(page, page.get_by_role("button", name="2 near-duplicates folded; show them").first.click)
    assert "collapse" not in last_search(stand)
    assert last_search(stand)["id"] == stand.pictures[0].id
    expect(page).to_have_url(re.compile("cut=0.97"))  # those that were folded, and no others
    page.get_by_role("button", name="Clear the search").click()
    wait_for_search(page, lambda: box(page).fill("blue"))
    assert last_search(stand)["collapse"] == "near"


def test_score_and_relevance_stand_on_each(visit: Visit) -> None:
    page = visit("/?q=red+circle")
    expect(page.locator(".caption").first).to_contain_text(re.compile(r"000\.jpg.*[01]\.\d{3}.*\d+%"))


def test_what_is_no_better_than_chance_is_marked(visit: Visit, stand: Stand) -> None:
    stand.line = 0.5
    page = visit("/?q=red")
    expect(page.locator(".relevance")).to_have_count(60)
    expect(page.locator(".relevance:not(.weak)")).to_have_count(20)
    expect(page.locator(".relevance").nth(19)).to_have_attribute("title", re.compile("random matches"))
    expect(page.locator(".relevance").nth(20)).to_have_attribute("title", re.compile("below what Auto"))


def test_the_cut_moves_at_once_and_asks_nobody(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red")
    expect(status(page)).to_contain_text("60+ of 120")
    n_before = len(stand.asked_for("/api/search"))
    page.get_by_role("slider", name="Minimum score").fill("0.5")
    expect(status(page)).to_contain_text("20 of 120")
    assert len(stand.asked_for("/api/search")) == n_before
    page.reload()
    expect(status(page)).to_contain_text("20 of 120")
    wait_for_search(page, page.get_by_role("button", name="Auto").click)
    assert last_search(stand)["cut"] == "auto"
    expect(page).to_have_url(re.compile("cut=auto$"))


def test_a_cut_by_hand_is_of_one_question(visit: Visit) -> None:
    page = visit("/?q=red&cut=1")
    expect(page.locator(".notice")).to_contain_text("below the minimum score")
    box(page).fill("blue")
    expect(tiles(page)).to_have_count(60)
    expect(page).to_have_url(re.compile(r"\?q=blue$"))


def test_a_slider_changes_the_address_no_oftener_than_browsers_allow(visit: Visit) -> None:
    page = visit("/?q=red", init=COUNTING)
    expect(tiles(page)).to_have_count(60)
    page.evaluate("""() => {
      const slider = document.querySelector(".cut input");
      for (let i = 1; i <= 300; i++) {
        slider.value = slider.min + (slider.max - slider.min) * i / 400;
        slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
      }
      slider.value = "0.5";
      slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
    }""")
    expect(page).to_have_url(re.compile("cut=0.5$"))
    expect(status(page)).to_contain_text("20 of 120")
    assert page.evaluate("nWritten") < 10


def test_scrolling_shows_more_until_the_end(visit: Visit) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    page.mouse.wheel(0, 50_000)
    expect(tiles(page)).to_have_count(120)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    assert len(set(ids(page))) == 120


def test_who_cannot_scroll_has_a_button(visit: Visit) -> None:
    page = visit("/?q=red", init=NO_OBSERVER)
    expect(tiles(page)).to_have_count(60)
    page.get_by_role("button", name="Show more").click()
    expect(tiles(page)).to_have_count(120)


def test_nothing_moves_when_pictures_come(visit: Visit) -> None:
    page = visit("/?q=red", init=SHIFTS)
    expect(status(page)).to_contain_text("60+")
    until(page, "[...document.images].slice(0, 8).every((each) => each.complete && each.naturalWidth)")
    assert page.evaluate("shifted") < 0.02
    assert page.locator(".tile img[loading=lazy]").count() > 40
    widths = page.evaluate("[...document.images].map((each) => each.naturalWidth)")
    assert max(widths) <= 512


def test_filters_are_asked_for_and_stand_in_the_address(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=circle")
    page.get_by_role("button", name="Filters").click()
    dates = (("Changed from", "2012-01-01"), ("Changed until", "2020-12-31"))
    for label, value in (("Folder", "/pictures/red"), *dates):
        page.get_by_label(label, exact=True).fill(value)
        wait_for_search(page, page.get_by_label(label, exact=True).blur)
    wait_for_search(page, lambda: page.get_by_label("Size").select_option("480"))
    wait_for_search(page, page.get_by_label("JPEG").check)
    where = last_search(stand)["where"]
    assert (where["path"], where["format"]) == ("/pictures/red", ["JPEG"])
    assert (where["width_min"], where["height_min"]) == (480, 480)
    assert where["modified_from"].startswith("201") and where["modified_to"].startswith("2020-12-31")
    found = ids(page)
    assert 0 < len(found) < 20
    page.reload()
    expect(tiles(page)).to_have_count(len(found))
    assert ids(page) == found
    page.get_by_role("button", name="Reset the filters").click()
    expect(tiles(page)).to_have_count(60)


def test_the_path_can_be_copied(visit: Visit) -> None:
    page = visit("/?q=red+circle", permissions=["clipboard-read", "clipboard-write"])
    tiles(page).first.hover()
    page.get_by_role("button", name="Copy the path of 000.jpg").click()
    expect(page.get_by_text("Path copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "/pictures/red/000.jpg"


def test_copying_works_over_plain_http_too(visit: Visit) -> None:
    hidden = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })"
    page = visit("/?q=red+circle", init=hidden, permissions=["clipboard-read", "clipboard-write"])
    tiles(page).first.hover()
    page.get_by_role("button", name="Copy the path of 000.jpg").click()
    expect(page.get_by_text("Path copied")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    assert other.evaluate("navigator.clipboard.readText()") == "/pictures/red/000.jpg"


def test_that_it_was_copied_is_seen_over_the_large_picture(visit: Visit, stand: Stand) -> None:
    page = visit(f"/?q=red&view={stand.pictures[0].id}", permissions=["clipboard-read", "clipboard-write"])
    expect(page.get_by_role("dialog")).to_contain_text("/pictures/red/000.jpg")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog").get_by_text("Path copied")).to_be_visible()


def test_results_download_as_json_and_csv(visit: Visit, stand: Stand) -> None:
    stand.pictures[0].name = '=1+1 "quoted", and more.jpg'
    page = visit("/?q=red+circle")
    files = {}
    for kind in ("JSON", "CSV"):
        page.get_by_label("Download the results").click()
        with page.expect_download() as waiting:
            page.get_by_role("button", name=kind).click()
        files[kind] = waiting.value.path().read_text()
    hits = json.loads(files["JSON"])
    rows = list(csv.DictReader(io.StringIO(files["CSV"])))
    assert [hit["id"] for hit in hits] == [row["id"] for row in rows] == ids(page)
    assert rows[0]["path"] == hits[0]["path"] == stand.pictures[0].answer()["path"]
    assert float(rows[0]["score"]) == hits[0]["score"]


# ---------------------------------------------------------------- the large picture, and keys


def test_the_large_picture_is_worked_by_keys_alone(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red+circle")
    expect(tiles(page)).to_have_count(60)
    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(tiles(page).first).to_be_focused()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    expect(large).to_contain_text("/pictures/red/000.jpg")
    assert f"view={stand.pictures[0].id}" in page.url
    page.keyboard.press("ArrowRight")
    expect(large).not_to_contain_text("/pictures/red/000.jpg")
    seen = ids(page)[1]
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    expect(page.locator(f'.open[data-id="{seen}"]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(large).to_be_visible()
    wait_for_search(page, lambda: page.keyboard.press("Enter"))
    assert last_search(stand)["id"] == seen
    expect(large).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_contain_text("from picture to picture")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_large_picture_leads_beyond_what_is_loaded(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red", init=NO_OBSERVER)
    expect(tiles(page)).to_have_count(60)
    tiles(page).nth(58).click()
    expect(tiles(page)).to_have_count(120)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    beyond = str(tiles(page).nth(61).locator("img").get_attribute("alt"))
    expect(page.get_by_role("dialog")).to_have_attribute("aria-label", beyond)


def test_back_leaves_the_search_once_the_large_picture_is_closed(page: Page) -> None:
    box(page).fill("red")
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    tiles(page).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.go_back()
    expect(box(page)).to_have_value("")


def test_a_finger_swipes_through_the_large_pictures(visit: Visit, stand: Stand) -> None:
    page = visit(f"/?q=red&view={stand.pictures[0].id}", has_touch=True, is_mobile=True)
    large = page.get_by_role("dialog")
    expect(large).to_have_attribute("aria-label", "000.jpg")
    expect(tiles(page)).to_have_count(60)
    second = tiles(page).nth(1).locator("img").get_attribute("alt")
    for x, shown in ((-200, second), (200, "000.jpg")):
        page.evaluate(SWIPE, x)
        expect(large).to_have_attribute("aria-label", str(shown))


def test_a_shared_picture_opens_by_itself_and_one_that_is_gone_says_so(visit: Visit, stand: Stand) -> None:
    page = visit(f"/?q=red&view={stand.pictures[110].id}")
    expect(page.get_by_role("dialog")).to_contain_text("110.jpg")
    stand.refusals[f"/api/images/{'0' * 64}"] = (404, "not-found", "No live image has this id.")
    gone = visit(f"/?q=red&view={'0' * 64}")
    expect(gone.get_by_role("dialog")).to_contain_text("not in the collection any more")


def test_back_and_forward_go_through_searches(page: Page) -> None:
    box(page).fill("red")
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    box(page).blur()
    box(page).fill("blue")
    expect(first(page)).to_have_attribute("alt", "002.jpg")
    page.go_back()
    expect(box(page)).to_have_value("red")
    expect(first(page)).to_have_attribute("alt", "000.jpg")
    page.go_back()
    expect(box(page)).to_have_value("")
    page.go_forward()
    expect(first(page)).to_have_attribute("alt", "000.jpg")


def test_back_returns_to_where_one_was(visit: Visit) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    page.mouse.wheel(0, 50_000)
    expect(tiles(page)).to_have_count(120)
    page.mouse.wheel(0, 50_000)
    until(page, "scrollY > 5000")
    before = page.evaluate("scrollY")
    page.get_by_role("link", name="Duplicates").dispatch_event("click")
    expect(page.locator(".group")).to_have_count(1)
    assert page.evaluate("scrollY") == 0
    page.go_back()
    until(page, f"Math.abs(scrollY - {before}) < 2")
    expect(tiles(page)).to_have_count(120)


def test_a_mangled_address_is_read_as_far_as_it_makes_sense(visit: Visit, stand: Stand) -> None:
    page = visit(f"/?q=red&with=1:id:xyz&with=x&with=1:picture:{'0' * 64}.%25&like=1&cut=much&with=2:text:a")
    expect(tiles(page)).to_have_count(60)
    assert [(each["text"], each["weight"]) for each in last_search(stand)["query"]] == [("red", 1), ("a", 2)]


def test_dates_and_sizes_that_are_none_are_left_out(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red&from=yesterday&to=2020-13-45&min=big&with=1.2.3:text:a")
    expect(tiles(page)).to_have_count(60)
    assert last_search(stand) == {"limit": 60, "text": "red", "collapse": "near"}


# ---------------------------------------------------------------- states


def test_without_pictures_it_says_where_to_put_them(visit: Visit, stand: Stand) -> None:
    stand.reset(0)
    page = visit()
    expect(page.locator(".notice")).to_contain_text("Nothing is indexed yet")
    expect(page.locator(".notice")).to_contain_text("/pictures")
    expect(page.get_by_role("button", name="Copy /pictures")).to_be_visible()
    expect(page.locator(".suggestion")).to_have_count(0)


def test_a_new_picture_appears_without_reload(visit: Visit, stand: Stand) -> None:
    stand.reset(0)
    page = visit("/?q=violet+bar")
    expect(page.locator(".notice")).to_contain_text("Nothing is indexed yet")
    with page.expect_response("**/api/search"):
        stand.add(Shown(22, "new.jpg"))
    expect(first(page)).to_have_attribute("alt", "new.jpg")
    expect(page.locator(".tile.fresh")).to_have_count(1)


def test_news_that_come_while_a_page_is_asked_for_are_not_missed(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red", init=NO_OBSERVER)
    expect(tiles(page)).to_have_count(60)
    assert eventually(lambda: bool(stand.listeners))
    stand.held["red"] = threading.Event()
    with page.expect_request("**/api/search"):
        page.get_by_role("button", name="Show more").dispatch_event("click")  # without scrolling to it
    with page.expect_response("**/api/stats"):
        stand.add(Shown(-6, "new.jpg"))
    stand.held["red"].set()
    expect(page.locator(".tile.fresh")).to_have_count(1)


def test_news_move_nothing_under_the_eyes_of_who_has_scrolled_down(visit: Visit, stand: Stand) -> None:
    page = visit("/?q=red")
    expect(tiles(page)).to_have_count(60)
    assert eventually(lambda: bool(stand.listeners))
    page.mouse.wheel(0, 2000)
    until(page, "scrollY > 1000")
    stand.add(Shown(-6, "new.jpg"))
    news = page.get_by_role("button", name="1 new picture")
    expect(news).to_be_visible()
    expect(page.locator(".tile.fresh")).to_have_count(0)
    news.click()
    expect(page.locator(".tile.fresh")).to_have_count(1)
    expect(news).to_have_count(0)


def test_a_service_too_busy_for_listeners_is_not_called_lost_and_is_asked_again(visit: Visit, stand: Stand) -> None:
    stand.refusals["/api/events"] = (503, "overloaded", "Too many listen to events already; try again later.")
    page = visit("/?q=red")
    assert eventually(lambda: len(stand.asked_for("/api/events")) > 1)
    expect(page.locator(".offline")).to_be_empty()
    stand.refusals["/api/events"] = (429, "too-many-requests", "Too many requests from this address.")
    n_before = len(stand.asked_for("/api/events"))
    assert eventually(lambda: len(stand.asked_for("/api/events")) > n_before)
    stand.refusals.clear()
    assert eventually(lambda: bool(stand.listeners))


def test_what_came_while_the_stream_was_broken_is_not_missed(visit: Visit, stand: Stand) -> None:
    stand.reset(1)
    page = visit("/?q=violet+bar")
    expect(tiles(page)).to_have_count(1)
    with page.expect_response("**/api/events?*"):
        page.reload()
    stand.pictures.append(Shown(22, "new.jpg"))
    stand.hang_up()
    expect(first(page)).to_have_attribute("alt", "new.jpg")


def test_a_question_that_fails_says_why_and_can_be_put_again(visit: Visit, stand: Stand) -> None:
    stand.refusals["/api/search"] = (503, "overloaded", "Too much is being asked at once; try again shortly.")
    page = visit("/?q=red")
    expect(page.locator(".notice")).to_contain_text("Too much is being asked at once")
    stand.refusals.clear()
    page.get_by_role("button", name="Try again").click()
    expect(tiles(page)).to_have_count(60)


def test_a_model_without_words_says_to_use_a_picture(visit: Visit, stand: Stand) -> None:
    stand.refusals["/api/search"] = (422, "no-text-tower", "The model in use has no text tower.")
    page = visit("/?q=red")
    expect(page.locator(".notice")).to_contain_text("Drop, paste or choose a picture")


def test_nothing_found_says_what_to_try(visit: Visit) -> None:
    page = visit("/?q=red&in=/elsewhere")
    expect(page.locator(".notice")).to_contain_text("No picture passes the filters")
    page.locator(".notice").get_by_role("button", name="Reset the filters").click()
    expect(tiles(page)).to_have_count(60)
    page.goto(page.url + "&cut=3")
    expect(page.locator(".notice")).to_contain_text("below the minimum score")


def test_while_it_searches_it_says_so(visit: Visit, stand: Stand) -> None:
    stand.held["red"] = threading.Event()
    page = visit("/?q=red")
    expect(status(page)).to_have_text("Searching …")
    expect(page.locator(".loading")).to_be_visible()
    stand.held["red"].set()
    expect(tiles(page)).to_have_count(60)


def test_a_lost_service_is_told_and_found_again(page: Page, stand: Stand) -> None:
    expect(tiles(page)).to_have_count(60)
    page.context.set_offline(True)
    box(page).fill("red")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_be_empty()
    expect(first(page)).to_have_attribute("alt", "000.jpg")


def test_hostile_names_are_text(visit: Visit, stand: Stand) -> None:
    stand.pictures[0].name = HOSTILE
    page = visit("/?q=red+circle")
    expect(first(page)).to_have_attribute("alt", HOSTILE.split("/")[-1])
    tiles(page).first.click()
    expect(page.get_by_role("dialog").locator("code").first).to_have_text(f"/pictures/red/{HOSTILE}")
    assert page.title() == "red circle · lookalike"
    assert page.locator("img[onerror]").count() == 0
