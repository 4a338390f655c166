"""Media, tables and saved files arrive byte for byte; artifacts are refused in words and harm no run."""

import base64

from tests.local.sdk import Program, check_run

# Artifacts are not kept here: the SDK notes each refusal.
REFUSALS = ("artifact", "HTTP error")


def test_media_and_files(program: Program) -> None:
    program.run("media.py")
    logged, read = program.record("logged.json"), program.record("read.json")
    assert set(logged) == {"media", "files", "artifacts"}
    for name in logged:
        check_run(logged[name], read[name])
        assert read[name]["state"] == "finished"
    media = read["media"]
    assert len([name for name in media["files"] if name.startswith("media/images/")]) == 4
    for row in media["rows"]:
        for value in row.values():
            if isinstance(value, dict) and value.get("_type") == "image-file":
                assert media["sizes"][value["path"]] == value["size"] > 0
    row = {key: value for row in media["rows"] for key, value in row.items()}
    assert media["files"][row["html"]["path"]] == logged["media"]["html"]
    assert base64.b64decode(media["files"][row["deep"]["html"]["path"]]) == b"<b>deep</b>"
    assert row["image"]["caption"] == "ü" and row["images"]["count"] == 2
    assert media["table"] == {"columns": ["a", "ü"], "data": [[1, "x"], [2.5, None], [3, "ü"]]}
    counts, edges = logged["media"]["histogram"]
    for found in (row["np"], media["summary"]["last"]):
        assert (found["values"], found["bins"]) == (counts, edges)
    assert row["hist"]["bins"] == [1, 2, 3] and row["hist"]["values"] == [1, 2]
    for text in logged["artifacts"]["refused"]:
        assert "artifact" in text and "Unknown type" not in text, text
    program.check_logs(allowed=REFUSALS)
