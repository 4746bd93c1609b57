"""Publish a trained model, an exported corpus or a demo of a published model on the Hugging Face Hub.

    mmsent push model runs/sample_posts-comn --repo_id me/my-model [--private] [--dry_run FOLDER]
    mmsent push corpus mvsa_single_parquet --repo_id me/my-corpus [--private] [--dry_run FOLDER]
    mmsent push space me/my-model --repo_id me/my-demo [--private] [--dry_run FOLDER]

With --dry_run, the files are written into a folder and nothing is uploaded. The token is that of `hf auth login` or of
the variable HF_TOKEN. It is neither printed nor stored.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_files import atomic_write, locked, remove_leftovers

from .cards import is_repo_id
from .staging import stage_corpus, stage_model, stage_space

REPO_TYPES = {"model": "model", "corpus": "dataset", "space": "space"}


def main() -> None:
    """Run the command."""
    with exit_with_one_line("mmsent push"):
        args = parse_arguments(sys.argv[1:])
        if args.dry_run is None:
            with tempfile.TemporaryDirectory() as folder:
                stage(args, Path(folder))
                print(upload(Path(folder), args.repo_id, REPO_TYPES[args.kind], args.private))
        else:
            stage_whole(args, Path(os.path.realpath(args.dry_run)))
            print(f"{args.dry_run} holds what would be uploaded to {args.repo_id}")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line and check what can be checked without reading files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=REPO_TYPES)
    parser.add_argument(
        "source", help="run folder of train.py, folder of mmsent export, or Hub id of the model that a Space shows"
    )
    parser.add_argument("--repo_id", required=True, help="id of the repository: user or organisation, slash, name")
    parser.add_argument("--private", action="store_true", help="make the repository visible only to you")
    parser.add_argument("--dry_run", type=Path, metavar="FOLDER", help="write the files here and upload nothing")
    args = parser.parse_args(argv)
    if not is_repo_id(args.repo_id):
        parser.error(f"--repo_id {args.repo_id} does not have the form user/name, of letters, digits, '-', '_', '.'")
    # A link that leads nowhere is followed; a link to itself is a file.
    if args.dry_run is not None and os.path.lexists(os.path.realpath(args.dry_run)) and not args.dry_run.is_dir():
        parser.error(f"--dry_run {args.dry_run} is a file: name a new or empty folder")
    if args.dry_run is not None and args.dry_run.exists() and any(args.dry_run.iterdir()):
        parser.error(f"--dry_run {args.dry_run}: the folder is not empty")
    return args


def stage_whole(args: argparse.Namespace, folder: Path) -> None:
    """Write the files of the repository into a folder that is new or empty; after an error or a kill it still is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rmdir()  # Its lock would lie in it.
    with locked(folder):
        remove_leftovers(folder)
        with atomic_write(folder) as temporary:
            stage(args, temporary)


def stage(args: argparse.Namespace, folder: Path) -> None:
    """Write the files of the repository into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if args.kind == "model":
        stage_model(Path(args.source), folder, args.repo_id)
    elif args.kind == "corpus":
        stage_corpus(Path(args.source), folder, args.private)
    else:
        stage_space(args.source, folder, args.repo_id)
        if args.dry_run is None:
            HfApi().model_info(args.source)  # This raises an error if the model does not exist.


def upload(folder: Path, repo_id: str, repo_type: str, private: bool) -> str:
    """Upload a folder in one commit, create the repository if it does not exist, and return its address."""
    api = HfApi()
    sdk = "gradio" if repo_type == "space" else None
    url = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
    api.upload_folder(repo_id=repo_id, repo_type=repo_type, folder_path=folder, commit_message=f"Upload {repo_type}")
    return str(url)
