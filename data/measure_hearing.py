"""Measure how well networks hear what is in a clip of made-up sounds, and write hearing.csv.

    python data/measure_hearing.py            # about half an hour on one quiet core
    python data/measure_hearing.py --quick    # one seed and 40 clips, to try it

It goes on from the rows that are in the file already; delete the file to measure everything anew.

It is the comparison of lesson 12, with more clips and more controls. A seed decides which clips are
made for training and validation, how weights are initialised, and the order of the clips. In each
seed all methods get the same clips, a quarter as many for validation as for training, and are
trained by one rule: Adam, batches of 20, until the loss on the validation clips hasn't fallen for
ten epochs, or 150 epochs. The learning rate is chosen by the same loss: the better of 0.001 and
0.003, and for all but the CRNN, which takes long to train, the search goes on in that direction by
steps of about three, up to 0.1 and down to 0.0001, as long as the loss falls. The test clips are
the same for all seeds, and each chosen model is scored on them once: a row for each tag. Which
block of EfficientNet-Lite0 is read besides its last is chosen by the validation loss at 120 clips:
the rows without a tag. "pretrained top, reduced" is its last layer's 1280 numbers, reduced to as
many as the chosen block has by the training clips' principal components. The random networks'
BatchNorm has the statistics of 40 test clips, without their labels.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from helpers import engine, finetune
from helpers.applications.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.backend import keras

FILE = Path(__file__).with_name("hearing.csv")
KEPT = Path(__file__).parents[1] / "build" / "hearing.npz"  # spectrograms and features
COLUMNS = ("method", "clips", "seed", "setting", "validation_loss", "tag", "auc")
SIZES, CHOSEN_AT, SEEDS, TEST = (120, 40, 360), 120, range(3), 300
BLOCKS = ("block1a", "block2b", "block3b", "block4c", "block5c", "block6d", "block7a", "top")
RATE, SECONDS = 12_000, 3
RATES, FIRST = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1), 2
BATCH, EPOCHS, PATIENCE = 20, 150, 10
Data = dict[str, np.ndarray]

time = np.arange(SECONDS * RATE) / RATE


# The sounds, as in the lesson. A check cell there compares them.
def struck(hertz: float, start: float, fade: float) -> np.ndarray:
    """Return a tone that starts at once and fades."""
    since = np.maximum(time - start, 0)
    return np.sin(2 * np.pi * hertz * since) * np.exp(-since / fade) * (time >= start)


def tone(hertz: np.ndarray) -> np.ndarray:
    """Return a tone whose frequency changes."""
    return np.sin(2 * np.pi * np.cumsum(hertz) / RATE)


def bass(rng: np.random.Generator) -> np.ndarray:
    """Return low strokes at an even beat."""
    sound = np.zeros(len(time))
    for start in np.arange(rng.uniform(0, 0.5), SECONDS, rng.uniform(0.3, 0.6)):
        sound += struck(rng.choice([55, 65, 73, 82, 98]), start, 0.25)
    return sound


def bells(rng: np.random.Generator) -> np.ndarray:
    """Return strokes of any pitch, at any time."""
    sound = np.zeros(len(time))
    for start in rng.uniform(0, SECONDS, rng.integers(4, 9)):
        sound += struck(rng.uniform(400, 3500), start, 0.12)
    return sound


def drums(rng: np.random.Generator) -> np.ndarray:
    """Return bursts of noise at an even beat."""
    beats = time * rng.uniform(2, 4) + rng.uniform(0, 1)
    return rng.normal(size=len(time)) * np.exp(-12 * (beats % 1))


def hiss(rng: np.random.Generator) -> np.ndarray:
    """Return steady noise."""
    return 0.3 * rng.normal(size=len(time))


def siren(rng: np.random.Generator) -> np.ndarray:
    """Return a tone that swings up and down."""
    swing = np.sin(2 * np.pi * (rng.uniform(0.5, 1.5) * time + rng.random()))
    return tone(rng.uniform(500, 3000) * 2 ** (0.4 * swing))


def whistles(rng: np.random.Generator, direction: int) -> np.ndarray:
    """Return short tones that rise (1) or fall (-1) by about an octave."""
    sound = np.zeros(len(time))
    for start in rng.uniform(0, SECONDS - 0.6, rng.integers(2, 5)):
        length = int(rng.uniform(0.35, 0.6) * RATE)
        octaves = direction * rng.uniform(0.8, 1.2) * np.linspace(-0.5, 0.5, length)
        whistle = tone(rng.uniform(600, 2800) * 2**octaves) * np.hanning(length)
        first = int(start * RATE)
        sound[first : first + length] += whistle
    return sound


def rising(rng: np.random.Generator) -> np.ndarray:
    """Return whistles that rise."""
    return whistles(rng, 1)


def falling(rng: np.random.Generator) -> np.ndarray:
    """Return whistles that fall."""
    return whistles(rng, -1)


SOURCES = (bass, bells, drums, hiss, siren, rising, falling)
TAGS = tuple(source.__name__ for source in SOURCES)


def make_clip(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip, three seconds at 12 kHz, and which sources are in it."""
    rng = np.random.default_rng(number)
    present = rng.random(len(SOURCES)) < 0.4
    sound = 0.02 * rng.normal(size=len(time))
    for source, wanted in zip(SOURCES, present, strict=True):
        if wanted:
            sound += 10 ** rng.uniform(-1.3, 0) * source(rng)
    return sound, present


