"""``python -m model_foundry`` is the console command ``model-foundry``."""

from model_foundry.cli import main

if __name__ == "__main__":
    main()
