"""The command line of the workbench: one function a command; what they do is in `workbench.cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.cli import VERSION
from workbench.cli.boundary import run_command
from workbench.cli.export_flags import FORMAT_NAMES, ExportFlags
from workbench.cli.flags import EngineFlags, SamplingFlags, spread
from workbench.cli.plugin_help import WithPlugins

app = typer.Typer(
    name="workbench",
    help="A time-travelling debugger for LLM inference, in the terminal."
    "\n\n`workbench [MODEL]` is short for `workbench run [MODEL]`.",
    subcommand_metavar="[MODEL] | COMMAND [ARGS]...",
    add_completion=False,
    pretty_exceptions_enable=False,
)
sessions_app = typer.Typer(help="Recorded sessions on this machine.")
models_app = typer.Typer(help="Models on this machine.")
app.add_typer(sessions_app, name="sessions")
plugins_app = typer.Typer(help="Plugins on this machine.")
app.add_typer(models_app, name="models")
app.add_typer(plugins_app, name="plugins")
adapters_app = typer.Typer(help="LoRA adapters in PEFT's format.")
app.add_typer(adapters_app, name="adapters")

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A folder, a name from `models ls`, or a repository in the Hugging Face cache.",
        show_default="the bundled model",
    ),
]
Session = Annotated[str, typer.Argument(metavar="SESSION", help="A session file, or a name from `sessions ls`.")]
Prompt = Annotated[list[str] | None, typer.Option(help="A prompt (repeatable).", show_default=False)]
Workload = Annotated[Path | None, typer.Option(help="A JSONL file, one request a line.", show_default=False)]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The session file.", show_default="a new one")
]
Glyphs = Annotated[Literal["auto", "unicode", "ascii"], typer.Option(help="Characters to draw with.")]
Theme = Annotated[str | None, typer.Option(help="A theme by its name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME|FILE.py[=OPTIONS]", help="Switch a plugin on (repeatable).", show_default=False),
]
PluginFile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE.py", help="The file of a plugin that it ran with (repeatable).", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"workbench {VERSION}")


@app.command(cls=WithPlugins)
@spread
def run(
    model: Model = None,
    prompt: Prompt = None,
    workload: Workload = None,
    output: Output = None,
    force: Force = False,
    glyphs: Glyphs = "auto",
    theme: Theme = None,
    *,
    engine: EngineFlags,
    sampling: SamplingFlags,
) -> None:
    """Open the workbench on MODEL; without one, on the bundled model and a demo workload."""
    from workbench.cli.screen import Look, run_live

    look = Look(glyphs, theme)
    raise typer.Exit(run_live(model, prompt or [], workload, output, force, engine, sampling, look))


@app.command("open", cls=WithPlugins)
def open_(
    session: Session,
    compare: Annotated[
        str | None, typer.Option(metavar="SESSION", help="Another session to see beside it.", show_default=False)
    ] = None,
    glyphs: Glyphs = "auto",
    theme: Theme = None,
    plugin: Plugins = None,
) -> None:
    """Open the workbench on a recorded session."""
    from workbench.cli.screen import Look, run_recorded

    raise typer.Exit(run_recorded(session, Look(glyphs, theme), compare, plugin or []))


@app.command(cls=WithPlugins)
@spread
def record(
    model: Model = None,
    prompt: Prompt = None,
    workload: Workload = None,
    output: Output = None,
    force: Force = False,
    json: Json = False,
    script: Annotated[
        list[Path] | None,
        typer.Option(help="Carry out the debugger's commands in FILE; - is standard input.", metavar="FILE"),
    ] = None,
    assert_: Annotated[
        list[str] | None,
        typer.Option("--assert", help="Exit with 1 unless this holds throughout.", metavar="EXPR"),
    ] = None,
    *,
    engine: EngineFlags,
    sampling: SamplingFlags,
) -> None:
    """Run requests into a session file, without a screen.

    With neither --prompt nor --workload the prompt is read from standard input, or a --script submits requests.
    """
    from workbench.cli.record import record_requests

    code = record_requests(
        model, prompt or [], workload, output, force, engine, sampling, json, script or [], assert_ or []
    )
    raise typer.Exit(code)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A session file, or a name from `sessions ls`.")],
    b: Annotated[str | None, typer.Argument(metavar="B", help="The session to compare it with.")] = None,
    pair: Annotated[
        list[str] | None, typer.Option(metavar="A:B", help="Compare these two requests (repeatable).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's folder.", show_default="where it was recorded")
    ] = None,
    stages: Annotated[bool, typer.Option(help="Run both again to find the first stage that differs.")] = True,
    at: Annotated[
        str | None, typer.Option(metavar="REQUEST:POSITION", help="Search the stages behind this choice.")
    ] = None,
    reference: Annotated[
        Literal["transformers"] | None, typer.Option(help="Compare A with this instead of B.")
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="Run both again for whole logits instead of the recorded top 20.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Say how far it is, line by line.")] = False,
    json: Json = False,
) -> None:
    """Say where two runs part that should agree: the first token, then the first stage. Exit code 1 if so."""
    from workbench.cli.diff import DiffOrder, diff_sessions

    order = DiffOrder(a, b, reference, pair or [], model, stages, at, progress, logits)
    raise typer.Exit(diff_sessions(order, json))


@app.command(cls=WithPlugins)
@spread
def chaos(
    model: Model = None,
    prompt: Prompt = None,
    workload: Workload = None,
    rounds: Annotated[int, typer.Option(help="How many times.")] = 10,
    json: Json = False,
    *,
    engine: EngineFlags,
    sampling: SamplingFlags,
) -> None:
    """Run requests under random schedules: no token may change. Exit code 1 if one does.

    Chunks, admission orders, preemptions and evictions are drawn from --seed, as are tokens.
    """
    from workbench.cli.chaos import run_rounds

    raise typer.Exit(run_rounds(model, prompt or [], workload, rounds, engine, sampling, json))


@app.command()
def replay(
    session: Session,
    model: Annotated[
        str | None, typer.Option(help="The model's folder.", show_default="where it was recorded")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads, if not as recorded.", show_default=False)] = None,
    plugin: PluginFile = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Where an adapter lies now (repeatable).", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Run a session again and compare every step: plan, tokens, draws, logits. Exit code 1 if one differs."""
    from workbench.cli.replay import replay_session

    raise typer.Exit(replay_session(session, model, threads, json, plugin or [], adapter or []))


