"""Changing one byte of anything that a score depends on computes it anew; changing nothing returns it, without a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mteb.models.model_meta import ModelMeta

from evaluation.cli import main
from evaluation.evaluate import evaluate
from evaluation.results.cached import ResultFolder
from evaluation.results.record import Record
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from model_loaders import load
from model_loaders.embed_model import EmbedModel
from model_loaders.saving import save
from tests.evaluation.conftest import BagOfWords, make_tasks, write
from tests.tiny import new_model

TASK = "TinyRetrieval"


def flip(path: Path, place: int) -> None:
    """Change one byte; of a float32 at the end of a file, place -3 is in the middle of its fraction."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


class World:
    """An adapter, its base LLM and data, copied, so that a test may change them; and the runs over them."""

    def __init__(self, root: Path, adapter: Path, base: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.adapter, self.base, self.data, self.out = (root / name for name in ("adapter", "base", "data", "out"))
        for source, target in ((adapter, self.adapter), (base, self.base), (data, self.data)):
            shutil.copytree(source, target)
        self.encoded = self.loaded = 0
        whole, loading = EmbedModel.encode_counted, EmbedModel.__init__

        def counted(model, texts, *arguments, **options):
            self.encoded += len(texts)
            return whole(model, texts, *arguments, **options)

        def init(model, *arguments, **options):
            self.loaded += 1
            loading(model, *arguments, **options)

        monkeypatch.setattr(EmbedModel, "encode_counted", counted)
        monkeypatch.setattr(EmbedModel, "__init__", init)

    def run(self, *flags: str) -> tuple[int, int]:
        """Run the command; return how many models were loaded and texts encoded."""
        self.encoded = self.loaded = 0
        given = {"adapter_path": self.adapter, "base_model": self.base, "data_dir": self.data, "output_dir": self.out}
        words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        status = main("", loader=load, paper_tasks=(), arguments=[*words, "--tasks", TASK, "--device", "cpu", *flags])
        assert status == 0
        return self.loaded, self.encoded


@pytest.fixture(scope="module")
def made(base, tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("keys")
    save(new_model("model3", base), root / "adapter")
    return root / "adapter", make_tasks(root / "data")


@pytest.fixture
def world(made, base, tmp_path, monkeypatch) -> World:
    adapter, data = made
    found = World(tmp_path, adapter, base, data, monkeypatch)
    assert found.run() == (1, 90)
    return found


def test_changing_nothing_loads_no_model_and_encodes_nothing(world, capsys):
    before = capsys.readouterr().out
    assert world.run() == (0, 0)
    after = capsys.readouterr().out
    assert "already there" in after and "already there" not in before
    assert world.run("--batch_size", "3", "--batch_tokens", "100") == (0, 0)  # vectors do not depend on it


def test_what_is_no_part_of_a_result_changes_nothing(world, tmp_path):
    shutil.copytree(world.adapter, tmp_path / "elsewhere")
    shutil.copytree(world.data / TASK, tmp_path / "moved" / TASK)
    world.adapter, world.data = tmp_path / "elsewhere", tmp_path / "moved"
    (world.adapter / "notes.txt").write_text("not read")
    assert world.run() == (0, 0)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "pooling.safetensors"])
def test_one_byte_of_a_trained_weight(world, name):
    flip(world.adapter / name, -3)
    assert world.run() == (1, 90)
    flip(world.adapter / name, -3)
    assert world.run() == (0, 0)  # the first result is still there


def test_one_byte_of_the_base_llm(make_base, made, tmp_path, monkeypatch):
    from model_loaders.backbone.base_files import weights_hash

    base = make_base(vocab_size=1024)  # large enough for bytes that are not among those by which an adapter knows it
    save(new_model("model1", base), tmp_path / "one")
    world = World(tmp_path, tmp_path / "one", base, made[1], monkeypatch)
    assert world.run() == (1, 90)
    before, weights = weights_hash(world.base), world.base / "model.safetensors"
    for place in range(weights.stat().st_size // 4, weights.stat().st_size, 4099):
        flip(weights, place)
        if weights_hash(world.base) == before:
            break
        flip(weights, place)
    assert weights_hash(world.base) == before
    assert world.run() == (1, 90)
    flip(weights, place)
    assert world.run() == (0, 0)


def test_one_byte_of_the_tokenizer(world):
    path = world.adapter / "tokenizer.json"
    text = path.read_text()
    assert '"word49"' in text
    path.write_text(text.replace('"word49"', '"word4x"'))
    assert world.run() == (1, 90)


@pytest.mark.parametrize("field", ["query_prompt", "document_prompt"])
def test_one_byte_of_the_adapters_prompt(world, field):
    path = world.adapter / "embedder.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"][field] = "x"
    path.write_text(json.dumps(manifest))
    assert world.run()[0] == 1


