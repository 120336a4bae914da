# SPDX-License-Identifier: LGPL-2.1-or-later
"""Glance as uwsgi runs it, on SQLite. A transaction that has begun to read fails at once if another thread writes
("database is locked"), and the upload with it. Therefore each transaction begins as a writer, which waits for others."""
import sqlalchemy


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute", retval=True)
def begin_as_writer(_connection, _cursor, statement, parameters, _context, _many):
    return "BEGIN IMMEDIATE" if statement == "BEGIN" else statement, parameters


from glance.wsgi.api import application  # noqa: E402, F401
