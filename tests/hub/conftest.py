"""A run of train.py that several tests publish."""

import sys

import pytest


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    """Return the folder of a run of train.py on the embedded corpus."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    argv = ["train.py", "--output_dir", str(folder), "--num_train_epochs", "1", "--per_device_train_batch_size", "128"]
    argv += ["--modalities", "text", "--report_to", "none", "--disable_tqdm", "true"]
    import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        train.main()
    return folder
