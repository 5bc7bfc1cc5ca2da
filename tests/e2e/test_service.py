"""One running server on the demo model, real files, HTTP and the shell."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexer.scenes import write_scenes
from tests.e2e.pictures import picture
from tests.e2e.program import Program, eventually, program

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(tmp_path_factory.mktemp("service")) as made:
        list(write_scenes(made.pictures / "scenes", 60, seed=5))
        yield made.start()


@pytest.fixture(autouse=True)
def at_rest(server: Program) -> None:
    eventually(lambda: server.stats()["pending"] == 0, 60)


def drop(server: Program, name: str, data: bytes) -> Path:
    path = server.pictures / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found_at(server: Program, data: bytes) -> set[str]:
    """Paths at which a search by image finds exactly these bytes."""
    id = hashlib.sha256(data).hexdigest()
    return {path for hit in server.search_image(data) if hit["id"] == id for path in hit["paths"]}


def test_scenes_present_at_the_start_are_found_by_words(server: Program) -> None:
    stats = server.wait_indexed(60)
    assert stats["files"] == 60
    hits = server.search_text("a red circle", limit=5)
    assert len(hits) == 5
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert set(hits[0]) >= {"id", "score", "path", "paths", "width", "height", "modified", "thumbnail_url"}


def test_a_dropped_image_is_its_own_top_hit_until_it_is_deleted(server: Program) -> None:
    data = picture(1)
    path = drop(server, "dropped/new.png", data)
    eventually(lambda: found_at(server, data) == {str(path)})
    path.unlink()
    eventually(lambda: found_at(server, data) == set())


def test_a_changed_image_is_found_by_its_new_content_only(server: Program) -> None:
    old, new = picture(2), picture(3)
    path = drop(server, "changing.png", old)
    eventually(lambda: found_at(server, old) == {str(path)})
    path.write_bytes(new)
    eventually(lambda: found_at(server, new) == {str(path)})
    assert found_at(server, old) == set()
    path.unlink()
    eventually(lambda: str(path) not in server.paths())


def test_an_atomic_replace_with_the_old_times_restored_is_noticed(server: Program) -> None:
    old, new = picture(4), picture(5)
    path = drop(server, "replaced.png", old)
    eventually(lambda: found_at(server, old) == {str(path)})
    status = path.stat()
    other = drop(server, ".replacing.tmp", new)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    eventually(lambda: found_at(server, new) == {str(path)})
    path.unlink()
    eventually(lambda: str(path) not in server.paths())


def test_renames_and_copies_of_many_files_encode_nothing(server: Program) -> None:
    n = 300
    before = server.stats()
    folder = server.pictures / "many"
    for i in range(n):
        drop(server, f"many/{i}.png", picture(1000 + i, side_px=64))
    server.wait_indexed(before["indexed"] + n)
    encoded = server.stats()["encoded_total"]
    for i in range(n):
        (folder / f"{i}.png").rename(folder / f"renamed-{i}.png")
    folder.rename(server.pictures / "moved")
    for i in range(n):
        drop(server, f"copied/{i}.png", (server.pictures / "moved" / f"renamed-{i}.png").read_bytes())
    expected = {str(server.pictures / "moved" / f"renamed-{i}.png") for i in range(n)}
    expected |= {str(server.pictures / "copied" / f"{i}.png") for i in range(n)}

    def many_paths() -> set[str]:
        return {path for path in server.paths() if "/moved/" in path or "/copied/" in path or "/many/" in path}

    eventually(lambda: many_paths() == expected, 60)
    stats = server.wait_indexed(before["indexed"] + n)
    assert stats["encoded_total"] == encoded
    assert stats["files"] == before["files"] + 2 * n
    for name in ("moved", "copied"):
        for path in (server.pictures / name).iterdir():
            path.unlink()
    server.wait_indexed(before["indexed"])


def test_what_cannot_be_indexed_is_told_with_its_reason(server: Program) -> None:
    broken = drop(server, "broken.jpg", b"\xff\xd8\xff\xe0 this is no JPEG")
    other = drop(server, "song.mp3", b"ID3" + bytes(100))
    empty = drop(server, "empty.png", b"")

    def reasons() -> dict[str, str]:
        errors = server.http.get("/api/errors").raise_for_status().json()["errors"]
        return {Path(error["path"]).name: error["reason"] for error in errors}

    expected = {"broken.jpg": "corrupt", "song.mp3": "unsupported_format", "empty.png": "empty"}
    eventually(lambda: reasons() == expected)
    shown = server.run("status", "--errors")
    assert shown.returncode == 0, shown.stderr
    assert "broken.jpg" in shown.stdout
    good = picture(7)
    broken.write_bytes(good)
    eventually(lambda: found_at(server, good) == {str(broken)})
    for path in (broken, other, empty):
        path.unlink()
    eventually(lambda: reasons() == {})


def test_the_shell_finds_what_http_finds(server: Program) -> None:
    hits = server.search_text("a blue star", limit=3)
    answer = server.run("search", "a blue star", "--limit", "3", "--json")
    assert answer.returncode == 0, answer.stderr
    assert [hit["id"] for hit in json.loads(answer.stdout)["hits"]] == [hit["id"] for hit in hits]
    image = server.run("search", "--image", hits[0]["path"], "--limit", "1", "--json")
    assert json.loads(image.stdout)["hits"][0]["id"] == hits[0]["id"]


def test_images_are_served_by_id_only(server: Program) -> None:
    hit = server.search_text("a circle", limit=1)[0]
    record = server.http.get(f"/api/images/{hit['id']}").raise_for_status().json()
    assert record["path"] == hit["path"]
    thumbnail = server.http.get(hit["thumbnail_url"])
    assert thumbnail.status_code == 200
    assert thumbnail.headers["content-type"] == "image/jpeg"
    again = server.http.get(hit["thumbnail_url"], headers={"If-None-Match": thumbnail.headers["etag"]})
    assert again.status_code == 304
    assert server.http.get(f"/api/images/{'0' * 64}").status_code == 404
    similar = server.http.get(f"/api/images/{hit['id']}/similar").raise_for_status().json()["hits"]
    assert hit["id"] not in {each["id"] for each in similar}


def test_embeddings_have_the_models_dimensions_and_unit_length(server: Program) -> None:
    image = server.http.post("/api/embed/image", content=picture(9)).raise_for_status().json()
    text = server.http.post("/api/embed/text", json={"text": "a red circle"}).raise_for_status().json()
    for vector in (image["feature"], image["embedding"], text["embeddings"][0]):
        assert sum(x * x for x in vector) == pytest.approx(1.0, abs=1e-2)
    assert len(image["embedding"]) == len(text["embeddings"][0])
    assert len(image["feature"]) != len(image["embedding"])


def test_a_rebuild_beside_the_running_server_encodes_nothing(server: Program) -> None:
    before = server.stats()
    answer = server.run("rebuild")
    assert answer.returncode == 0, answer.stderr
    assert "0 encoded" in answer.stdout + answer.stderr
    after = server.stats()
    assert after["indexed"] == before["indexed"]
    assert after["encoded_total"] == before["encoded_total"]


def test_verification_beside_the_running_server_finds_nothing_and_is_remembered(server: Program) -> None:
    answer = server.run("verify", "--sample", "4", "--json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)
    assert (told["ok"], told["found"], told["reencoded"]) == (True, {}, 4)
    assert told["contents"] == told["rows"] == server.stats()["indexed"]
    assert server.stats()["verify"] == told


def test_a_path_is_explained_by_shell_and_http(server: Program) -> None:
    path = drop(server, "explained.png", picture(40))
    eventually(lambda: found_at(server, picture(40)) == {str(path)})
    told = json.loads(server.run("why", path, "--json").stdout)
    assert told == server.http.get("/api/why", params={"path": str(path)}).raise_for_status().json()
    assert (told["standing"], told["id"]) == ("indexed", hashlib.sha256(picture(40)).hexdigest())
    path.unlink()
    eventually(lambda: found_at(server, picture(40)) == set())


def test_encoding_anew_encodes_every_content_once(server: Program) -> None:
    before = server.stats()
    answer = server.run("rebuild", "--reencode")
    assert answer.returncode == 0, answer.stderr
    after = server.stats()
    assert after["encoded_total"] == before["encoded_total"] + before["indexed"]
    assert after["indexed"] == before["indexed"]


def test_without_a_gpu_the_memory_answer_says_why(server: Program) -> None:
    answer = server.http.get("/api/gpu/memory").raise_for_status().json()
    if not answer["available"]:
        assert answer["reason"]
    shown = server.run("gpu", "--json")
    assert json.loads(shown.stdout)["available"] == answer["available"]


def test_a_second_server_on_the_store_is_refused_and_names_the_first(server: Program) -> None:
    assert server.process is not None
    second = server.run("--set", f"api.port={server.port + 1}", "serve")
    assert second.returncode == 4
    assert str(server.process.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_a_taken_port_is_named(server: Program, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    second = server.run(
        "--set", f"store.dir={tmp_path / 'data'}", "--set", f"watch.folders={tmp_path / 'pictures'}", "serve"
    )
    assert second.returncode == 1
    assert str(server.port) in second.stderr


def test_health_answers(server: Program) -> None:
    assert server.http.get("/health/live").status_code == 200
    ready = server.http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True


def test_the_documentation_and_the_page_come_from_this_machine_alone(server: Program) -> None:
    for url in ("/", "/api/docs"):
        page = server.http.get(url, follow_redirects=True)
        assert page.status_code == 200
        assert "https://" not in page.text.replace("https://www.w3.org", "")


def test_a_request_from_elsewhere_is_refused(server: Program) -> None:
    answer = httpx.post(f"{server.url}/api/index/rescan", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