def test_one_byte_of_a_prompt_in_a_file(world, tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text(f"{TASK}: 'word1 '\n")
    assert world.run("--prompts", str(file))[0] == 1
    assert world.run("--prompts", str(file)) == (0, 0)
    file.write_text(f"{TASK}: 'word2 '\n")
    assert world.run("--prompts", str(file))[0] == 1
    file.write_text(f"{TASK}: 'word2 '\nSTS: 'word3 '\n")  # of another task: the result is taken over
    assert world.run("--prompts", str(file)) == (0, 0)


def test_one_document_one_query_and_one_judgement(world):
    folder = world.data / TASK
    corpus = list(iter_rows(folder / "corpus.jsonl.gz"))
    write(folder / "corpus.jsonl.gz", [{**corpus[0], "text": "w"}, *corpus[1:]])
    assert world.run() == (1, 90)
    write(folder / "corpus.jsonl.gz", corpus)
    assert world.run() == (1, 90)  # a folder of results holds one result a task: the last one
    queries = list(iter_rows(folder / "queries.jsonl"))
    write(folder / "queries.jsonl", [{**queries[0], "text": queries[0]["text"] + "."}, *queries[1:]])
    assert world.run() == (1, 90)
    judgements = list(iter_rows(folder / "qrels.test.jsonl"))
    write(folder / "qrels.test.jsonl", judgements[:-1])
    assert world.run() == (1, 90)


def test_the_dtype_and_the_length(world):
    assert world.run("--dtype", "bfloat16") == (1, 90)
    assert world.run("--max_length", "4") == (1, 90)
    assert world.run("--dtype", "bfloat16") == (0, 0)
    assert world.run() == (0, 0)


def test_the_evaluation_version(world, monkeypatch):
    monkeypatch.setattr("evaluation.encode.mteb_encoder.EVALUATION_VERSION", 999)
    monkeypatch.setattr("evaluation.results.score_task.EVALUATION_VERSION", 999)
    assert world.run() == (1, 90)
    assert world.run() == (0, 0)


def test_vectors_in_a_cache_are_of_the_same_weights(world, tmp_path):
    cache = str(tmp_path / "cache")
    shutil.rmtree(world.out)
    assert world.run("--embedding_cache", cache) == (1, 90)
    shutil.rmtree(world.out)
    assert world.run("--embedding_cache", cache) == (1, 0)
    flip(world.adapter / "pooling.safetensors", -3)
    assert world.run("--embedding_cache", cache) == (1, 90)


def test_a_result_of_another_mteb_is_kept_and_told(world, capsys):
    (result,) = world.out.glob(f"results/*/*/{TASK}.json")
    content = json.loads(result.read_text())
    result.write_text(json.dumps(content | {"mteb_version": "2.0.0"}))
    capsys.readouterr()
    assert world.run() == (0, 0)
    assert f"{TASK} 2.0.0" in capsys.readouterr().out


def test_a_recomputed_result_counts_for_nothing_before_it_is_whole(world, monkeypatch):
    """Killed while data that have changed are scored, and the data changed back: neither half nor old may count."""
    folder = world.data / TASK
    queries = list(iter_rows(folder / "queries.jsonl"))
    write(folder / "queries.jsonl", [{**query, "text": "word5"} for query in queries])
    monkeypatch.setattr(Record, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    words = ["--adapter_path", world.adapter, "--base_model", world.base, "--data_dir", world.data, "--output_dir", world.out]
    assert main("", loader=load, paper_tasks=(), arguments=[*map(str, words), "--tasks", TASK, "--device", "cpu"]) == 130
    monkeypatch.undo()
    write(folder / "queries.jsonl", queries)
    result = evaluate(BagOfWords(), find_tasks([TASK], world.data), world.out, name="bow", version="1")
    assert not result.scores[0].cached
    assert not list(world.out.glob(f"results/ours__model3/*/recipes/{TASK}.json"))


def test_a_kill_while_a_result_is_taken_from_another_revision_leaves_no_mixture(world, tmp_path, monkeypatch):
    """The folder has a result of other data; the same task of these data is in another revision's folder."""
    prompts, queries = tmp_path / "prompts.yaml", world.data / TASK / "queries.jsonl"
    prompts.write_text('STS: "x "\n')  # another revision, the same key
    (first,) = (world.out / "results/ours__model3").iterdir()
    before, rows = queries.read_text(), list(iter_rows(queries))
    write(queries, [{**row, "text": rows[0]["text"]} for row in rows])
    assert world.run("--prompts", str(prompts))[1]
    (other,) = (path for path in first.parent.iterdir() if path != first)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            meta = ModelMeta.create_empty(overwrites={"name": "ours/model3", "revision": first.name})
            results = ResultFolder(world.out, meta)
            assert results.path == first
            results.adopt(TASK, Record.read(other, TASK).key, {})
    queries.write_text(before)
    assert world.run() != (0, 0)


def test_mtebs_own_tools_read_the_results(world):
    import mteb

    results = mteb.ResultCache(world.out).load_results()
    frame = results.to_dataframe()
    assert frame["task_name"].tolist() == [TASK]
    (path,) = world.out.glob(f"results/*/*/{TASK}.json")
    main_score = json.loads(path.read_text())["scores"]["test"][0]["main_score"]
    assert frame["ours/model3"].tolist() == [main_score]
    (one,) = results.model_results
    assert one.model_name == "ours/model3" and getattr(one, "model_meta", one) is not None  # mteb 2.20 has none
    assert one.model_revision == path.parent.name


def test_a_comparison_reads_the_results_and_nothing_beside_them(world, tmp_path):
    from comparison.reading.results_folder import read

    assert world.run("--save_embeddings")[0] == 1
    (revision,) = (path.parent.parent for path in world.out.glob(f"results/*/*/embeddings/{TASK}"))
    assert (revision / "embeddings" / TASK / "index.json").is_file()
    other = evaluate(BagOfWords(), find_tasks([TASK], world.data), tmp_path / "other", name="bow", version="1")
    assert not other.failures
    reading = read([world.out, tmp_path / "other"])
    assert len(reading.systems) == 2 and not reading.notes
