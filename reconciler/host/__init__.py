"""This host: files, processes, locks. The only place that runs programs and writes files."""