def to_decibels(sound: np.ndarray) -> np.ndarray:
    """Return a mel spectrogram in decibels: 64 bands, the lowest first, by 71 frames."""
    import librosa

    power = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=1024, hop_length=512, n_mels=64)
    return librosa.power_to_db(power).astype("float32")


def to_pictures(decibels: np.ndarray) -> np.ndarray:
    """Return grey pictures, (N, 224, 224, 3): low tones below, 0 for -40 and 255 for 40 dB."""
    pixels = np.clip((decibels[:, ::-1, :, np.newaxis] + 40) / 80, 0, 1) * 255
    pixels = keras.ops.convert_to_numpy(keras.ops.image.resize(pixels, (224, 224)))
    return np.repeat(pixels, 3, axis=-1)


def pooled(base: keras.Model) -> tuple[keras.Model, dict[str, slice]]:
    """Return a model that gives the averages of each block's maps, and where each is in it."""
    names, starts = zip(*finetune.blocks(base), strict=True)
    ends = [*starts[1:], len(base.layers)]
    outputs, places, at = [], {}, 0
    for name, end in zip(names, ends, strict=True):
        output = keras.layers.GlobalAveragePooling2D()(base.layers[end - 1].output)
        places[name] = slice(at, at + output.shape[-1])
        at += output.shape[-1]
        outputs.append(output)
    return keras.Model(base.input, keras.layers.Concatenate()(outputs)), places


def features(decibels: np.ndarray, weights: str | None, seed: int) -> Data:
    """Return the averages of the maps of EfficientNet-Lite0's blocks, pretrained or random."""
    keras.utils.set_random_seed(seed)
    base = EfficientNetLite0(weights=weights, include_top=False, input_shape=(224, 224, 3))
    if weights is None:  # its BatchNorm gets the statistics that these pictures have in it
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.5
        for _ in range(4):
            base(preprocess_input(to_pictures(decibels[:40])), training=True)
    model, places = pooled(base)
    chosen = engine.choose(model, "auto", preprocess_input(to_pictures(decibels[:2])))
    batches = [decibels[at : at + 20] for at in range(0, len(decibels), 20)]
    found = [chosen.run(preprocess_input(to_pictures(batch))) for batch in tqdm(batches)]
    rows = np.concatenate(found)
    return {name: rows[:, place] for name, place in places.items()}


def small_crnn(shape: tuple[int, ...], rate: float) -> keras.Model:
    """Return MusicTaggerCRNN made small, 20 935 parameters, compiled."""
    layers = keras.layers
    model = keras.Sequential([keras.Input(shape)])
    for filters, pool in ((16, (4, 2)), (32, (4, 2)), (32, (4, 2))):
        model.add(layers.Conv2D(filters, 3, padding="same"))
        # The default momentum, 0.99, is too slow for the few batches of an epoch.
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ELU())
        model.add(layers.MaxPooling2D(pool))
        model.add(layers.Dropout(0.1))
    model.add(layers.Reshape(model.output_shape[2:]))
    model.add(layers.GRU(32, unroll=True))
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(len(TAGS), activation="sigmoid"))
    model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy")
    return model


