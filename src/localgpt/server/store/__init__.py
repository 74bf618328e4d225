"""The store: conversations, attachments, keys, settings and kept responses, encrypted at rest.

    records     what is stored, as frozen dataclasses; light, for routes
    vault       the data key, and who may open it: key file, passphrase or keyring
    sealing     one value at a time: AES-256-GCM, bound to its table, column and row
    tables      the tables; migrations/ makes and changes them
    database    one SQLite file (or PostgreSQL): transactions, and deletion that removes
    accounts, conversations, attachments, preferences, responses: one family of values each
    opening     `open_store`: all of it together

Importing this, or `records`, loads neither SQLAlchemy nor cryptography; `opening` does.
"""
