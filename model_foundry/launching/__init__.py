"""Where a run happens: placements, and the launchers that start one's processes.

A placement is a file for ``accelerate launch``; those of ``accelerate_configs/`` come with the package
and are found by name. Nothing here changes what is trained: that is the recipe's.
"""
