"""The anchors of headings, in a module of its own because Sphinx keeps its name between builds."""


def as_in_jupyterlab(title: str) -> str:
    """The anchor that JupyterLab gives to a heading, so that a link holds here and there."""
    return title.strip().replace(" ", "-")
