"""Networks that Keras lacks, each built as `keras.applications` builds its own."""
