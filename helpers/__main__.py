"""The command line: `python -m helpers COMMAND`, in the same words as the package."""

import argparse
import functools
import glob
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers import zoo
from helpers.errors import HelpersError, printable

if TYPE_CHECKING:
    from helpers.engine import Prepared


class Answer(NamedTuple):
    """What a command found: `value` for `--json`, or else `text`; and whether all went well."""

    value: Any
    text: str = ""
    ok: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments, or this process's, are; return the exit code.

    It is 0 if all went well and 1 after an error. Wrong usage exits with 2 at once.
    """
    _prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        answer: Answer = options.run(options)
        if options.json:
            print(json.dumps(answer.value, indent=1, default=str))  # paths
        elif answer.text:
            print(printable(answer.text))
        sys.stdout.flush()
        return 0 if answer.ok else 1
    except KeyboardInterrupt as error:
        resumed = options.run in (_extract, _weights_fetch)
        _print_error("stopped; the same command goes on from here" if resumed else "stopped", error)
    except BrokenPipeError:  # as of `| head`, which has read enough
        pass
    except (HelpersError, OSError) as error:
        _print_error(str(error), error)
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # or Python tries it again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _prepare_streams() -> None:
    """Let output and errors go anywhere: to consoles of few characters, and where `2>&-` closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    about = "Use pretrained image networks."
    parser = argparse.ArgumentParser("python -m helpers", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, among: Any = commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON value only")
        return sub

    command("doctor", _doctor, "see whether this machine is ready")
    command("models", _models, "list the networks and the facts about them")

    predict = command("predict", _predict, "say what pictures show")
    path = os.path.expanduser
    predict.add_argument("images", nargs="+", metavar="IMAGE", type=path)
    predict.add_argument("--model", default=zoo.BUNDLED, metavar="NAME")
    predict.add_argument("--top", type=_positive, default=5, metavar="K")
    about = "what computes; auto: ONNX Runtime on a CPU, TensorFlow on a GPU"
    engines = ("auto", "tensorflow", "onnx")
    predict.add_argument("--engine", choices=engines, default="auto", help=about)

    extract = command("extract", _extract, "class folders to bottleneck features in one HDF5 file")
    extract.add_argument("folder", metavar="FOLDER", type=path)
    extract.add_argument("out", metavar="OUT.h5", type=path)
    extract.add_argument("--batch-size", type=_positive, default=32, metavar="N")
    extract.add_argument("--engine", choices=engines, default="auto", help=about)
    extract.add_argument("--model", default=zoo.BUNDLED, metavar="NAME")
    where = extract.add_mutually_exclusive_group()
    about = "have a dask cluster compute it, one that you trust: it can run code here"
    where.add_argument("--scheduler", metavar="ADDRESS", help=about)
    where.add_argument("--workers", type=_positive, metavar="N", help="compute it in N processes")

    train = command("train", _train, "train a head on features, score it on others")
    train.add_argument("train", metavar="TRAIN.h5", type=path)
    train.add_argument("test", metavar="TEST.h5", type=path)
    train.add_argument("--seed", type=int, default=0, metavar="N")

    h5 = command("h5", _h5, "show what is inside a weight file")
    h5.add_argument("file", metavar="FILE", type=path)

    tag = command("tag", _tag, "say what a piece of music sounds like")
    tag.add_argument("file", metavar="FILE.npy|AUDIO", type=path)
    about = "default: the author's, fetched once"
    tag.add_argument("--weights", metavar="FILE", type=path, help=about)
    tag.add_argument("--top", type=_positive, default=5, metavar="K")

    about = "list, fetch and verify weight files"
    weights = commands.add_parser("weights", help=about, description=about)
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    command("list", _weights_list, "list the published files, and those that are here", actions)
    fetch = command("fetch", _weights_fetch, "get weight files", actions)
    fetch.add_argument("models", nargs="+", metavar="NAME")
    fetch.add_argument("--notop", action="store_true", help="the file without the classifier")
    command("verify", _weights_verify, "verify the weight files that are here", actions)
    command("where", _weights_where, "say where weight files are looked for", actions)
    return parser


def _doctor(_: argparse.Namespace) -> Answer:
    from helpers import doctor

    findings = doctor.examine()
    lines = [_checked(f"{finding.what}: {finding.found}", finding.fix) for finding in findings]
    value = [_fields(finding, "what found fix ok") for finding in findings]
    return Answer(value, "\n".join(lines), all(finding.ok for finding in findings))


def _models(_: argparse.Namespace) -> Answer:
    facts = "name family year parameters size_mb top1 top5 depth input_size min_size preprocessing"
    lines = [
        f"{'name':20}{'year':>6}{'parameters':>14}{'MB':>7}{'top-1':>8}{'input':>7}  preprocessing"
    ]
    for e in zoo.entries():
        lines.append(
            f"{e.name:20}{e.year:>6}{e.parameters:>14,}{e.size_mb:>7.0f}{e.top1:>8.3f}"
            f"{e.input_size:>7}  {e.preprocessing}"
        )
    value = [_fields(entry, f"{facts} paper source") for entry in zoo.entries()]
    return Answer(value, "\n".join(lines))


def _predict(options: argparse.Namespace) -> Answer:
    from helpers import images

    entry = zoo.find(options.model)
    prepared: Prepared | None = None
    answers: list[dict[str, Any]] = []
    for file in [file for image in options.images for file in _matching(image)]:
        notes: list[str] = []
        try:
            picture = images.load(file, entry.input_size, notes)
        except HelpersError as error:
            answers.append({"file": file, "error": str(error)})
            _print_error(str(error))
            continue
        for note in notes:
            _print_error(f"noted {file}: {note}")
        if prepared is None:
            prepared = _prepared(entry, options.engine, include_top=True)
            if prepared.engine.note:
                _print_error(prepared.engine.note)
        probabilities = prepared.engine.run(images.scale(picture[None], entry.preprocessing))
        best = zoo.decode(probabilities, zoo.imagenet_classes(), options.top)[0]
        found = [dict(zip(("wnid", "label", "probability"), each, strict=True)) for each in best]
        answer = {"file": file, "model": entry.name, "weights": zoo.source(entry)}
        answers.append(answer | {"predictions": found})
        if not options.json:  # each at once, for there may be many
            shown = ", ".join(f"{label} {probability:.3f}" for _, label, probability in best)
            print(printable(f"{file} ({entry.name}): {shown}"))
    return Answer(answers, ok=not any("error" in answer for answer in answers))


def _prepared(entry: zoo.Entry, wanted: str, include_top: bool) -> "Prepared":
    """What computes a network's answers; one that was used before comes without TensorFlow."""
    from importlib import metadata

    from helpers import engine, weights

    published = entry.weights if include_top else entry.weights_notop
    file = weights.cache() / published.name if published else None
    stat = file.stat() if file and file.is_file() else None
    stamp = (stat.st_size, stat.st_mtime_ns) if stat else zoo.source(entry, include_top)
    versions = f"Keras {metadata.version('keras')}, engine {wanted}"
    name = f"{entry.name}, include_top={include_top}, {stamp}, {versions}"
    if wanted != "tensorflow" and (found := engine.remembered(name)):
        return found
    from helpers import bottlenecks

    network = zoo.load(entry.name, include_top, None if include_top else "avg")
    if wanted != "tensorflow":
        print(
            f"helpers: preparing {entry.name} for ONNX Runtime, once; the next start is quick",
            file=sys.stderr,
        )
    chosen = bottlenecks.choose_engine(network, wanted)
    prepared = engine.Prepared(chosen, bottlenecks.facts(network))
    engine.remember(name, prepared)
    return prepared


def _extract(options: argparse.Namespace) -> Answer:
    from helpers import bottlenecks

    entry = zoo.find(options.model)
    done = bottlenecks.extract(
        options.folder,
        options.out,
        functools.partial(_prepared, entry, options.engine, include_top=False),
        options.batch_size,
        workers=options.workers,
        scheduler=options.scheduler,
    )
    for file, reason in done.skipped:
        _print_error(f"skipped {file}: {reason}")
    for file, note in done.noted:
        _print_error(f"noted {file}: {note}")
    note = " note" if done.note else ""
    value = _fields(done, f"images skipped resumed_from seconds images_per_second engine{note}")
    value["skipped"] = [{"file": file, "reason": reason} for file, reason in done.skipped]
    return Answer(
        value,
        f"{options.out}: {done.images} pictures through {entry.name}, "
        f"{len(done.skipped)} skipped, {done.seconds:.1f} s "
        f"({done.images_per_second:.0f} pictures/s, {done.engine})",
    )


def _train(options: argparse.Namespace) -> Answer:
    from helpers import heads

    head = heads.train(options.train, options.test, seed=options.seed)
    return Answer(
        _fields(head, "accuracy loss classes epochs seconds"),
        f"test accuracy {head.accuracy:.3f}, loss {head.loss:.3f} "
        f"on {len(head.classes)} classes, after {head.epochs} epochs in {head.seconds:.1f} s",
    )


def _h5(options: argparse.Namespace) -> Answer:
    from helpers import h5files

    tree = h5files.tree(options.file)
    layers = [
        {"name": layer.name, "weights": [_fields(w, "name shape dtype") for w in layer.weights]}
        for layer in tree.layers
    ]
    value = {"layout": tree.layout, "layers": layers, "parameters": tree.parameters}
    return Answer(value, str(tree))


def _tag(options: argparse.Namespace) -> Answer:
    from helpers.applications import music_tagger_crnn as music_tagger

    stored = options.file.lower().endswith(".npy")
    read = music_tagger.read_spectrogram if stored else music_tagger.preprocess_input
    clip = read(options.file)
    model = music_tagger.MusicTaggerCRNN(weights=options.weights or "msd")
    probabilities = model.predict_on_batch(clip[None])
    tags = music_tagger.decode_predictions(probabilities, options.top)[0]
    shown = ", ".join(f"{tag} {probability:.3f}" for tag, probability in tags)
    return Answer({"tags": tags}, f"{options.file}: {shown}")


def _weights_list(_: argparse.Namespace) -> Answer:
    from helpers import weights

    rows, lines = [], [f"{'model':20}{'for':13}{'MB':>6}  where"]
    for found in weights.listing():
        size = found.path.stat().st_size / 2**20 if found.path else found.file.size_mb
        arrived = round(found.arrived / 2**20, 1)
        where = {"size_mb": round(size, 1), "path": found.path, "arrived_mb": arrived}
        file = {"file": found.file.name} | _fields(found.file, "url hash")
        rows.append(_fields(found, "model include_top use") | where | file)
        begun = f"{arrived} MB have come; fetch goes on from there" if arrived else "-"
        lines.append(f"{found.model:20}{found.use:13}{size:>6.0f}  {found.path or begun}")
    here = sum(row["path"] is not None for row in rows)
    lines.append(f"{here} of {len(rows)} files are here; the sizes of the others are computed.")
    lines.append(f"{zoo.BUNDLED} needs none: its weights came with pip.")
    return Answer(rows, "\n".join(lines))


def _weights_fetch(options: argparse.Namespace) -> Answer:
    from helpers import weights

    for name in options.models:
        weights.published(name)  # a misspelt name is said before the first download
    answers: list[dict[str, Any]] = []
    for name in options.models:
        answer: dict[str, Any] = {"model": name, "include_top": not options.notop}
        try:
            answer["path"] = weights.fetch(name, not options.notop)
        except HelpersError as error:
            answer["error"] = str(error)
            _print_error(str(error))
        answers.append(answer)
        if "path" in answer and not options.json:  # at once, for the next one may take long
            print(printable(f"{name}: {answer['path']}"))
    return Answer(answers, ok=not any("error" in answer for answer in answers))


def _weights_verify(_: argparse.Namespace) -> Answer:
    from helpers import weights

    rows, lines = [], []
    for file in weights.verify():
        said = {"ok": not file.problem, "problem": file.problem or None}
        rows.append(_fields(file, "model include_top path verified_by") | said)
        fix = file.problem and f"{file.problem.removesuffix('.')}. Remove it, and fetch it again."
        lines.append(_checked(f"{file.path} ({file.verified_by})", fix))
    right = sum(row["ok"] for row in rows)
    lines.append(f"{len(rows)} files are here, {right} of them right.")
    return Answer(rows, "\n".join(lines), right == len(rows))


def _weights_where(_: argparse.Namespace) -> Answer:
    from helpers import downloads, weights

    cache = weights.cache()
    places = [{"place": cache, "use": "searched, and fetched to", "exists": cache.is_dir()}]
    for mirror in weights.mirrors():
        exists = None if "://" in mirror else Path(mirror).is_dir()
        places.append({"place": downloads.shown(mirror), "use": "mirror", "exists": exists})
    lines = [
        f"{place['use']:28}{place['place']}{'  (no such folder)' * (place['exists'] is False)}"
        for place in places
    ]
    return Answer(places, "\n".join(lines))


def _fields(item: Any, names: str) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names.split()}


def _checked(what: str, fix: str) -> str:
    return f"FIX  {what}\n     {fix}" if fix else f"ok   {what}"


def _matching(pattern: str) -> list[str]:
    """Expand `*.jpg`, which a console of Windows leaves to the program."""
    return [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern)) or [pattern]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def _print_error(text: str, error: BaseException | None = None) -> None:
    for line in [text, *getattr(error, "__notes__", [])]:
        print(f"helpers: {printable(' '.join(line.split()))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
