"""The command line: `python -m helpers COMMAND`, in the same words as the package."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import zoo
from helpers.errors import HelpersError, printable

FACTS = (
    "name", "family", "year", "parameters", "size_mb", "top1", "top5", "depth", "input_size",
    "min_size", "preprocessing", "paper", "source",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all went well, 1 after an error, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except HelpersError as error:
        _print_error(error)
    except KeyboardInterrupt:
        print("helpers: stopped; the same command goes on from here", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m helpers", description="Network image networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str, among: Any = commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--json", action="store_true", help="print one JSON value and nothing else"
        )
        return sub

    command("doctor", _doctor, "see whether this machine is ready")
    command("models", _models, "list the catalogue")

    predict = command("predict", _predict, "say what pictures show")
    predict.add_argument("images", nargs="+", metavar="IMAGE")
    predict.add_argument("--model", default=zoo.BUNDLED, metavar="NAME")
    predict.add_argument("--top", type=_positive, default=5, metavar="K")

    extract = command("extract", _extract, "class folders to bottleneck features in one HDF5 file")
    extract.add_argument("folder", metavar="FOLDER")
    extract.add_argument("out", metavar="OUT.h5")
    extract.add_argument("--model", default=zoo.BUNDLED, metavar="NAME")
    extract.add_argument("--batch-size", type=_positive, default=32, metavar="N")
    extract.add_argument(
        "--engine",
        choices=("auto", "tensorflow", "onnx"),
        default="auto",
        help="what computes; auto: ONNX Runtime on a CPU, TensorFlow on a GPU",
    )
    where = extract.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="have a dask cluster compute it")
    where.add_argument("--workers", type=_positive, metavar="N", help="compute it in N processes")

    train = command("train", _train, "train a head on features, score it on others")
    train.add_argument("train", metavar="TRAIN.h5")
    train.add_argument("test", metavar="TEST.h5")
    train.add_argument("--seed", type=int, default=0, metavar="N")

    h5 = command("h5", _h5, "show what is inside a weight file")
    h5.add_argument("file", metavar="FILE")

    tag = command("tag", _tag, "say what a piece of music sounds like")
    tag.add_argument("file", metavar="FILE.npy|AUDIO")
    tag.add_argument("--weights", metavar="FILE", help="default: the author's, fetched once")
    tag.add_argument("--top", type=_positive, default=5, metavar="K")

    about = "list, fetch and verify weight files"
    actions = commands.add_parser("weights", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )
    command("list", _weights_list, "list the published files, and those that are here", actions)
    fetch = command("fetch", _weights_fetch, "get weight files", actions)
    fetch.add_argument("models", nargs="+", metavar="NAME")
    fetch.add_argument("--notop", action="store_true", help="the file without the classifier")
    command("verify", _weights_verify, "verify the weight files that are here", actions)
    command("where", _weights_where, "say where weight files are looked for", actions)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from helpers import doctor

    findings = doctor.examine()
    if options.json:
        _print_json([dataclasses.asdict(finding) | {"ok": finding.ok} for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok ' if finding.ok else 'FIX'}  {finding.what}: {finding.found}")
            if finding.fix:
                print(f"     {finding.fix}")
    return 0 if all(finding.ok for finding in findings) else 1


def _models(options: argparse.Namespace) -> int:
    if options.json:
        _print_json([{fact: getattr(e, fact) for fact in FACTS} for e in zoo.entries()])
        return 0
    print(
        f"{'name':20}{'year':>6}{'parameters':>14}{'MB':>7}{'top-1':>8}{'input':>7}  preprocessing"
    )
    for e in zoo.entries():
        print(
            f"{e.name:20}{e.year:>6}{e.parameters:>14,}{e.size_mb:>7.0f}{e.top1:>8.3f}"
            f"{e.input_size:>7}  {e.preprocessing}"
        )
    return 0


def _predict(options: argparse.Namespace) -> int:
    from helpers import images

    network = zoo.load(options.model)
    answers: list[dict[str, Any]] = []
    for file in options.images:
        notes: list[str] = []
        try:
            picture = images.load(file, notes=notes)
        except HelpersError as error:
            answers.append({"file": file, "error": str(error)})
            _print_error(error)
            continue
        for note in notes:
            _print_error(f"noted {file}: {note}")
        best = network.decode(
            network.model.predict_on_batch(network.preprocess(picture)), options.top
        )[0]
        answers.append({
            "file": file,
            "model": network.name,
            "weights": network.weights,
            "predictions": [
                {"wnid": wnid, "label": label, "probability": probability}
                for wnid, label, probability in best
            ],
        })  # fmt: skip
        if not options.json:
            shown = ", ".join(f"{label} {probability:.3f}" for _, label, probability in best)
            print(printable(f"{file} ({network.name}): {shown}"))
    if options.json:
        _print_json(answers)
    return 1 if any("error" in answer for answer in answers) else 0


def _extract(options: argparse.Namespace) -> int:
    from helpers import bottlenecks, datasets, features

    # What is wrong with the command is said before TensorFlow loads.
    zoo.find(options.model)
    datasets.class_folders(options.folder)
    features.check_writable(Path(options.out))
    cluster = {"workers": options.workers, "scheduler": options.scheduler}
    if any(cluster.values()):
        bottlenecks.check_cluster(**cluster)
    network = zoo.load(options.model, include_top=False, pooling="avg")
    how = {"batch_size": options.batch_size, "engine": options.engine}
    done = bottlenecks.extract(options.folder, options.out, network, **how, **cluster)
    for file, reason in done.skipped:
        _print_error(f"skipped {file}: {reason}")
    for file, note in done.noted:
        _print_error(f"noted {file}: {note}")
    if options.json:
        found = dataclasses.asdict(done)
        found["skipped"] = [{"file": file, "reason": reason} for file, reason in done.skipped]
        del found["noted"]
        if not done.note:
            del found["note"]
        _print_json(found)
    else:
        print(
            f"{options.out}: {done.images} pictures through {network.name}, "
            f"{len(done.skipped)} skipped, {done.seconds:.1f} s "
            f"({done.images_per_second:.0f} pictures/s, {done.engine})"
        )
    return 0


def _train(options: argparse.Namespace) -> int:
    from helpers import heads

    head = heads.train(options.train, options.test, seed=options.seed)
    if options.json:
        fields = ("accuracy", "loss", "classes", "epochs", "seconds")
        _print_json({field: getattr(head, field) for field in fields})
    else:
        print(
            f"test accuracy {head.accuracy:.3f}, loss {head.loss:.3f} "
            f"on {len(head.classes)} classes, after {head.epochs} epochs in {head.seconds:.1f} s"
        )
    return 0


def _h5(options: argparse.Namespace) -> int:
    from helpers import h5files

    tree = h5files.tree(options.file)
    if not options.json:
        print(tree)
        return 0
    layers = [
        {"name": layer.name, "weights": [weight._asdict() for weight in layer.weights]}
        for layer in tree.layers
    ]
    _print_json({"layout": tree.layout, "layers": layers, "parameters": tree.parameters})
    return 0


def _tag(options: argparse.Namespace) -> int:
    from helpers import weights
    from helpers.applications import music_tagger_crnn as music_tagger

    stored = options.file.lower().endswith(".npy")
    read = music_tagger.read_spectrogram if stored else music_tagger.preprocess_input
    clip = read(options.file)
    model = music_tagger.MusicTaggerCRNN(
        weights=options.weights or weights.fetch("MusicTaggerCRNN")
    )
    probabilities = model.predict_on_batch(clip[None])
    tags = music_tagger.decode_predictions(probabilities, options.top)[0]
    if options.json:
        _print_json({"tags": tags})
    else:
        shown = ", ".join(f"{tag} {probability:.3f}" for tag, probability in tags)
        print(f"{options.file}: {shown}")
    return 0


def _weights_list(options: argparse.Namespace) -> int:
    from helpers import weights

    listing = weights.listing()
    rows: list[dict[str, Any]] = []
    for found in listing:
        size = found.path.stat().st_size / 2**20 if found.path else found.file.size_mb
        rows.append({
            "model": found.model,
            "include_top": found.include_top,
            "use": found.use,
            "size_mb": round(size, 1),
            "path": str(found.path) if found.path else None,
            "arrived_mb": round(found.arrived / 2**20, 1),
            "file": found.file.name,
            "url": found.file.url,
            "hash": found.file.hash,
        })  # fmt: skip
    if options.json:
        _print_json(rows)
        return 0
    print(f"{'model':20}{'for':13}{'MB':>6}  where")
    for row in rows:
        unfinished = f"{row['arrived_mb']} MB have come; fetch goes on from there"
        where = row["path"] or (unfinished if row["arrived_mb"] else "-")
        print(f"{row['model']:20}{row['use']:13}{row['size_mb']:>6.0f}  {where}")
    here = sum(row["path"] is not None for row in rows)
    print(f"{here} of {len(rows)} files are here; the sizes of the others are computed.")
    print(f"{zoo.BUNDLED} needs none: its weights came with pip.")
    return 0


def _weights_fetch(options: argparse.Namespace) -> int:
    from helpers import weights

    for name in options.models:
        weights.published(name)  # a misspelt name is said before the first download
    done: list[dict[str, Any]] = []
    for name in options.models:
        answer = {"model": name, "include_top": not options.notop}
        try:
            answer["path"] = str(weights.fetch(name, not options.notop))
        except HelpersError as error:
            answer["error"] = str(error)
            _print_error(error)
        done.append(answer)
        if "path" in answer and not options.json:
            print(f"{name}: {answer['path']}")
    if options.json:
        _print_json(done)
    return 1 if any("error" in answer for answer in done) else 0


def _weights_verify(options: argparse.Namespace) -> int:
    from helpers import weights

    found = weights.verify()
    if options.json:
        _print_json([
            {
                "model": file.model,
                "include_top": file.include_top,
                "path": str(file.path),
                "verified_by": file.verified_by,
                "ok": not file.problem,
                "problem": file.problem or None,
            }
            for file in found
        ])  # fmt: skip
    else:
        for file in found:
            print(f"{'FIX' if file.problem else 'ok '}  {file.path} ({file.verified_by})")
            if file.problem:
                print(f"     {file.problem.removesuffix('.')}. Remove it, and fetch it again.")
        right = sum(not file.problem for file in found)
        print(f"{len(found)} files are here, {right} of them right.")
    return 1 if any(file.problem for file in found) else 0


def _weights_where(options: argparse.Namespace) -> int:
    from helpers import downloads, weights

    cache = weights.cache()
    places = [{"place": str(cache), "use": "searched, and fetched to", "exists": cache.is_dir()}]
    for mirror in weights.mirrors():
        exists = None if "://" in mirror else Path(mirror).is_dir()
        places.append({"place": downloads.shown(mirror), "use": "mirror", "exists": exists})
    if options.json:
        _print_json(places)
    else:
        for place in places:
            missing = "  (no such folder)" if place["exists"] is False else ""
            print(f"{place['use']:28}{place['place']}{missing}")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def _print_error(error: HelpersError | str) -> None:
    print(f"helpers: {printable(' '.join(str(error).split()))}", file=sys.stderr)


def _print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    # What no encoding has, such as a byte of a name that is not UTF-8, JSON writes as \udce9 too.
    print(text.encode("utf-8", "backslashreplace").decode())


if __name__ == "__main__":
    sys.exit(main())
