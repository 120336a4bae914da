/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages of the log in systemd's journal, with the fields by which they are found there
 * (systemd.journal-fields(7)). REQUEST_ID, LOGGER_NAME and LOGGER_LEVEL have the names that
 * oslo.log gives them.
 */
#ifndef NOVASNAP_AGENT_LOG_JOURNAL_H
#define NOVASNAP_AGENT_LOG_JOURNAL_H

#include "agent/daemon/log-line.h"

/* Whether what is written to the file descriptor goes to the journal: it is the stream that
 * $JOURNAL_STREAM names. */
bool log_journal_is_at(int fd);
/* Whether there is a journal. False with an error. */
bool log_journal_check(GError **error);
/* Returns false if the journal does not take the message. Any thread. */
bool log_journal_write(const struct log_message *message);

#endif
