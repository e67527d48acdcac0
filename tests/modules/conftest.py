from tests.tiny import one_thread, tiny_dir, tiny_encoder  # noqa: F401  (fixtures)
