"""The line that ``manage.py vllm serve`` prints and runs."""

import os
import stat

import pytest
from django.core.management import CommandError, call_command

from gateway.vllm_flags import Wanted, command, tool_parser

QWEN = "Qwen/Qwen2.5-7B-Instruct"


def test_held_back_slots_have_sequences_of_their_own():
    line = command(Wanted(QWEN, slots=200, holdback_share=0.05))

    assert line[:3] == ["vllm", "serve", QWEN]
    assert line[line.index("--max-num-seqs") + 1] == "210"
    assert line[line.index("--scheduling-policy") + 1] == "priority"
    assert line[line.index("--tool-call-parser") + 1] == "hermes"


def test_a_flag_of_the_callers_takes_the_place_of_ours():
    line = command(Wanted(QWEN), ["--max-num-seqs=64", "--seed", "1"])

    assert "--max-num-seqs" not in line
    assert line[-3:] == ["--max-num-seqs=64", "--seed", "1"]


@pytest.mark.parametrize(
    ("model", "parser"),
    [
        (QWEN, "hermes"),
        ("Qwen/Qwen3-Coder-30B", "qwen3_coder"),
        ("meta-llama/Llama-3.1-8B", "llama3_json"),
        ("/models/mine", ""),
    ],
)
def test_the_tool_parser_follows_the_model(model, parser):
    assert tool_parser(model) == parser


def test_the_line_is_printed_and_nothing_run(db, capsys):
    call_command("vllm", "serve", QWEN, "--print", "--slots", "10")

    told = capsys.readouterr()
    assert told.out.startswith(f"vllm serve {QWEN} \\\n")
    assert "--max-num-seqs 11" in told.out
    assert "--scheduling-policy: the default ignores priorities" in told.err


def test_without_vllm_a_sentence_says_so(db, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    with pytest.raises(CommandError, match="There is no vllm here"):
        call_command("vllm", "serve", QWEN)


def test_the_line_is_what_runs(db, monkeypatch, tmp_path):
    program = tmp_path / "vllm"
    program.touch()
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ran = []
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr(os, "execv", lambda path, line: ran.append((path, line)))

    call_command("vllm", "serve", QWEN)

    path, line = ran[0]
    assert path == line[0] == str(program)
    assert line[1:3] == ["serve", QWEN]
