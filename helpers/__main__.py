"""The command line: `python -m helpers COMMAND`, in the same words as the package."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import zoo
from helpers.errors import HelpersError, WeightsError, printable

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
    predict.add_argument("--model", default="ResNet50", metavar="NAME")
    predict.add_argument("--top", type=_positive, default=5, metavar="K")

    extract = command("extract", _extract, "class folders to bottleneck features in one HDF5 file")
    extract.add_argument("folder", metavar="FOLDER")
    extract.add_argument("out", metavar="OUT.h5")
    extract.add_argument("--model", default="MobileNet", metavar="NAME")
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

    about = "see, get and prove weight files"
    actions = commands.add_parser("weights", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )
    command("list", _weights_list, "list the published files, and those that are here", actions)
    fetch = command("fetch", _weights_fetch, "get weight files", actions)
    fetch.add_argument("models", nargs="+", metavar="NAME")
    fetch.add_argument("--notop", action="store_true", help="the file without the classifier")
    command("verify", _weights_verify, "prove the weight files that are here", actions)
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
    from helpers import images, zoo

    net = zoo.load(options.model)
    answers: list[dict[str, Any]] = []
    for file in options.images:
        notes: list[str] = []
        try:
            picture = images.load(file, notes)
        except HelpersError as error:
            answers.append({"file": file, "error": str(error)})
            _print_error(error)
            continue
        for note in notes:
            _print_error(f"noted {file}: {note}")
        best = net.decode(net.model.predict_on_batch(net.preprocess(picture)), options.top)[0]
        answers.append({
            "file": file,
            "model": net.name,
            "weights": net.weights,
            "predictions": [
                {"wnid": wnid, "label": label, "probability": probability}
                for wnid, label, probability in best
            ],
        })  # fmt: skip
        if not options.json:
            shown = ", ".join(f"{label} {probability:.3f}" for _, label, probability in best)
            print(printable(f"{file} ({net.name}): {shown}"))
    if options.json:
        _print_json(answers)
    return 1 if any("error" in answer for answer in answers) else 0


def _extract(options: argparse.Namespace) -> int:
    from helpers import bottlenecks, cluster, datasets, partfile

    zoo.find(options.model)  # what is wrong with the command is said before TensorFlow loads
    datasets.class_folders(options.folder)
    out = Path(options.out)
    if not partfile.is_settled(out):
        with partfile.held(out):
            pass
    if options.scheduler or options.workers:
        cluster.check_installed()
    from helpers import zoo

    net = zoo.load(options.model, include_top=False, pooling="avg")
    how = {"batch_size": options.batch_size, "engine": options.engine}
    if options.scheduler or options.workers:
        where = {"scheduler": options.scheduler, "workers": options.workers}
        done = cluster.extract(options.folder, out, net, **where, **how)
    else:
        done = bottlenecks.extract(options.folder, out, net, **how)
    for file, reason in done.skipped:
        _print_error(f"skipped {file}: {reason}")
    for file, note in done.noted:
        _print_error(f"noted {file}: {note}")
    if options.json:
        skipped = [{"file": file, "reason": reason} for file, reason in done.skipped]
        found = dataclasses.asdict(done) | {"skipped": skipped}
        del found["noted"]
        if not done.note:
            del found["note"]
        _print_json(found)
    else:
        model = bottlenecks.describe(out)["fingerprint"]["model"]
        print(
            f"{options.out}: {done.images} pictures through {model}, "
            f"{len(done.skipped)} skipped, {done.seconds:.1f} s "
            f"({done.images_per_second:.0f} pictures/s, {done.engine})"
        )
    return 0


def _train(options: argparse.Namespace) -> int:
    from helpers import finetune

    head = finetune.train_head(options.train, options.test, seed=options.seed)
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
    if not options.weights and weights.policy() == "bundled":
        raise WeightsError(
            "HELPERS_WEIGHTS=bundled asks for what came by pip, and no music tagger did. Set it to "
            "auto: its weight file (1.5 MB) is then looked for here, and downloaded once. Or give "
            "a file with --weights."
        )
    path = options.weights or weights.fetch(weights.MUSIC_TAGGER)
    model = music_tagger.MusicTaggerCRNN(path)
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
        here = found.copies[0] if found.copies else None
        rows.append({
            "model": found.model,
            "include_top": found.include_top,
            "use": found.use,
            "size_mb": round(here.stat().st_size / 2**20 if here else found.file.size_mb, 1),
            "path": str(here) if here else None,
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
        broken = f"{row['arrived_mb']} MB have come; fetch goes on from there"
        where = row["path"] or (broken if row["arrived_mb"] else "-")
        print(f"{row['model']:20}{row['use']:13}{row['size_mb']:>6.0f}  {where}")
    print(
        f"{sum(row['path'] is not None for row in rows)} of {len(rows)} files are here; the sizes "
        f"of the others are computed. {zoo.BUNDLED} needs none: it came by pip."
    )
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

    proofs = weights.verify()
    if options.json:
        _print_json([
            {
                "model": proof.model,
                "include_top": proof.include_top,
                "path": str(proof.path),
                "proof": proof.proof,
                "ok": not proof.problem,
                "problem": proof.problem or None,
            }
            for proof in proofs
        ])  # fmt: skip
    else:
        for proof in proofs:
            print(f"{'FIX' if proof.problem else 'ok '}  {proof.path} ({proof.proof})")
            if proof.problem:
                print(f"     {proof.problem.removesuffix('.')}. Remove it, and fetch it again.")
        print(f"{len(proofs)} files are here, {sum(not p.problem for p in proofs)} of them right.")
    return 1 if any(proof.problem for proof in proofs) else 0


def _weights_where(options: argparse.Namespace) -> int:
    from helpers import weights

    places = [
        {"place": str(folder), "use": "searched", "exists": folder.is_dir()}
        for folder in weights.folders()
    ]
    places[-1]["use"] = "searched, and downloaded to"
    places += [
        {
            "place": mirror,
            "use": "mirror",
            "exists": None if "://" in mirror else os.path.isdir(mirror),
        }
        for mirror in weights.mirrors()
    ]
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
