"""Publish a trained model, an exported corpus or a demo of a published model on the Hugging Face Hub.

    python push_to_hub.py model runs/sample_posts-comn --repo_id me/my-model [--private] [--dry_run FOLDER]

`mmsent push` is the same command. Its steps (parse the arguments, stage the files in a folder, upload the folder) are
in `mmsent.hub.push`.
"""

from mmsent.hub.push import main

if __name__ == "__main__":
    main()
