"""The dashboard, the duplicates and the errors, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.api.conftest import eventually
from tests.page.made_up import GB, PARTS, encoder, gpu, history, leak, progress
from tests.page.stand import Stand
from tests.page.waiting import until

Visit = Callable[..., Page]
QUEUE = {
    "depth": 120,
    "oldest_s": 2.5,
    "images_per_s": 812.3,
    "batch_size": 32,
    "limited_by": "encode",
    "rejected_total": 0,
    "busy_share": 0.93,
}


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"[data-figure={name}]")


def with_gpu(stand: Stand) -> None:
    stand.memory = gpu()
    stand.history = history("gpu0", tuple(PARTS))


def inked(page: Page) -> int:
    """Pixels of the chart that are drawn on."""
    count = """() => {
      const canvas = document.querySelector(".chart canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let n = 0;
      for (let i = 3; i < data.length; i += 4) n += data[i] > 200;
      return n;
    }"""
    return int(page.evaluate(count))


# ---------------------------------------------------------------- dashboard


def test_gpu_memory_is_stacked_by_component_and_grows_with_the_feed(visit: Visit, stand: Stand) -> None:
    with_gpu(stand)
    page = visit("/dashboard")
    memory = panel(page, "GPU memory")
    for part in ("weights 1.3 GB", "allocator's reserve 400 MB", "index 2.6 GB", "other processes 1.1 GB"):
        expect(memory).to_contain_text(part)
    expect(memory).to_contain_text(re.compile(r"NVIDIA H100: 7 GB of 80 GB"))
    expect(memory).to_contain_text("Room for about 28,000,000 more pictures")
    expect(memory).to_contain_text("No leak seen")
    until(page, "document.querySelector('.chart canvas')?.width > 0")
    assert inked(page) > 20_000
    stand.tell("gpu", gpu(index=5.0) | {"leaks": [leak("The index grows by 2 MB a second.")]})
    expect(memory).to_contain_text("index 5 GB")
    expect(memory.get_by_role("alert")).to_have_text("The index grows by 2 MB a second.")
    expect(memory.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"now 9\.3 GB"))


def test_the_queue_is_told_as_it_is_now(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    expect(figure(page, "cache")).to_contain_text("25%")
    expect(figure(page, "indexed")).to_contain_text("120")
    assert eventually(lambda: bool(stand.listeners))
    stand.tell("queue", QUEUE)
    told = {"rate": "812/s", "queue": "oldest 2.5 s", "limit": "encoding", "batch": "32"}
    for name, text in told.items():
        expect(figure(page, name)).to_contain_text(text)


def test_a_flood_of_changes_is_shown_with_its_end(visit: Visit, stand: Stand) -> None:
    stand.stats["progress"] = [progress("index")]
    page = visit("/dashboard")
    expect(panel(page, "Now")).to_contain_text(re.compile(r"Taking in what has changed.*2 / 9.*7", re.DOTALL))


def test_who_points_at_the_chart_reads_what_it_was_then(visit: Visit, stand: Stand) -> None:
    with_gpu(stand)
    page = visit("/dashboard")
    until(page, "document.querySelector('.chart canvas')?.width > 0")
    now = panel(page, "GPU memory").locator(".legend").inner_text()
    page.locator(".chart .u-over").hover(position={"x": 200, "y": 50})
    expect(panel(page, "GPU memory").locator(".legend li")).to_have_count(len(PARTS) + 1)  # and the time
    then = panel(page, "GPU memory").locator(".legend").inner_text()
    assert "weights 1.3 GB" in now and "weights 1.3 GB" in then
    assert then.split("activations")[1][:8] != now.split("activations")[1][:8]


def test_a_lost_encoder_is_shown_with_its_trouble(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    expect(panel(page, "Watched folders")).to_be_visible()
    expect(panel(page, "Encoders")).to_have_count(0)  # one that works is told by the figures
    assert eventually(lambda: bool(stand.listeners))
    stand.tell("queue", QUEUE | {"devices": [encoder("cuda:0"), encoder("cuda:1", "lost", "CUDA error: ECC")]})
    encoders = panel(page, "Encoders")
    expect(encoders.locator("tbody tr")).to_have_count(2)
    expect(encoders.locator("tbody tr").nth(1)).to_contain_text(re.compile(r"cuda:1\s*lost\s*CUDA error: ECC"))


def test_without_a_gpu_it_says_so_and_shows_the_process(visit: Visit) -> None:
    page = visit("/dashboard")
    memory = panel(page, "Memory of the process")
    expect(memory).to_contain_text("There is no GPU to measure")
    expect(memory).to_contain_text("no NVIDIA driver")
    expect(memory.locator(".legend li")).to_have_count(3)
    until(page, "document.querySelector('.chart canvas')?.width > 0")
    assert inked(page) > 20_000


def test_unused_memory_can_be_released(visit: Visit, stand: Stand) -> None:
    with_gpu(stand)
    page = visit("/dashboard")
    page.get_by_role("button", name="Release unused").click()
    expect(page.get_by_text("400 MB given back")).to_be_visible()


def test_the_batch_table_has_a_button_that_measures(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    sizes = panel(page, "Batch sizes")
    expect(sizes.locator("tbody tr")).to_have_count(9)
    expect(sizes.locator("tr[aria-current]")).to_contain_text("64 chosen")
    sizes.get_by_role("button", name="Measure").click()
    expect(page.get_by_text("Measuring batch sizes")).to_be_visible()
    expect(sizes.get_by_role("button", name="Measuring …")).to_be_disabled()
    assert stand.asked_for("/api/tune")


def test_where_tuning_is_not_possible_it_says_what_to_do(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    stand.refusals["/api/tune"] = (409, "busy", "Stop the service and run `indexer tune batch`.")
    panel(page, "Batch sizes").get_by_role("button", name="Measure").click()
    expect(panel(page, "Batch sizes").get_by_role("alert")).to_contain_text("indexer tune batch")


def test_a_service_that_cannot_measure_says_how_to(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    stand.refusals["/api/tune"] = (405, "method-not-allowed", "Method Not Allowed")
    panel(page, "Batch sizes").get_by_role("button", name="Measure").click()
    expect(panel(page, "Batch sizes").get_by_role("alert")).to_contain_text("run indexer tune batch")


def test_folders_errors_and_the_last_verification_are_there(visit: Visit, stand: Stand) -> None:
    page = visit("/dashboard")
    expect(panel(page, "Watched folders")).to_contain_text(re.compile(r"/pictures\s*events\s*120"))
    errors = panel(page, "3 files refused")
    expect(errors).to_contain_text(re.compile(r"Damaged\s*2.*Too many pixels\s*1"))
    errors.get_by_role("button", name="Retry all").click()
    expect(page.get_by_text("3 files are tried again")).to_be_visible()
    verification = panel(page, "Verification")
    expect(verification).to_contain_text("All is well")
    expect(verification).to_contain_text("1 found, 1 mended")
    expect(verification.get_by_role("button", name="Mend")).to_have_count(0)
    verification.get_by_role("button", name="Verify now").click()
    expect(verification.get_by_role("alert")).to_have_count(0)
    errors.get_by_role("link", name="Each file with its reason").click()
    expect(page.get_by_role("heading", name="Why can a file not be found?")).to_be_visible()


def test_what_a_verification_found_can_be_mended(visit: Visit, stand: Stand) -> None:
    stand.stats["verify"] |= {"ok": False, "mended": {}}
    page = visit("/dashboard")
    with page.expect_response("**/api/index/verify"):
        panel(page, "Verification").get_by_role("button", name="Mend").click()
    assert stand.asked_for("/api/index/verify") == [{"sample": 32, "repair": True}]


def test_a_leaking_process_is_told_without_a_gpu_too(visit: Visit, stand: Stand) -> None:
    stand.memory["leaks"] = [leak("The process grows by 1 MB a second.")]
    page = visit("/dashboard")
    expect(page.get_by_role("alert").filter(has_text="The process grows")).to_be_visible()
    assert stand.memory["process"]["rss_bytes"] > GB


# ---------------------------------------------------------------- duplicates


def test_duplicates_stand_side_by_side_in_three_tiers(visit: Visit, stand: Stand) -> None:
    page = visit("/duplicates")
    expect(page.locator(".group")).to_contain_text("2 files")
    expect(page.locator(".group .path")).to_have_count(2)
    page.get_by_role("link", name="Same picture").click()
    assert page.url.endswith("tier=variant")
    expect(page.locator(".group figure")).to_have_count(2)
    boxes = [each.bounding_box() for each in page.locator(".group figure").all()]
    assert boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    page.get_by_role("link", name="Similar scene").click()
    expect(page.locator(".notice")).to_contain_text("No duplicates of this kind")
    page.go_back()
    page.locator(".group .open").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("000.jpg")


def test_while_duplicates_are_looked_for_it_says_so_and_shows_them_then(visit: Visit, stand: Stand) -> None:
    stand.searching = progress("duplicates")
    page = visit("/duplicates?tier=variant")
    expect(page.locator(".notice")).to_contain_text(re.compile(r"Looking for duplicates.*2 / 9", re.DOTALL))
    expect(page.get_by_role("progressbar")).to_be_visible()
    stand.searching = None
    expect(page.locator(".group figure")).to_have_count(2)


def test_a_route_that_the_service_lacks_is_told_plainly(visit: Visit, stand: Stand) -> None:
    stand.refusals["/api/duplicates"] = (404, "no-route", "Nothing is served at this path.")
    page = visit("/duplicates")
    expect(page.locator(".notice")).to_contain_text("This service does not offer that yet")


# ---------------------------------------------------------------- errors


def test_refused_files_stand_with_reasons_and_are_tried_again(visit: Visit, stand: Stand) -> None:
    page = visit("/errors")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(2)).to_contain_text("Too many pixels")
    page.get_by_role("button", name="Retry /pictures/broken-1.jpg").click()
    expect(rows).to_have_count(2)
    assert stand.asked_for("/api/errors/retry") == [{"path": "/pictures/broken-1.jpg"}]
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator(".notice")).to_contain_text("Nothing was refused")


def test_it_tells_why_a_file_cannot_be_found(visit: Visit) -> None:
    page = visit("/errors")
    page.get_by_label("Path of a file").fill("/pictures/a b&c.jpg")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("Nothing is at /pictures/a b&c.jpg.")).to_be_visible()