def train_crnn(x: Data, y: Data, rate: float) -> tuple[float, np.ndarray]:
    """Train until the validation loss stops falling; return the least, and the test answers."""
    model = small_crnn(x["train"].shape[1:], rate)
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    history = model.fit(
        x["train"], y["train"], batch_size=BATCH, epochs=EPOCHS, verbose=0,
        validation_data=(x["validation"], y["validation"]), callbacks=[stop],
    )  # fmt: skip
    return min(history.history["val_loss"]), model.predict(x["test"], verbose=0)


def train_head(x: Data, y: Data, rate: float) -> tuple[float, np.ndarray]:
    """Do the same for one Dense layer with sigmoids.

    This is what `fit` does with Keras's Dense and Adam, written out because `fit` takes seconds for
    what are milliseconds of arithmetic.
    """

    def answers(split: str, weights: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(x[split] @ weights[:-1] + weights[-1])))

    def loss(split: str, weights: np.ndarray) -> float:
        p = np.clip(answers(split, weights), 1e-7, 1 - 1e-7)
        return float(-np.mean(y[split] * np.log(p) + (1 - y[split]) * np.log(1 - p)))

    inputs, tags = x["train"].shape[1], y["train"].shape[1]
    kernel = keras.initializers.GlorotUniform()((inputs, tags))
    weights = np.concatenate([keras.ops.convert_to_numpy(kernel), np.zeros((1, tags))])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    least, best, since, step = np.inf, weights, 0, 0
    order = np.random.default_rng(0)
    for _ in range(EPOCHS):
        shuffled = order.permutation(len(y["train"]))
        for at in range(0, len(shuffled), BATCH):
            step += 1
            batch, truth = (
                x["train"][shuffled[at : at + BATCH]],
                y["train"][shuffled[at : at + BATCH]],
            )
            error = 1 / (1 + np.exp(-(batch @ weights[:-1] + weights[-1]))) - truth
            error /= truth.size
            gradient = np.concatenate([batch.T @ error, error.sum(axis=0, keepdims=True)])
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            scale = rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
            weights = weights - scale * first / (second**0.5 + 1e-7)
        now = loss("validation", weights)
        if now < least:
            least, best, since = now, weights, 0
        else:
            since += 1
            if since == PATIENCE:
                break
    return least, answers("test", best)


def search(
    train: Callable[[float], tuple[float, np.ndarray]], further: bool
) -> tuple[float, float, np.ndarray]:
    """Return the least validation loss, its learning rate and the test answers.

    From the better of the first two rates, go `further` in its direction as long as the loss falls.
    """
    lower, upper = train(RATES[FIRST]), train(RATES[FIRST + 1])
    at, way, best = (FIRST, -1, lower) if lower[0] <= upper[0] else (FIRST + 1, 1, upper)
    while further and 0 <= at + way < len(RATES):
        result = train(RATES[at + way])
        if result[0] >= best[0]:
            break
        at, best = at + way, result
    return best[0], RATES[at], best[1]


def reduced(x: Data, size: int) -> Data:
    """Keep as many of the training clips' principal components."""
    mean = x["train"].mean(axis=0)
    _, _, axes = np.linalg.svd(x["train"] - mean, full_matrices=False)
    return {split: (values - mean) @ axes[:size].T for split, values in x.items()}


def standardised(x: Data, spectrograms: bool) -> Data:
    """Scale the training clips to deviation 1, after each feature has got the mean 0.

    There's one scale for all, or a feature that is 0 in all training clips would be divided by 0.
    """
    axis = None if spectrograms else 0
    mean, variance = x["train"].mean(axis=axis), x["train"].var(axis=axis).mean()
    return {split: (values - mean) / variance**0.5 for split, values in x.items()}


def prepared(numbers: np.ndarray) -> Data:
    """Return the clips' spectrograms, labels and features, computed once and kept."""
    found: Data = {}
    if KEPT.is_file():
        with np.load(KEPT) as kept:
            found = dict(kept)
    else:
        clips = [make_clip(int(number)) for number in tqdm(numbers)]
        found["decibels"] = np.stack([to_decibels(sound) for sound, _ in clips])
        found["labels"] = np.stack([present for _, present in clips]).astype("float32")
    networks = {"pretrained": ("imagenet", 0)} | {f"random {seed}": (None, seed) for seed in SEEDS}
    for name, (weights, seed) in networks.items():
        if f"{name} top" not in found:
            for block, values in features(found["decibels"], weights, seed).items():
                found[f"{name} {block}"] = values
            KEPT.parent.mkdir(exist_ok=True)
            np.savez(KEPT, **found)  # type: ignore[arg-type]
    return found


