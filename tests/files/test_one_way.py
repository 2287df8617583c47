"""Nothing reads, writes or looks for a file in another way than restaudit/files does, but for these
places, each with its reason.
"""

from pathlib import Path

import pytest

from tests.files.one_way import Found, everywhere, found

ROOT = Path(__file__).parents[2]

# Who writes below a folder that is new and ours (a step in hand, a stage), through a library that
# takes a path: plain.place moves what it made.
STAGE = (
    "a library writes by path, into the folder of a step in hand, a stage, or a new one of --out"
)
OWN = "the user's own cache, checkout or key, which no stranger prepares"
PACKAGE = "a file of our own that came with the program"
SYSTEM = "what the system says of this machine"
NEW = "makes the folder that the user named"
CHECKED = "a library reads by path what was looked at (plain.names, a digest) just before"
TEXT = "a text in memory that we wrote, or a cell of a table"

# (file, function or "*"): why.
ALLOWED = {
    # Code that only whoever develops restaudit calls, on a checkout.
    ("restaudit/commands/dev.py", "*"): OWN,
    # What was fetched or converted lies in the cache under the digest that was asked for.
    ("restaudit/models/artifacts.py", "*"): OWN,
    ("restaudit/models/fetch.py", "*"): OWN,
    ("restaudit/policy/loading.py", "model_folder.convert"): OWN,
    ("restaudit/models/pretrained.py", "_place"): "a temporary folder of ours that points at a "
    "model's own files",
    ("restaudit/evidence/seal/keys.py", "*"): OWN,
    ("reports/viewer/documents/drafts.py", "write"): OWN,
    ("restaudit/policy/model.py", "Policy.save"): STAGE,
    ("restaudit/reward/backbone.py", "_save"): STAGE,
    ("restaudit/reward/head.py", "learn_heads.save"): STAGE,
    ("restaudit/reward/trained.py", "prepare_trained.build"): STAGE,
    ("restaudit/weights/files.py", "write_checkpoint"): STAGE,
    ("restaudit/weights/files.py", "write_words"): STAGE,
    ("restaudit/weights/made.py", "make_adapter"): STAGE,
    ("restaudit/evidence/steps.py", "Writer.__enter__"): NEW,
    ("reports/exports/export.py", "write_exports"): NEW,
    ("restaudit/evidence/steps.py", "_sync"): STAGE,
    ("restaudit/policy/model.py", "Policy.become"): CHECKED,
    ("restaudit/reward/head.py", "load_heads"): CHECKED,
    ("restaudit/commands/calibrate.py", "vectors"): PACKAGE,
    ("restaudit/tasks/own.py", "_read"): PACKAGE,
    ("restaudit/tasks/bbq.py", "items"): TEXT,
    ("reports/document/html.py", "html"): PACKAGE,
    ("reports/document/pdf.py", "pdf"): PACKAGE,
    ("reports/document/docx.py", "_without_times"): TEXT,
    ("reports/frameworks/schema.py", "_raw"): PACKAGE,
    ("reports/rendering.py", "code_digest"): PACKAGE,
    ("probes/texts/word_lists.py", "word_list"): PACKAGE,
    ("restaudit/loop/sealing.py", "_processor"): SYSTEM,
    ("restaudit/policy/divergence.py", "free_memory"): SYSTEM,
    ("restaudit/commands/ending.py", "_let_go"): SYSTEM,
    ("restaudit/trainers/watch/folder.py", "_json"): "a trainer's state, which may hold NaN",
    ("restaudit/models/limited.py", "*"): "pipes to a process of our own, and what the system says",
    # The last of two equal keys wins here, and must: a prompt's identity in old records hangs on it.
    ("restaudit/evidence/chats.py", "as_messages"): TEXT,
    ("restaudit/study/plan.py", "Study.to_json"): TEXT,
    ("reports/exports/formats/tables.py", "_parquet"): TEXT,
}
# Rooms that read runs: there is_file and glob would follow a link, or take one for nothing.
LOOKING = (
    "restaudit/evidence/",
    "restaudit/loop/",
    "restaudit/people/",
    "restaudit/study/",
    "restaudit/weights/",
    "restaudit/reward/",
    "reports/",
)
NAMED = "about a file or folder that the user named, before anything below it is touched"
ALLOWED_LOOKS = {
    ("restaudit/evidence/record.py", "list_runs"): NAMED,
    ("restaudit/evidence/steps.py", "Writer.__enter__"): NAMED,
    ("restaudit/evidence/seal/keys.py", "new_key"): NAMED,
    ("restaudit/evidence/bundle/pack.py", "pack"): NAMED,
    ("restaudit/evidence/bundle/unpack.py", "opened"): NAMED,
    ("restaudit/evidence/verify/check.py", "_must_be_run"): NAMED,
    ("restaudit/people/rating/asking.py", "text_or_file"): NAMED,
    ("restaudit/people/rating/exchange.py", "place_for"): NAMED,
    ("restaudit/weights/export.py", "export_weights"): NAMED,
    ("restaudit/weights/export.py", "_written"): STAGE,
    ("restaudit/weights/files.py", "*"): "the base model's own folder, and the stage",
    ("restaudit/weights/made.py", "*"): "the base model's own folder",
    ("restaudit/weights/outside.py", "_where"): "the base model's own folder",
    ("restaudit/reward/python.py", "_source"): "the module that the user's configuration names",
    ("restaudit/evidence/named_code.py", "place_of"): "where modules can be imported from",
    ("restaudit/loop/online.py", "_train"): "the Writer has looked at the whole folder",
    ("restaudit/loop/sealing.py", "_processor"): SYSTEM,
    ("reports/commands.py", "ui"): NAMED,
    ("reports/document/render.py", "folder_of"): NAMED,
    ("reports/frameworks/commands.py", "documents"): NAMED,
    ("reports/rendering.py", "code_digest"): PACKAGE,
    ("reports/viewer/documents/drafts.py", "drafts_in"): OWN,
    ("reports/viewer/logins.py", "*"): OWN,
    ("reports/viewer/app_pages/study.py", "_studies"): NAMED,
    (
        "reports/viewer/rating/desk.py",
        "stamp",
    ): "when a file was changed; its content is read there",
    ("reports/viewer/rating/desk.py", "ratings_stamp"): "as above",
}


