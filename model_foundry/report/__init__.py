"""From the files of runs to pages and tables; nothing here needs the run to be alive, or torch."""
