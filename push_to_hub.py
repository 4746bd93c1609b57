"""Publish a trained model, an exported corpus or the demo of a published model on the Hugging Face Hub.

    python push_to_hub.py model runs/sample_posts-comn --repo_id me/my-model [--private] [--dry_run FOLDER]

The same as the command `mmsent push`.
"""

from mmsent.hub.push import main

if __name__ == "__main__":
    main()
