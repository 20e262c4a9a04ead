"""The model zoo as data: one record a model, with its facts and where they come from."""

from dataclasses import dataclass

from helpers.errors import ArgumentError, nearest

KERAS_TABLE = "https://keras.io/api/applications/"
KERAS_FILES = "https://storage.googleapis.com/tensorflow/"
BUNDLED = "EfficientNetLite0"


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights. Keras itself names an MD5 for most of its files, not for all."""

    url: str
    md5: str | None = None

    @property
    def name(self) -> str:
        """The file's own name, under which Keras keeps it too."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Entry:
    """One model. Accuracies are fractions, on ImageNet's validation pictures, one centre crop.

    `depth` counts layers with weights, as Keras's table does; `size_mb` is the weight file with
    the top; `input_size` and `min_size` are pixels a side; `preprocessing` is the mode of
    `keras.applications.imagenet_utils.preprocess_input`, or `"lite"`.
    """

    name: str
    family: str
    year: int
    parameters: int
    size_mb: float
    top1: float
    top5: float | None
    depth: int
    input_size: int
    min_size: int
    preprocessing: str
    paper: str
    source: str
    builder: str
    weights: WeightFile | None = None
    weights_notop: WeightFile | None = None


ENTRIES = (
    Entry(
        name="EfficientNetLite0",
        family="EfficientNet-Lite",
        year=2020,
        parameters=4_694_024,
        size_mb=18.8,
        top1=0.751,
        top5=None,
        depth=99,
        input_size=224,
        min_size=32,
        preprocessing="lite",
        paper="arXiv:1905.11946",
        source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
        builder="helpers.architectures.efficientnet_lite:EfficientNetLite0",
    ),
    Entry(
        name="ResNet50",
        family="ResNet",
        year=2015,
        parameters=25_636_712,
        size_mb=98,
        top1=0.749,
        top5=0.921,
        depth=107,
        input_size=224,
        min_size=32,
        preprocessing="caffe",
        paper="arXiv:1512.03385",
        source=KERAS_TABLE,
        builder="keras.applications:ResNet50",
        weights=WeightFile(
            KERAS_FILES
            + "keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
            "2cb95161c43110f7111970584f804107",
        ),
        weights_notop=WeightFile(
            KERAS_FILES
            + "keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "4d473c1dd8becc155b73f8504c6f6626",
        ),
    ),
    Entry(
        name="MobileNet",
        family="MobileNet",
        year=2017,
        parameters=4_253_864,
        size_mb=16,
        top1=0.704,
        top5=0.895,
        depth=55,
        input_size=224,
        min_size=32,
        preprocessing="tf",
        paper="arXiv:1704.04861",
        source=KERAS_TABLE,
        builder="keras.applications:MobileNet",
        weights=WeightFile(KERAS_FILES + "keras-applications/mobilenet/mobilenet_1_0_224_tf.h5"),
        weights_notop=WeightFile(
            KERAS_FILES + "keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5"
        ),
    ),
    Entry(
        name="VGG16",
        family="VGG",
        year=2014,
        parameters=138_357_544,
        size_mb=528,
        top1=0.713,
        top5=0.901,
        depth=16,
        input_size=224,
        min_size=32,
        preprocessing="caffe",
        paper="arXiv:1409.1556",
        source=KERAS_TABLE,
        builder="keras.applications:VGG16",
        weights=WeightFile(
            KERAS_FILES + "keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
            "64373286793e3c8b2b4e3219cbf3544b",
        ),
        weights_notop=WeightFile(
            KERAS_FILES
            + "keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "6d6bbae143d832006294945121d1f1fc",
        ),
    ),
    Entry(
        name="VGG19",
        family="VGG",
        year=2014,
        parameters=143_667_240,
        size_mb=549,
        top1=0.713,
        top5=0.900,
        depth=19,
        input_size=224,
        min_size=32,
        preprocessing="caffe",
        paper="arXiv:1409.1556",
        source=KERAS_TABLE,
        builder="keras.applications:VGG19",
        weights=WeightFile(
            KERAS_FILES + "keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5",
            "cbe5617147190e668d6c5d5026f83318",
        ),
        weights_notop=WeightFile(
            KERAS_FILES
            + "keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "253f8cb515780f3b799900260a226db6",
        ),
    ),
    Entry(
        name="InceptionV3",
        family="Inception",
        year=2015,
        parameters=23_851_784,
        size_mb=92,
        top1=0.779,
        top5=0.937,
        depth=189,
        input_size=299,
        min_size=75,
        preprocessing="tf",
        paper="arXiv:1512.00567",
        source=KERAS_TABLE,
        builder="keras.applications:InceptionV3",
        weights=WeightFile(
            KERAS_FILES
            + "keras-applications/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
            "9a0d58056eeedaa3f26cb7ebd46da564",
        ),
        weights_notop=WeightFile(
            KERAS_FILES + "keras-applications/inception_v3/"
            "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "bcbd6486424b2319ff4ef7d526e38f63",
        ),
    ),
)


def names() -> list[str]:
    """The models' names, in the catalogue's order."""
    return [entry.name for entry in ENTRIES]


def find(name: str) -> Entry:
    """A model's record; upper and lower case, `-` and `_` do not matter.

    Raises:
        ArgumentError: no such model; the nearest name is offered.

    >>> find("efficientnet-lite0").parameters
    4694024
    """
    wanted = _plain(name)
    for entry in ENTRIES:
        if _plain(entry.name) == wanted:
            return entry
    raise ArgumentError(f"No model {name!r} in the catalogue. {nearest(name, names())}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
