"""Networks that Keras lacks, each in a module with the interface of `keras.applications`."""