@app.command("kv-cost")
def kv_cost(
    session: Session,
    request: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this request (repeatable).", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's folder.", show_default="where it was recorded")
    ] = None,
    json: Json = False,
) -> None:
    """What a KV policy did to the logits: KL from the whole cache, for each token of a recorded run."""
    from workbench.cli.kv_cost import cost_of_session

    cost_of_session(session, request or [], model, json)


@app.command(cls=WithPlugins)
@spread
def export(
    session: Session,
    to: Annotated[str, typer.Option(metavar="FORMAT", help=f"The format: {FORMAT_NAMES}, or a plugin's.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is standard output.")],
    force: Force = False,
    json: Json = False,
    plugin: Plugins = None,
    *,
    flags: ExportFlags,
) -> None:
    """Write a session, or a part of it, in a format that other tools read."""
    from workbench.cli.export import export_session

    export_session(session, to, output, force, json, flags, plugin or [])


@app.command()
def explain(
    session: Session,
    request: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this request (repeatable).", show_default=False)
    ] = None,
    branch: Annotated[
        int | None,
        typer.Option(help="A branch and the history it continues.", show_default="the latest"),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="NAME=VALUE,…",
            help="Compare with other options, such as block-size=4,policy=lpm (repeatable).",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say why requests waited, missed the cache and were preempted, and what that cost."""
    from workbench.cli.explain import explain_session

    raise typer.Exit(explain_session(session, request or [], branch, what_if or [], json))


@sessions_app.command("ls")
def sessions_ls(json: Json = False) -> None:
    """List the sessions in this user's folder, the newest first."""
    from workbench.cli.sessions import list_sessions

    list_sessions(json)


@sessions_app.command("show")
def sessions_show(session: Session, json: Json = False) -> None:
    """Say what a session holds: the run, its model and its requests."""
    from workbench.cli.sessions import show_session

    show_session(session, json)


@sessions_app.command("rm")
def sessions_rm(
    session: Annotated[list[str], typer.Argument(metavar="SESSION", help="Files, or names from `sessions ls`.")],
    force: Annotated[bool, typer.Option("--force", help="Delete what is growing or damaged, too.")] = False,
    json: Json = False,
) -> None:
    """Delete sessions."""
    from workbench.cli.sessions import remove_sessions

    remove_sessions(session, force, json)


@sessions_app.command("pack")
def sessions_pack(
    session: Session,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, such as run.wbpack.")],
    model: Annotated[
        Path | None, typer.Option(help="The folder of its model.", show_default="where it was recorded")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write one portable file: the session and its model's small files, all that replay needs but the weights."""
    from workbench.cli.pack import pack

    pack(session, output, model, force, json)


@sessions_app.command("import", cls=WithPlugins)
def sessions_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `sessions pack` wrote.")],
    name: Annotated[
        str | None, typer.Option(help="What to call it here.", show_default="as it was called")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="A plugin's importer.", show_default="a pack")
    ] = None,
    plugin: Plugins = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put the session of a packed file among this user's, or one that a plugin reads from FILE."""
    from workbench.cli.importing import import_with
    from workbench.cli.pack import take

    if from_ is None:
        take(file, name, force, json)
    else:
        import_with(file, from_, plugin or [], name, force, json)


@models_app.command("ls")
def models_ls(
    path: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Folders to search.", show_default="here")
    ] = None,
    json: Json = False,
) -> None:
    """List models: those that ship with the project, those in folders, those in the Hugging Face cache."""
    from workbench.cli.models import list_models

    list_models(path or [], json)


@models_app.command("show")
def models_show(model: Model = None, json: Json = False) -> None:
    """Say what a model folder holds, and whether this engine runs it."""
    from workbench.cli.models import show_model

    show_model(model, json)


@adapters_app.command("show")
def adapters_show(
    adapter: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of an adapter.")],
    model: Model = None,
    prompt: Annotated[
        str | None, typer.Option(help="Show what it does to the token after this text.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Say which projections of MODEL an adapter changes most, and what it does to a token's logits."""
    from workbench.cli.adapters import show_adapter

    show_adapter(adapter, model, prompt, json)


@plugins_app.command("ls")
def plugins_ls(json: Json = False) -> None:
    """List the plugins that are installed, and those that ship with the project."""
    from workbench.cli.plugins import list_plugins

    list_plugins(json)


@plugins_app.command("show")
def plugins_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `plugins ls`, or a file.")],
    json: Json = False,
) -> None:
    """Say what a plugin brings, and which options it takes."""
    from workbench.cli.plugins import show_plugin

    show_plugin(name, json)


@plugins_app.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write.", show_default="NAME, here")
    ] = None,
    json: Json = False,
) -> None:
    """Write a small plugin that works, as a package with a test."""
    from workbench.cli.plugins import new_plugin

    new_plugin(name, output, json)


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder or a name, as of `record`.")],
    method: Annotated[
        str, typer.Option(metavar="METHOD[=OPTIONS]", help="Such as int4, or gptq=group:32,keep:down.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write MODEL again with its weights in fewer bits: by int8, w8a8, int4, gptq, awq or nf4."""
    from workbench.cli.quantize import quantize_model

    quantize_model(model, method, output, force, json)


@app.command("compare-quant")
def compare_quant(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder or a name, as of `record`.")],
    methods: Annotated[
        str, typer.Option(metavar="METHOD[=OPTIONS],…", help="What to compare, as `quantize` takes it.")
    ] = "int8,int4,gptq,awq",
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The text to predict.", show_default="a bundled sample")
    ] = None,
    window: Annotated[int, typer.Option(help="Tokens that the model sees at once.")] = 512,
    each: Annotated[bool, typer.Option("--each", help="Try each layer alone, and all but each.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Measure again what was measured before.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Say how far it is, line by line.")] = False,
    json: Json = False,
) -> None:
    """Measure what quantizing does to MODEL: bytes, perplexity, KL, flipped tokens, layers to blame."""
    from workbench.cli.compare_quant import CompareOrder, compare_methods

    compare_methods(CompareOrder(model, methods, text, window, each, force, progress), json)


@app.command("bench-spec")
def bench_spec(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder or a name, as of `record`.")],
    drafts: Annotated[
        str, typer.Option(metavar="PLUGIN[=OPTIONS],…", help="What drafts, as --plugin takes it.")
    ] = "ngram,draft",
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The text that prompts are cut from.", show_default="a bundled sample"),
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="How many.")] = 4,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each prompt.")] = 128,
    max_tokens: Annotated[int, typer.Option(help="Tokens to generate after each.")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is decoded by each.")] = 3,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch.", show_default=False)] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Say how far it is, line by line.")] = False,
    json: Json = False,
) -> None:
    """Compare speculative decoding with plain decoding on MODEL: acceptance, tokens per forward, speed-up."""
    from workbench.cli.bench_spec import SpecOrder, compare_drafts

    compare_drafts(
        SpecOrder(
            model, drafts, text, prompts, prompt_tokens, max_tokens, rounds, temperature, threads, progress
        ),
        json,
    )


@app.command()
def doctor(json: Json = False) -> None:
    """Check what the workbench needs of this machine; exit code 1 when something is missing."""
    from workbench.cli.doctor import examine

    raise typer.Exit(examine(json))


@app.command("_engine", hidden=True)
def engine_(plugin_file: Annotated[list[Path] | None, typer.Argument()] = None) -> None:
    """Serve an engine over standard input and output."""
    from workbench.cli.engine_process import serve_engine

    raise typer.Exit(serve_engine(plugin_file or []))


def main() -> int:
    """The console script; the exit code."""
    return run_command(app, sys.argv[1:], default="run")


if __name__ == "__main__":
    sys.exit(main())
