"""How the page is made: for everybody, in two languages, small, from here alone, and with the key where one is set."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.made_up import PARTS, gpu, history
from tests.page.stand import Stand, serving
from tests.page.waiting import until

Visit = Callable[..., Page]
STATIC = Path(__file__).parents[2] / "search_api" / "static"
CHINESE = "描述图片（英文最准），或拖放、粘贴图片"  # noqa: RUF001
KEY = "a-key-of-twenty-letters"
ADMIN_KEY = "another-key-of-letters"
PAGES = {
    "/": ".tile",
    "/?q=red&with=1:text:circle": ".tile .deeds",
    "/duplicates": ".group",
    "/errors": "tbody tr",
    "/dashboard": ".legend li",
}
PHONE = {"width": 390, "height": 844}
ON_A_PHONE = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": ON_A_PHONE,
    "phone, dark, Chinese": {**ON_A_PHONE, "color_scheme": "dark", "locale": "zh-CN"},
}
BUDGET_BYTES = 300_000
FEW = 12  # pictures: one is looked at as thoroughly as another


def assert_accessible(page: Page, axe: str) -> None:
    page.evaluate(axe)
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    found = [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in result["violations"]]
    assert not found


@pytest.fixture(scope="module")
def locked() -> Iterator[Stand]:
    guarded = Stand()
    guarded.reset()
    with serving(guarded, api_key=KEY):
        yield guarded


# ---------------------------------------------------------------- for everybody


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(visit: Visit, stand: Stand, axe: str, path: str, look: str) -> None:
    stand.reset(FEW)
    stand.memory, stand.history = gpu(), history("gpu0", tuple(PARTS))
    page = visit(path, bypass_csp=True, **LOOKS[look])
    page.locator(PAGES[path]).first.wait_for()
    assert_accessible(page, axe)
    if look.startswith("phone"):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_in_what_opens(visit: Visit, stand: Stand, axe: str, look: str) -> None:
    stand.reset(FEW)
    path = f"/?q=red&with=1:text:circle&in=/pictures&view={stand.pictures[0].id}"
    page = visit(path, bypass_csp=True, **LOOKS[look])
    page.get_by_role("dialog").locator("code").first.wait_for()
    assert_accessible(page, axe)
    page.keyboard.press("Escape")
    for opening in (".chip-name", ".menu button"):
        page.locator(opening).click()
        page.locator(".popover").wait_for()
        assert_accessible(page, axe)
        page.keyboard.press("Escape")
        expect(page.locator(".popover")).to_have_count(0)
    page.locator("body").press("?")
    page.get_by_role("dialog").wait_for()
    assert_accessible(page, axe)
    if look.startswith("phone"):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_where_the_key_is_asked_for(visit: Visit, locked: Stand, axe: str, look: str) -> None:
    page = visit("/", url=locked.url, bypass_csp=True, **LOOKS[look])
    page.get_by_role("dialog").wait_for()
    assert_accessible(page, axe)


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_where_something_is_wrong(visit: Visit, stand: Stand, axe: str, look: str) -> None:
    stand.refusals["/api/search"] = (503, "overloaded", "Too much is being asked at once; try again shortly.")
    page = visit("/?q=red", bypass_csp=True, **LOOKS[look])
    page.locator(".notice button").wait_for()
    page.context.set_offline(True)
    page.locator(".notice button").click()
    page.locator(".offline:not(:empty)").wait_for()
    assert_accessible(page, axe)


def test_axe_finds_nothing_where_nothing_is(visit: Visit, stand: Stand, axe: str) -> None:
    stand.reset(0)
    stand.refused = []
    for path in ("/", "/errors", "/duplicates?tier=similar"):
        page = visit(path, bypass_csp=True)
        page.locator(".notice").wait_for()
        assert_accessible(page, axe)


@pytest.mark.parametrize("width", [761, 959, 960, 1280])
def test_the_head_is_one_line_on_tablets_and_wider(visit: Visit, stand: Stand, width: int) -> None:
    page = visit("/", viewport={"width": width, "height": 800})
    page.locator(".head .badge").wait_for()
    parts = [each.bounding_box() for each in page.locator(".head > :is(.brand, nav, .language, .icon-button)").all()]
    middles = [part["y"] + part["height"] / 2 for part in parts if part]
    assert len(middles) == 4
    assert max(middles) - min(middles) < 4


def test_everything_is_reached_by_the_tab_key(visit: Visit) -> None:
    page = visit("/?q=red")
    page.locator(".tile").first.wait_for()
    named = "(({ ariaLabel, innerText, id }) => ariaLabel || innerText || id)(document.activeElement)"
    reached = []
    for _ in range(22):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(named))
    wanted = "To the content|Search|Dashboard|Language|Help|Describe a picture|Search with a picture|Auto|Filters"
    wanted += "|Download the results|More like 000.jpg|Like 000.jpg"
    assert [each for each in reached if each.strip() in wanted.split("|")] == wanted.split("|")
    outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outlined == "solid"


def test_who_wants_no_motion_gets_none(visit: Visit, stand: Stand) -> None:
    for wish, expected in (("reduce", "none"), ("no-preference", "breathe")):
        page = visit("/", reduced_motion=wish)
        page.locator(".tile").first.wait_for()
        moving = """() => {
          const bar = Object.assign(document.createElement("div"), { className: "loading" });
          bar.append(document.createElement("i"));
          document.body.append(bar);
          return getComputedStyle(bar.firstChild).animationName;
        }"""
        assert page.evaluate(moving) == expected


# ---------------------------------------------------------------- languages


def words(code: str) -> dict[str, str | dict[str, str]]:
    found: dict[str, str | dict[str, str]] = json.loads((STATIC / "languages" / f"{code}.json").read_text())
    return found


def placeholders(entry: str | dict[str, str]) -> set[str]:
    return set(re.findall(r"{\w+}", " ".join(entry.values()) if isinstance(entry, dict) else entry))


def test_both_languages_say_the_same_things() -> None:
    english, chinese = words("en"), words("zh")
    assert english.keys() == chinese.keys()
    for key, entry in english.items():
        assert placeholders(entry) == placeholders(chinese[key]), key


def test_everything_that_is_said_is_in_the_files() -> None:
    code = "\n".join(path.read_text() for path in STATIC.glob("*.js"))
    for key in re.findall(r'\bt\("([^"$]+)"', code):
        assert key in words("en"), key
    families = {each.group(1) for each in re.finditer(r"\bt(?:Or)?\(`([\w.-]*?)\$", code)}
    unused = [
        key
        for key in words("en")
        if f'"{key}"' not in code and not any(family and key.startswith(family) for family in families)
    ]
    assert unused == []


def test_a_visitor_is_spoken_to_in_their_language_and_can_choose(visit: Visit) -> None:
    page = visit("/", locale="zh-CN")
    expect(page.get_by_placeholder(CHINESE)).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.get_by_label("语言").select_option("en")
    expect(page.get_by_placeholder("Describe a picture, or drop or paste one")).to_be_visible()
    page.reload()
    expect(page.get_by_placeholder("Describe a picture, or drop or paste one")).to_be_visible()


# ---------------------------------------------------------------- from here alone


def test_all_together_is_small() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BUDGET_BYTES


def test_all_modules_of_the_first_page_are_asked_for_at_once(visit: Visit) -> None:
    page = visit("/")
    page.locator(".tile").first.wait_for()
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname)")
    modules = {name for name in loaded if name.endswith(".js")}
    foretold = re.findall('"modulepreload" href="([^"]+)"', (STATIC / "index.html").read_text())
    assert modules == {"/static/main.js", *foretold}


def test_vendored_modules_come_with_licences_and_versions() -> None:
    vendor = STATIC / "vendor"
    told = (vendor / "README.md").read_text()
    for module in vendor.glob("*.js"):
        assert f"`{module.name}`" in told
    for name in re.findall(r"LICENSE-\w+", told):
        assert "Copyright" in (vendor / name).read_text()
    assert len(re.findall(r"\d+\.\d+\.\d+", told)) == 3


def test_the_policy_lets_no_inline_script_run_but_the_import_map(browser: Browser, stand: Stand) -> None:
    page = browser.new_page()
    page.goto(stand.url)
    response = page.request.get(stand.url + "/")
    policy = response.headers["content-security-policy"]
    inline = re.findall(r"<script[^>]*>(.+?)</script>", response.text(), re.DOTALL)
    digest = b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert len(inline) == 1
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert not any(word in policy for word in ("unsafe", "http", "*"))
    page.evaluate("""() => {
      window.broken = [];
      addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
      const script = document.createElement("script");
      script.append("window.ran = true");
      document.body.append(script);
    }""")
    until(page, "broken.length > 0")
    assert page.evaluate("window.ran") is None
    page.close()


# ---------------------------------------------------------------- the key


def test_where_a_key_is_set_the_page_asks_for_it_and_sends_it(visit: Visit, locked: Stand) -> None:
    page = visit("/?q=red+circle", url=locked.url)
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Key").fill("not-this-one-at-all")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.get_by_role("alert")).to_contain_text("does not accept this key")
    assert page.evaluate("sessionStorage.length") == 0  # only what the service takes is kept
    with page.expect_response("**/api/events?*"):
        dialog.get_by_label("Key").fill(KEY)
        dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_have_count(0)
    picture = page.locator(".tile img").first
    expect(picture).to_have_attribute("src", re.compile("^blob:"))
    until(page, "document.querySelector('.tile img').naturalWidth > 0")
    assert page.evaluate("[localStorage.key, sessionStorage.key('key')].length") == 2
    assert KEY not in page.url and KEY not in page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    expect(picture).to_have_attribute("src", re.compile("^blob:"))
    expect(dialog).to_have_count(0)


def test_the_key_is_asked_once_and_nothing_is_told_before(visit: Visit, locked: Stand) -> None:
    page = visit("/dashboard", url=locked.url)
    expect(page.get_by_role("dialog")).to_have_count(1)
    assert page.request.get(locked.url + "/api/stats").status == 401
    assert page.request.get(locked.url + f"/api/images/{locked.pictures[0].id}/thumbnail").status == 401
    assert page.request.post(locked.url + "/dashboard").status == 401


def test_a_password_manager_can_keep_the_key(visit: Visit, locked: Stand) -> None:
    page = visit("/", url=locked.url)
    expect(page.locator("input[name=key]")).to_have_attribute("autocomplete", "current-password")
    expect(page.locator("input[name=username]")).to_have_attribute("autocomplete", "username")


def give_key(page: Page, key: str) -> None:
    page.get_by_role("dialog").get_by_label("Key").fill(key)
    page.get_by_role("dialog").get_by_role("button", name="Continue").click()


def test_what_was_drawn_before_the_key_comes_with_it(visit: Visit, locked: Stand) -> None:
    page = visit(f"/?with=1:id:{locked.pictures[0].id}", url=locked.url)
    give_key(page, KEY)
    until(page, "document.querySelector('.chip img')?.naturalWidth > 0")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Stand]:
    stand = Stand()
    stand.reset()
    with serving(stand, api_key=KEY, admin_key=ADMIN_KEY):
        yield stand


def test_who_may_only_read_can_give_the_admin_key_and_then_give_orders(visit: Visit, guarded: Stand) -> None:
    page = visit("/errors", url=guarded.url)
    give_key(page, KEY)
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Retry all").click()
    dialog = page.get_by_role("dialog", name="This needs the admin key")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("tbody tr")).to_have_count(3)  # what the key for reading opens stays open
    page.get_by_role("button", name="Retry all").click()
    give_key(page, ADMIN_KEY)
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator(".notice")).to_contain_text("Nothing was refused")