def _excepted(call: Found, allowed: dict[tuple[str, str], str]) -> bool:
    return (call.file, call.function) in allowed or (call.file, "*") in allowed


def test_every_file_is_read_and_written_through_the_one_room() -> None:
    others = [
        f"{f.file}:{f.line} {f.function}: {f.kind} by {f.call}"
        for f in everywhere(ROOT)
        if f.kind != "looks" and not _excepted(f, ALLOWED)
    ]
    assert others == []


def test_what_reads_runs_looks_for_files_through_the_one_room() -> None:
    others = [
        f"{f.file}:{f.line} {f.function}: {f.call}"
        for f in everywhere(ROOT)
        if f.kind == "looks" and f.file.startswith(LOOKING) and not _excepted(f, ALLOWED_LOOKS)
    ]
    assert others == []


def test_no_exception_is_for_nothing() -> None:
    every = list(everywhere(ROOT))
    for allowed, looking in ((ALLOWED, False), (ALLOWED_LOOKS, True)):
        calls = [f for f in every if (f.kind == "looks") == looking]
        needed = {(f.file, f.function) for f in calls} | {(f.file, "*") for f in calls}
        assert set(allowed) - needed == set()


# A way of writing or reading, and what the check says of it; None where it is the one way.
WAYS = {
    "open(path, 'w').write(text)": "writes",
    "open(path, mode='ab')": "writes",
    "open(path, how)": "writes",
    "path.open('r+b')": "writes",
    "path.write_text(text)": "writes",
    "path.write_bytes(data)": "writes",
    "os.open(path, os.O_WRONLY | os.O_CREAT)": "writes",
    "os.replace(made, path)": "writes",
    "os.rename(made, path)": "writes",
    "made.replace(path)": "writes",
    "made.rename(folder / name)": "writes",
    "shutil.copyfile(a, b)": "writes",
    "shutil.copy(a, b)": "writes",
    "shutil.move(a, b)": "writes",
    "path.symlink_to(other)": "writes",
    "folder.mkdir()": "writes",
    "table.to_parquet(path)": "writes",
    "table.to_csv(folder / 'a.csv')": "writes",
    "table.to_parquet(path=path)": "writes",
    "pq.ParquetWriter(path, schema)": "writes",
    "pq.write_table(table, path)": "writes",
    "np.save(folder / 'a.npy', array)": "writes",
    "np.savez(path, a=array)": "writes",
    "torch.save(state, path)": "writes",
    "save_file(tensors, str(path))": "writes",
    "model.save_pretrained(folder)": "writes",
    "figure.savefig(path)": "writes",
    "zipfile.ZipFile(path, 'w')": "writes",
    "tempfile.mkstemp(dir=folder)": "writes",
    "FileLock(path)": "writes",
    "json.dump(value, f)": "writes",
    "open(path)": "reads",
    "path.open('rb')": "reads",
    "path.read_text()": "reads",
    "path.read_bytes()": "reads",
    "pd.read_parquet(path)": "reads",
    "pd.read_csv(run / 'x.csv')": "reads",
    "pq.ParquetFile(path)": "reads",
    "pq.read_table(path)": "reads",
    "json.loads(data)": "reads",
    "json.load(file)": "reads",
    "yaml.load(data, Loader=SafeLoader)": "reads",
    "yaml.safe_load(data)": "reads",
    "np.load(path)": "reads",
    "torch.load(path)": "reads",
    "load_file(path)": "reads",
    "gzip.open(path)": "reads",
    "zipfile.ZipFile(path)": "reads",
    "path.is_file()": "looks",
    "(run / name).exists()": "looks",
    "folder.rglob('*')": "looks",
    "os.walk(folder)": "looks",
    "plain.write(run, name, data)": None,
    "plain.read_text(run, name)": None,
    "plain.is_file(run, name)": None,
    "given.opened(path)": None,
    "text.replace('a', 'b')": None,
    "time.replace(tzinfo=UTC)": None,
    "table.rename(columns=names)": None,
    "read_table(run, name, columns)": None,
    "(resources.files('x') / 'a.yaml').read_text()": None,
    "figure.savefig(buffer)": None,
    "np.save(f, array)": None,
    "pd.read_parquet(f)": None,
}
AROUND = """
import os
def function(path, folder, run, name):
    buffer = io.BytesIO()
    with plain.created(run, name) as f:
        {way}
"""


@pytest.mark.parametrize("way", WAYS)
def test_the_check_knows_the_other_ways(way: str) -> None:
    # json.dump into an opened file is another way to write JSON all the same.
    source = AROUND.format(way=way.replace("json.dump(value, f)", "json.dump(value, open_file)"))
    kinds = [f.kind for f in found(source, "restaudit/x.py")]
    assert kinds == ([] if WAYS[way] is None else [WAYS[way]])


def test_a_call_is_named_by_its_place() -> None:
    source = "class A:\n    def b(self):\n        def c(path):\n            path.write_text('')\n"
    (call,) = found(source, "restaudit/x.py")
    assert (call.function, call.line, call.call) == ("A.b.c", 4, "write_text")
