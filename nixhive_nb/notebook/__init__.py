"""The notebook face: `%hive`, `%%hive`, and what a cell shows. Imported by `%load_ext nixhive_nb` alone."""
