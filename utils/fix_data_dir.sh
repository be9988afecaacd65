#!/usr/bin/env bash
# Sort, clean and intersect the files of a data directory; the old files are moved to DIR/.backup.
# Usage: utils/fix_data_dir.sh DIR      (--help says more)
exec perl "$(dirname "$0")/fix_data_dir.pl" "$@"