def measure(done: set[tuple[str, int, int, str]], sizes: tuple[int, ...], seeds: range) -> None:
    """Measure what isn't done yet, and add each result to the file."""
    largest = max(SIZES)
    numbers = {"test": np.arange(TEST)}
    for seed in seeds:
        first = 10_000 * (seed + 1)
        numbers[f"train {seed}"] = first + np.arange(largest)
        numbers[f"validation {seed}"] = first + 5_000 + np.arange(largest // 4)
    every = np.concatenate(list(numbers.values()))
    data = prepared(every)
    decibels, labels = data["decibels"], data["labels"]
    place = {number: row for row, number in enumerate(every)}
    mean, spread = decibels.mean(axis=2), decibels.std(axis=2)
    inputs = {
        "mean spectrum": mean,
        "mean and deviation": np.concatenate([mean, spread], axis=1),
        "CRNN": decibels[..., np.newaxis],
    }
    for block in BLOCKS:
        inputs[f"pretrained {block}"] = data[f"pretrained {block}"]

    def best(method: str, size: int, seed: int) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Return the validation loss, the chosen setting, the test labels and the answers."""
        rows = {
            "train": [place[n] for n in numbers[f"train {seed}"][:size]],
            "validation": [place[n] for n in numbers[f"validation {seed}"][: size // 4]],
            "test": [place[n] for n in numbers["test"]],
        }
        y = {split: labels[of] for split, of in rows.items()}
        if method.startswith("random"):  # each seed has random weights of its own
            values = data[method.replace("random", f"random {seed}")]
        else:
            values = inputs[method.removesuffix(", reduced")]
        x = {split: values[of] for split, of in rows.items()}
        if method.endswith(", reduced"):
            x = reduced(x, data[f"pretrained {chosen}"].shape[1])
        x = standardised(x, spectrograms=method == "CRNN")

        def train(rate: float) -> tuple[float, np.ndarray]:
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            return (train_crnn if method == "CRNN" else train_head)(x, y, rate)

        loss, rate, answers = search(train, further=method != "CRNN")
        return loss, rate, y["test"], answers

    # Which block to read is chosen by validation loss alone.
    for seed in SEEDS:
        for block in BLOCKS:
            if (f"pretrained {block}", CHOSEN_AT, seed, "") not in done:
                loss, rate, _, _ = best(f"pretrained {block}", CHOSEN_AT, seed)
                write([f"pretrained {block}", CHOSEN_AT, seed, rate, f"{loss:.4f}", "", ""])
                print(block, seed, f"{loss:.3f}", flush=True)
    losses: dict[str, float] = {block: 0.0 for block in BLOCKS}
    with FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["tag"]:
                losses[row["method"].removeprefix("pretrained ")] += float(row["validation_loss"])
    chosen = min(losses, key=lambda block: losses[block])
    print("chosen:", chosen)

    methods = ["mean spectrum", "mean and deviation", "pretrained top", "pretrained top, reduced"]
    methods += [f"pretrained {chosen}"]
    methods += ["random top", f"random {chosen}", "CRNN"]
    for size in sizes:
        for method in methods:
            for seed in seeds:
                if (method, size, seed, TAGS[0]) in done:
                    continue
                loss, rate, truth, answers = best(method, size, seed)
                areas = [roc_auc_score(truth[:, k], answers[:, k]) for k in range(len(TAGS))]
                for tag, auc in zip(TAGS, areas, strict=True):
                    write([method, size, seed, rate, f"{loss:.4f}", tag, f"{auc:.4f}"])
                print(f"{method}, {size} clips, seed {seed}: {np.mean(areas):.3f}", flush=True)


def write(row: list[object]) -> None:
    """Add a row to the file."""
    new = not FILE.exists()
    with FILE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(row)


def main() -> None:
    """Measure, and write hearing.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    done: set[tuple[str, int, int, str]] = set()
    if FILE.exists():
        with FILE.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                done.add((row["method"], int(row["clips"]), int(row["seed"]), row["tag"]))
    measure(done, SIZES[:1] if options.quick else SIZES, SEEDS[:1] if options.quick else SEEDS)


if __name__ == "__main__":
    main()
