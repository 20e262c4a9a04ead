"""Exercises of lesson 05: a receptive field, a mixed layer, and where the espresso is."""

from helpers.checks import Exercise, same


def field_of_vgg16_block3(pixels_seen):
    if same(pixels_seen, 52):
        return "That's VGG19, whose third block has four convolutions. VGG16 has three."
    if same(pixels_seen, 40):
        return "Those are the convolutions. The pooling adds one more stride."
    if not same(pixels_seen, 44):
        return "16 after block 2, with stride 4; each 3 × 3 convolution adds twice the stride."


q1 = Exercise(
    judge=field_of_vgg16_block3,
    hint="16 after block 2, with stride 4; each 3 × 3 convolution adds twice the stride.",
    solution="pixels_seen = 16 + 3 * 2 * 4 + 4",
    right="VGG19, with a fourth convolution, sees 8 more.",
    wrong={
        "pixels_seen = layers.receptive_field(vgg19, 'block3_pool').size": "VGG19",
        "pixels_seen = 16 + 3 * 2 * 4": "pooling",
        "pixels_seen = 16 + 3 * 2": "stride",
    },
)


def shape_of_mixed7(shape):
    if len(shape) == 4:
        return "Leave out the first entry, which counts pictures."
    if not same(shape, (17, 17, 768)):
        return "model.get_layer('mixed7').output.shape, of the model for 299 × 299."


q2 = Exercise(
    judge=shape_of_mixed7,
    hint="A layer knows its output's shape: model.get_layer('mixed7').output.shape",
    solution="""
        inception = zoo.build("InceptionV3", include_top=False, input_shape=(299, 299, 3))
        shape = inception.get_layer("mixed7").output.shape[1:]
    """,
    right="A layer knows its output's shape; its first entry, None, counts pictures.",
    wrong={
        "shape = (None, 17, 17, 768)": "counts pictures",
        "shape = (12, 12, 768)": "299",
    },
)


def share_of_the_lowest_rows(share, grad_cam, look, photographs, index):
    heat = grad_cam(look, photographs["coffee"], index["espresso"])
    if same(share, heat[:3].sum() / heat.sum(), tolerance=0.01):
        return "Those are the upper three rows: row 0 is at the top."
    if share > 1:
        return "Divide by the sum of all the heat."
    if not same(share, heat[-3:].sum() / heat.sum(), tolerance=0.01):
        return "heat[-3:] has the lowest three rows; divide its sum by that of all."


q3 = Exercise(
    judge=share_of_the_lowest_rows,
    hint="heat[-3:] has the lowest three rows; divide its sum by that of all.",
    solution="""
        heat = grad_cam(look, photographs["coffee"], index["espresso"])
        share = heat[-3:].sum() / heat.sum()
    """,
    right="Rows count from the top, so the last three are the lower part of the picture.",
    wrong={
        """
        heat = grad_cam(look, photographs["coffee"], index["espresso"])
        share = heat[:3].sum() / heat.sum()
        """: "top",
        "share = 7.0": "Divide",
        "share = 0.0": "heat[-3:]",
    },
)
