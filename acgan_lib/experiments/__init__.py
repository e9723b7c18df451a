"""What produced each recorded result, found by its chapter's number.

Every module here measures what one chapter reports. The rows it records are in ``data/results``.
"""
